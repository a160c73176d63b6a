import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { applyToFile, joinLines, sourceLines } from "../../../src/livepatch/build/source/apply.ts";
import { parsePatch, patchedPaths } from "../../../src/livepatch/build/source/patch.ts";

function apply(original: string | undefined, patch: string): string | undefined {
  const file = parsePatch(patch, "fix.patch").files[0]!;
  const before = original === undefined ? undefined : sourceLines(original);
  const after = applyToFile(before, file, "f.c", "fix.patch").lines;
  return after === undefined ? undefined : joinLines(after);
}

function failure(work: () => unknown): RekernelError {
  try {
    work();
  } catch (error) {
    if (error instanceof RekernelError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

const source = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n";
const change = "--- a/f.c\n+++ b/f.c\n@@ -2,3 +2,4 @@ int f()\n two\n-three\n+THREE\n+more\n four\n";

describe("parsePatch", () => {
  test("takes what git format-patch writes: message, mode lines, signature", () => {
    const patch = parsePatch(
      `From 1234 Mon Sep 17 00:00:00 2001\nSubject: [PATCH] f: fix\n\n--- not a header\n---\n f.c | 3 ++-\n\n` +
        `diff --git a/f.c b/f.c\nindex 12..34 100644\n${change}-- \n2.39.5\n`,
    );
    expect(patch.files).toHaveLength(1);
    expect(patch.files[0]!.hunks[0]!.lines.map((line) => line.kind).join("")).toBe(" -++ ");
  });

  test("takes several files, new ones and deleted ones", () => {
    const patch = parsePatch(
      `${change}--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+x\n--- a/old.c\t2026-01-01\n+++ /dev/null\n@@ -1 +0,0 @@\n-y\n`,
    );
    expect(patch.files.map((file) => [file.oldPath, file.newPath])).toEqual([
      ["a/f.c", "b/f.c"],
      [undefined, "b/new.c"],
      ["a/old.c", undefined],
    ]);
  });

  test("takes a patch whose every line ends with CR LF", () => {
    expect(apply(source, change.replaceAll("\n", "\r\n"))).toBe(
      "one\ntwo\nTHREE\nmore\nfour\nfive\nsix\nseven\n",
    );
  });

  test("takes an empty context line whose blank was stripped", () => {
    expect(apply("a\n\nb\n", "--- a/f.c\n+++ b/f.c\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n")).toBe("a\n\nc\n");
  });

  test.each([
    ["", "RK-PATCH-EMPTY", 3],
    ["just a text\n", "RK-PATCH-EMPTY", 3],
    ["--- a/f.c\n+++ b/f.c\n@@ -1,3 +1,3 @@\n a\n", "RK-PATCH-MALFORMED", 2],
    ["--- a/f.c\n+++ b/f.c\n@@ -1 +1 @@\n-a\n+b\n+c\n", "RK-PATCH-MALFORMED", 2],
    ["--- a/f.c\n+++ b/f.c\n@@ -1,1 +1,1 @@\n-a\n-b\n", "RK-PATCH-MALFORMED", 2],
    ["--- a/../f.c\n+++ b/../f.c\n@@ -1 +1 @@\n-a\n+b\n", "RK-PATCH-MALFORMED", 2],
    ["--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n", "RK-PATCH-MALFORMED", 2],
    ["diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n", "RK-PATCH-UNSUPPORTED", 4],
    ["diff --git a/x b/x\nBinary files a/x and b/x differ\n", "RK-PATCH-UNSUPPORTED", 4],
  ])("refuses %j with %s", (text, code, exitCode) => {
    expect(failure(() => parsePatch(text))).toMatchObject({ code, exitCode });
  });

  test("throws nothing but its own errors, whatever the bytes", () => {
    const piece = fc.constantFrom(
      "--- a/f\n",
      "+++ b/f\n",
      "@@ -1,2 +1,2 @@\n",
      "@@ -1 +1 @@\n",
      " a\n",
      "-a\n",
      "+b\n",
      "\\ No newline\n",
      "\n",
      '--- "a\\',
      "@@ -9999999999 +1 @@\n",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.array(piece).map((all) => Buffer.from(all.join(""))),
        ),
        (bytes) => {
          try {
            parsePatch(bytes);
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("patchedPaths", () => {
  test("strips one component or none, whichever fits the tree", () => {
    const git = parsePatch(change);
    expect(patchedPaths(git, (path) => path === "f.c")).toEqual(["f.c"]);
    const plain = parsePatch("--- net/f.c\n+++ net/f.c\n@@ -1 +1 @@\n-a\n+b\n");
    expect(patchedPaths(plain, (path) => path === "net/f.c")).toEqual(["net/f.c"]);
    expect(failure(() => patchedPaths(plain, () => false)).message).toContain("f.c");
  });
});

describe("applyToFile", () => {
  test("puts hunks where they belong", () => {
    expect(apply(source, change)).toBe("one\ntwo\nTHREE\nmore\nfour\nfive\nsix\nseven\n");
  });

  test("takes a hunk that lies elsewhere, if there is one place only", () => {
    expect(apply(`new\n${source}`, change)).toBe("new\none\ntwo\nTHREE\nmore\nfour\nfive\nsix\nseven\n");
    expect(failure(() => apply(`new\n${source}${source}`, change)).message).toContain("several other places");
  });

  test("says what it expected and what it found", () => {
    const error = failure(() => apply(source.replace("three", "drei"), change));
    expect(error.code).toBe("RK-PATCH-DOES-NOT-APPLY");
    expect(error.message).toContain("f.c, hunk 1 (line 2)");
    expect(error.details).toMatch(/line 3 of the source\n {2}expected: three\n {2}found: {4}drei/);
  });

  test("refuses fuzz, and says so", () => {
    expect(failure(() => apply(source.replace("two", "zwei"), change)).message).toContain("only with fuzz");
  });

  test("notices a patch that is in the source already", () => {
    const patched = "one\ntwo\nTHREE\nmore\nfour\nfive\nsix\nseven\n";
    expect(failure(() => apply(patched, change)).message).toContain("has this change already");
  });

  test("tells white space from other differences", () => {
    const spaced = "--- a/f.c\n+++ b/f.c\n@@ -1,2 +1,2 @@\n-    if (a)\n+\tif (b)\n \t\treturn;\n";
    expect(failure(() => apply("\tif (a)\n\t\treturn;\n", spaced)).message).toContain("white space");
  });

  test("minds the newline at the end of the file", () => {
    const patch = "--- a/f.c\n+++ b/f.c\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n";
    expect(apply("a\nb", patch)).toBe("a\nc\n");
    expect(failure(() => apply("a\nb\n", patch)).code).toBe("RK-PATCH-DOES-NOT-APPLY");
  });

  test("creates and deletes", () => {
    const creates = "--- /dev/null\n+++ b/f.c\n@@ -0,0 +1,2 @@\n+x\n+y\n";
    const deletes = "--- a/f.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n";
    expect(apply(undefined, creates)).toBe("x\ny\n");
    expect(apply("x\ny\n", deletes)).toBeUndefined();
    expect(failure(() => apply("x\n", creates)).message).toContain("has it already");
    expect(failure(() => apply("x\ny\nz\n", deletes)).message).toContain("more lines");
    expect(failure(() => apply(undefined, deletes)).message).toContain("has none");
  });

  test("makes of diff's output the file that diff was given", () => {
    const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
    try {
      const line = fc.constantFrom("a", "b", "c", "}", "", "\tx = 1;", "é\r");
      const file = fc
        .tuple(fc.array(line, { maxLength: 40 }), fc.boolean())
        .map(([lines, end]) => lines.join("\n") + (end && lines.length > 0 ? "\n" : ""));
      fc.assert(
        fc.property(file, file, fc.integer({ min: 0, max: 3 }), (before, after, context) => {
          fc.pre(before !== after && before !== "" && after !== "");
          writeFileSync(join(folder, "old"), before);
          writeFileSync(join(folder, "new"), after);
          const { stdout } = spawnSync("diff", [`-U${context}`, "old", "new"], { cwd: folder });
          const patch = parsePatch(stdout);
          const latin1 = Buffer.from(before).toString("latin1");
          const { lines } = applyToFile(sourceLines(latin1), patch.files[0]!, "f", "p");
          expect(Buffer.from(joinLines(lines!), "latin1").toString()).toBe(after);
        }),
        { numRuns: 300 },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test("a patch of git itself applies", () => {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const git = (...args: string[]): string =>
      execFileSync(
        "git",
        ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.autocrlf=false", ...args],
        { cwd: folder, encoding: "utf8" },
      );
    git("init", "-q");
    writeFileSync(join(folder, "f.c"), source);
    git("add", ".");
    git("commit", "-qm", "first");
    writeFileSync(join(folder, "f.c"), source.replace("six", "SIX"));
    git("commit", "-qam", "f: fix\n\n--- a/looks-like-one\n");
    expect(apply(source, git("format-patch", "-1", "--stdout"))).toBe(
      readFileSync(join(folder, "f.c"), "utf8"),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
