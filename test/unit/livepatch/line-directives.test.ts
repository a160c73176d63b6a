import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { applyToFile, sourceLines } from "../../../src/livepatch/build/source/apply.ts";
import { safeLineStarts, withLineDirectives } from "../../../src/livepatch/build/source/line-directives.ts";
import { parsePatch } from "../../../src/livepatch/build/source/patch.ts";

function preprocess(text: string): string {
  const { stdout, status, stderr } = spawnSync("gcc", ["-E", "-P", "-x", "c", "-"], {
    input: text,
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return stdout;
}

function patched(source: string, edit: (lines: string[]) => string[]): string {
  const before = source.split("\n").slice(0, -1);
  const after = edit([...before]);
  // A diff of whole lines, made minimal at both ends, so that context keeps its origin.
  let head = 0;
  while (before[head] !== undefined && before[head] === after[head]) head++;
  let tail = 0;
  while (
    tail < before.length - head &&
    tail < after.length - head &&
    before.at(-1 - tail) === after.at(-1 - tail)
  )
    tail++;
  const removed = before.slice(head, before.length - tail);
  const added = after.slice(head, after.length - tail);
  const hunk = [
    `@@ -${head + (removed.length > 0 ? 1 : 0)},${removed.length} +${head + (added.length > 0 ? 1 : 0)},${added.length} @@`,
    ...removed.map((line) => `-${line}`),
    ...added.map((line) => `+${line}`),
  ];
  const patch = parsePatch(`--- a/f.c\n+++ b/f.c\n${hunk.join("\n")}\n`);
  return withLineDirectives(applyToFile(sourceLines(source), patch.files[0]!, "f.c", "p").lines!);
}

const source = `#define LINE __LINE__
int a = LINE;
int b = LINE;
/* a comment
   over lines */
int f(int x,
      int y)
{
  return x + y + LINE;
}
int c = LINE;
#define TWO \\
  __LINE__
int d = TWO;
`;

test("lines below an insertion keep their numbers", () => {
  const text = patched(source, (lines) => lines.toSpliced(2, 0, "int extra;", "int more;"));
  expect(text).toContain("int more;\n#line 3\nint b");
  expect(preprocess(text).replace(/int (extra|more);\n/g, "")).toBe(preprocess(source));
});

test("lines below a removal keep their numbers", () => {
  const text = patched(source, (lines) => lines.toSpliced(1, 1));
  expect(preprocess(text)).toBe(preprocess(source).replace("int a = 2;\n", ""));
});

test("a directive waits until a comment, a parenthesis or a continued line is over", () => {
  const inComment = patched(source, (lines) => lines.toSpliced(4, 0, "   longer"));
  expect(inComment).toContain("over lines */\n#line 6\nint f");
  expect(preprocess(inComment)).toBe(preprocess(source));
  const inParentheses = patched(source, (lines) => lines.toSpliced(6, 0, "      int z,"));
  expect(inParentheses).toContain("int y)\n#line 8\n{");
  const inMacro = patched(source, (lines) => lines.toSpliced(12, 0, "  1 + \\"));
  expect(inMacro).toContain("  __LINE__\n#line 14\nint d");
});

test("nothing is inserted where the count of lines stays", () => {
  expect(patched(source, (lines) => lines.toSpliced(1, 1, "int a = LINE + 1;"))).not.toContain("#line");
});

test("knows where a directive may stand", () => {
  const lines = [
    'char *s = "/* no comment";',
    "char q = '\"';",
    "// it's a comment \\",
    "   that goes on",
    "FOO",
    "(1,",
    "  2)",
    "#define OPEN (",
    "int x; /* ( */",
    "#if A",
    "if (a &&",
    "#else",
    "if (b &&",
    "#endif",
    "    c)",
    "y();",
  ];
  const safe = [...safeLineStarts(lines).entries()].filter(([, isSafe]) => isSafe).map(([i]) => i);
  expect(safe).toEqual([0, 1, 2, 4, 7, 8, 9, 10, 12, 15]);
});
