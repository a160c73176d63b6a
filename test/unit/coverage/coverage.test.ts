import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { definesGlobally } from "../../../coverage/along.ts";
import type { FileResult } from "../../../coverage/build.ts";
import { mention, SourceDiffs, sampleOf, sourceChanges } from "../../../coverage/candidates.ts";
import { summarize, table } from "../../../coverage/summary.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
afterAll(() => rmSync(folder, { recursive: true }));
const [before, after] = [join(folder, "before"), join(folder, "after")];

const put = (root: string, path: string, text: string): void => {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
};
const gap = "\n".repeat(10);
put(before, "net/a.h", `#define ONE 1\n${gap}int two(int a);\n${gap}struct three;\n`);
put(after, "net/a.h", `#define ONE 11\n${gap}int two(int a,\n\tint b);\n${gap}struct three;\nint four;\n`);
put(before, "net/a.c", "same\n");
put(after, "net/a.c", "same\n");
put(after, "net/new.c", "int five;\n");
put(before, "arch/arm/a.c", "one\n");
put(after, "arch/arm/a.c", "two\n");

test("files of the kernel that differ or are new", async () => {
  expect(await sourceChanges(before, after)).toEqual({ modified: ["net/a.h"], created: ["net/new.c"] });
});

test("a patch of chosen hunks", async () => {
  const diffs = new SourceDiffs(before, after);
  const patch = async (...hunks: number[]) =>
    (await diffs.patch([{ path: "net/a.h", hunks: new Set(hunks) }])).toString();
  expect((await patch(0)).match(/^[-+](?![-+]).*/gm)).toEqual(["-#define ONE 1", "+#define ONE 11"]);
  expect((await patch(2)).match(/^[-+](?![-+]).*/gm)).toEqual(["+int four;"]);
  expect(await patch()).toBe("");
  expect((await diffs.patch([{ path: "net/a.h" }])).toString().match(/^@@/gm)).toHaveLength(3);
  const created = (await diffs.patch([{ path: "net/new.c", hunks: new Set() }])).toString();
  expect(created).toContain("--- /dev/null\n+++ b/net/new.c\n");
});

test("what a diff changes and what only stands beside", () => {
  const diff = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n int beside;\n-int gone;\n+int come;\n";
  expect(mention(diff, "come")).toBe("changed");
  expect(mention(diff, "beside")).toBe("beside");
  expect(mention(diff, "absent")).toBeUndefined();
});

test("a sample depends on the seed, not on the order of the files", () => {
  const files = Array.from({ length: 50 }, (_, i) => `f${i}.c`);
  const sample = sampleOf(files, 10, "1");
  expect(new Set(sample).size).toBe(10);
  expect(sampleOf([...files].reverse(), 10, "1")).toEqual(sample);
  expect(sampleOf(files, 10, "2")).not.toEqual(sample);
});

test.each([
  ["int found(void)\n{\n}\n", true],
  ["struct a *\nfound(\n\tint a)\n{\n}\n", true],
  ["const struct a found = {\n", true],
  ["static int found(void)\n{\n}\n", false],
  ["static int\nfound(\n\tint a)\n{\n}\n", false],
  ["int found(void);\n", false],
  ["void caller(void)\n{\n\tfound();\n}\n", false],
])("a definition for other files: %j", (text, expected) => {
  expect(definesGlobally(text, "found")).toBe(expected);
});

test("what the table says", () => {
  const result = (
    file: string,
    outcome: FileResult["outcome"],
    more: Partial<FileResult> = {},
  ): FileResult => ({
    file,
    outcome,
    along: [],
    seconds: file.length,
    patch: Buffer.alloc(0),
    ...more,
  });
  const summary = summarize(
    [
      result("a.c", "built"),
      result("bb.c", "built"),
      result("ccc.c", "built"),
      result("dddd.c", "unchanged"),
      result("e.c", "refused", { code: "RK-INIT-CHANGE", initOnly: true }),
      result("f.c", "refused", { code: "RK-INIT-CHANGE" }),
      result("g.c", "failed", { code: "RK-COMPILE-ERROR" }),
    ],
    new Map(),
  );
  expect(summary.totals).toMatchObject({
    built: 3,
    unchanged: 1,
    refused: 2,
    failed: 1,
    initOnly: 1,
    warnings: 0,
  });
  expect(summary.coverage).toBeCloseTo(3 / 5);
  expect(summary.seconds).toEqual({ median: 3, worst: 6 });
  const head = { from: "1", to: "2", release: "1-amd64", seed: "s", differing: 9, compiled: 8 };
  expect(table(head, summary)).toMatch(/built, of what a live patch can carry +60\.0 %/);
});
