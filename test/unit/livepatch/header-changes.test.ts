import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import { changedNames } from "../../../src/livepatch/build/units/header-changes.ts";
import { countsOf, fingerprint, wordCounts } from "../../../src/livepatch/build/units/unit-words.ts";

const header = `/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _A_H
#define _A_H
#define ONE 1
#define LONG(a) do { \\
	first(a); \\
} while (0)
struct three;
struct four { int a; };
int __must_check second(struct four *f, const char *name);	// aside
static inline struct four *third(void)
{
	return 0; /* "none" */
}
#ifdef CONFIG_A
void fifth(void);
#else
static inline void fifth(void) { }
#endif
DECLARE_THING(sixth);
extern int seventh[];
#endif
`;

const cases: [string, string, string, string[] | undefined][] = [
  ["a comment", "aside", "besides", []],
  ["a macro", "ONE 1", "ONE 2", ["ONE"]],
  ["a macro of several lines", "first(a)", "first(a + 1)", ["LONG"]],
  ["a new macro", "#define ONE 1", "#define ONE 1\n#define TWO 2", ["TWO"]],
  ["a new function", "struct three;", "struct three;\nint eighth(int a);", ["eighth"]],
  ["a function's parameters", "const char *name", "char *name", ["second"]],
  ["an inline function", "return 0", "return (void *)1", ["third"]],
  ["one that becomes inline", "void fifth(void);", "static __always_inline void fifth(void) { }", ["fifth"]],
  ["a type that is only named", "struct three;", "struct three;\nstruct ten;", []],
  ["a type", "int a; };", "int a, b; };", ["four"]],
  ["one that points to functions", "int a; };", "int (*a)(int b); enum { EIGHT } c; };", ["four", "EIGHT"]],
  ["one that macros are in", "int a; };", "DECLARE_BITMAP(a, 2); };", undefined],
  ["one without a name", "struct three;", "struct { int a; } three;", undefined],
  ["a conditional", "CONFIG_A", "CONFIG_B", undefined],
  ["a new conditional", "struct three;", "#if 1\nstruct three;\n#endif", undefined],
  ["what a macro declares", "sixth", "eighth", undefined],
  ["a variable", "seventh[]", "eighth[]", undefined],
  ["a macro that comes after its use", "#define ONE 1\n", "", ["ONE"]],
  ["a comment that does not end", "aside", "/* aside", []],
  ["brackets that do not match", "struct three;", "struct three; {", undefined],
];

test.each(cases)("%s", (_name, before, after, names) => {
  expect(header).toContain(before);
  const found = changedNames(header, header.replace(before, after));
  expect(found?.map(({ name }) => name)).toEqual(names);
});

test("what moves, and what is declared twice, is not told", () => {
  expect(changedNames("int a(int b);\nint c(int d);\n", "int c(int d);\nint a(int b);\n")).toBeUndefined();
  expect(changedNames("int a(int a);\n", "int a(int b);\n")).toBeUndefined();
  const twice = "#ifdef A\nint a(int b);\n#else\nint a(int c);\n#endif\n";
  expect(changedNames(twice, twice.replace("int b", "long b").replace("int c", "long c"))).toBeUndefined();
  // The first may be switched off, and the second in force.
  expect(
    changedNames("#ifdef A\nint a(int b);\n#endif\n", "#ifdef A\n#endif\nint a(long b);\n"),
  ).toBeUndefined();
});

test("names say whether the text before declares them", () => {
  expect(
    changedNames("int a(int b);\n#define M 1\n", "int a(long b);\nint c(int d);\n#define M 2\n"),
  ).toEqual([
    { name: "a", macro: false, declaredBefore: true },
    { name: "M", macro: true, declaredBefore: false },
    { name: "c", macro: false, declaredBefore: false },
  ]);
});

function preprocess(text: string, ...extra: string[]): Buffer {
  return execFileSync("gcc", ["-E", "-P", ...extra, "-x", "c", "-"], { input: text });
}

test("words and macros in use are counted as the preprocessor leaves them", () => {
  const source = `#define USED(x) made_##x
#define UNUSED used_never
#define EMPTY
#ifdef ASKED
#endif
int once, twice; int USED(up) EMPTY; char *twice_text = "twice";
`;
  const words = wordCounts(preprocess(source, "-dU"));
  const wanted = ["once", "twice", "made_up", "USED", "ASKED", "EMPTY", "UNUSED", "used_never", "up"];
  const many = Number.POSITIVE_INFINITY;
  expect(countsOf(words, wanted)).toEqual([1, 2, 1, many, many, many, 0, 0, 0]);
  expect(fingerprint(preprocess(source, "-dU"))).toBe(fingerprint(preprocess(source)));
});

test("no word is counted too low", () => {
  const word = fc.stringMatching(/^[a-z_]{1,3}$/);
  fc.assert(
    fc.property(fc.array(word, { maxLength: 300 }), word, (words, other) => {
      const packed = wordCounts(Buffer.from(words.join(" ")));
      for (const one of new Set([...words, other])) {
        const count = words.filter((same) => same === one).length;
        expect(countsOf(packed, [one])[0]).toBeGreaterThanOrEqual(Math.min(count, 15));
      }
    }),
    { numRuns: 50 },
  );
});

test("a header of noise gives an answer", () => {
  const noise = fc.array(
    fc.constantFrom(
      "#define A",
      "#if",
      "#",
      "\n",
      "int",
      "a",
      "(",
      ")",
      "{",
      "}",
      ";",
      "/*",
      "*/",
      "//",
      '"',
      "'",
      "\\\n",
      "static inline",
    ),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(noise, noise, (before, after) => {
      changedNames(before.join(" "), after.join(" "));
      expect(changedNames(before.join(" "), before.join(" ")) ?? []).toEqual([]);
    }),
    { numRuns: 500 },
  );
});
