import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { withWhatItLacks } from "../../../coverage/along.ts";
import { SourceDiffs, sourceChanges } from "../../../coverage/candidates.ts";
import { RekernelError } from "../../../src/core/errors.ts";
import type { KernelTrees } from "../../../src/livepatch/build/source/trees.ts";
import type { Unit } from "../../../src/livepatch/build/units/units.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
afterAll(() => rmSync(folder, { recursive: true }));
const [before, after] = [join(folder, "source"), join(folder, "after")];

const gap = "\n".repeat(8);
const common = `struct buffer { int size; };${gap}int buffer_size(struct buffer *b);\n`;
const operations = `#include <buffer.h>
struct thing;
struct operations { int (*dump)(struct buffer *b, struct thing *t); };${gap}void thing_free(struct thing *t);\n`;
const driver = (name: string) => `#include <operations.h>
static int ${name}_dump(struct buffer *b, struct thing *t)
{
	return 0;
}
const struct operations ${name}_ops = { .dump = ${name}_dump };${gap}int ${name}_limit = 1;\n`;

const withReset = (text: string) => text.replace(/struct thing \*t\)/, "struct thing *t, int reset)");
const files: Record<string, [string, string]> = {
  "include/buffer.h": [
    common,
    // Other changes that are about the same words.
    common
      .replace("int size;", "int size; int more;")
      .replace("int buffer_size", "int new_size(struct buffer *b);\nint buffer_size"),
  ],
  "include/operations.h": [
    operations,
    withReset(operations).replace(
      "void thing_free",
      "int thing_new(struct buffer *b, struct thing *t);\nvoid thing_free",
    ),
  ],
  "net/first.c": [driver("first"), withReset(driver("first"))],
  "net/second.c": [driver("second"), withReset(driver("second")).replace("limit = 1", "limit = 2")],
  "net/lonely.c": ["int lonely;\n", "int lonely = absent;\n"],
};
const command = ["gcc", "-Iinclude", "-Werror=incompatible-pointer-types"];
for (const [path, [old, now]] of Object.entries(files)) {
  for (const [root, text] of [
    [before, old],
    [after, now],
  ] as const) {
    mkdirSync(join(root, path, ".."), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  if (!path.endsWith(".c")) continue;
  const unit: Unit = {
    source: path,
    input: path,
    enabled: true,
    owner: { kind: "vmlinux" },
    modfile: path,
    command,
  };
  const record = join(folder, "store/commands", `${path}.units.json`);
  mkdirSync(join(record, ".."), { recursive: true });
  writeFileSync(record, JSON.stringify([unit]));
}
const trees: KernelTrees = {
  release: "6.0.0",
  pristine: before,
  kernel: before,
  modules: [],
  localVersion: "",
  makeArgs: [],
  store: join(folder, "store"),
  environment: {},
  lock: join(folder, "lock"),
};
const failed = new RekernelError("failed", "RK-COMPILE-ERROR", "It does not compile.");

test("what a file needs of a header, and what that breaks, without what it compiles without", async () => {
  const diffs = new SourceDiffs(before, after);
  const versions = { trees, after, changes: await sourceChanges(before, after), diffs };
  const first = await withWhatItLacks(failed, "net/first.c", new Map(), versions, {});
  const header = { path: "include/operations.h", hunks: new Set([0]) };
  expect([...first!.values()]).toEqual([header]);
  // The build tells next that another driver has the old operation still.
  const second = await withWhatItLacks(failed, "net/first.c", first!, versions, {});
  expect([...second!.values()]).toEqual([header, { path: "net/second.c", hunks: new Set([0]) }]);
  expect(await withWhatItLacks(failed, "net/first.c", second!, versions, {})).toBeUndefined();
  expect(await withWhatItLacks(failed, "net/lonely.c", new Map(), versions, {})).toBeUndefined();
});
