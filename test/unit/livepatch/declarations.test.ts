import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { changeMatters, declaredNames } from "../../../src/livepatch/build/units/declarations.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

const text = `
struct device;
enum color { red, green = 2 };
typedef unsigned int u32;
struct page { struct page *next; u32 flags; union { int a; } in; };
extern struct page *pages[];
static inline __attribute__((__gnu_inline__)) __attribute__((__unused__)) int first(struct page *p)
{
	return p->flags & 1;
}
int probe(struct device *dev, u32 flags) __attribute__((__warn_unused_result__));
static inline int twice(int x) { return 2 * x; }
static inline int thrice(int x) { return twice(x) + x; }
static int table[] = { 1, 2, ';', "}"[0] };
#pragma GCC diagnostic push
int code(struct page *p)
{
	return first(p) + table[0];
}
__asm__(".globl aside");
`;

const edits: [string, string, string, boolean][] = [
  [
    "a declaration that nothing names",
    "struct device;",
    "struct device;\nint fresh(struct device *d);",
    false,
  ],
  ["white space", "struct device;", "struct\n  device ;", false],
  ["an inline function that nothing calls", "2 * x", "3 * x", false],
  ["one that only such a function calls", "return twice(x) + x", "return twice(x) - x", false],
  ["an inline function that code calls", "p->flags & 1", "p->flags & 2", true],
  ["a structure that code reaches through an inline function", "u32 flags;", "u32 more, flags;", true],
  ["a type behind that structure", "typedef unsigned int u32", "typedef unsigned long u32", true],
  ["constants that nothing names", "green = 2", "green = 3, blue", false],
  ["parameters of a function that nothing calls", "u32 flags) __attr", "u32 flags, int more) __attr", false],
  ["a variable's size that nothing names", "pages[]", "pages[10]", false],
  ["a variable", "static int table[] = { 1", "static int table[] = { 2", true],
  ["a new variable", "struct device;", "struct device; int fresh;", true],
  ["a new function", "struct device;", "struct device; int fresh(void) { return 1; }", true],
  ["a function that loses its static", "static inline int twice", "inline int twice", true],
  ["assembly", ".globl aside", ".globl besides", true],
  ["a directive", "GCC diagnostic push", "pack(1)", true],
  ["brackets that do not match", "struct device;", "struct device; }", true],
  [
    "an alias",
    "struct device;",
    'struct device; extern int other(void) __attribute__((alias("code")));',
    true,
  ],
];

test.each(edits)("%s", (_name, before, after, matters) => {
  expect(text).toContain(before);
  expect(changeMatters(text, text.replace(before, after))).toBe(matters);
  expect(changeMatters(text.replace(before, after), text)).toBe(matters);
});

test("what declares without making anything", () => {
  const declarations: [string, string[] | undefined][] = [
    ["struct page;", []],
    ["struct page { int a; enum { one, two } e; };", ["page", "one", "two"]],
    ["struct __attribute__((packed)) page { int a; } __attribute__((aligned(8)));", ["page"]],
    ["enum { one, two };", ["one", "two"]],
    ["struct { int a; } page;", undefined],
    ["struct page { int a; } pages;", undefined],
    ["struct page *find(int a);", ["find"]],
    ["extern typeof(int (*)(void)) find;", ["find"]],
    ["extern int (*find)(int a);", ["find"]],
    ["int (*find)(int a);", undefined],
    ["int find(int a), count;", undefined],
    ["int count;", undefined],
    ["extern int count = 1;", undefined],
    ["extern inline int find(int a) { return a; }", undefined],
    ["extern inline __attribute__((gnu_inline)) int find(int a) { return a; }", ["find"]],
    ["static inline __attribute__((__used__)) int find(int a) { return a; }", undefined],
    ["static int find(int a) { return a; }", undefined],
    ['int find(int a) __asm__("found");', undefined],
    ['_Static_assert(sizeof(int) == 4, "int");', []],
    ["typedef struct { int a; } page_t;", ["page_t"]],
    ["typedef int (*finder_t)(int a);", ["finder_t"]],
  ];
  for (const [declaration, names] of declarations) {
    const found = declaredNames(declaration);
    if (names === undefined) expect(found, declaration).toBeUndefined();
    else expect(found, declaration).toEqual(expect.arrayContaining(names));
  }
});

test("gcc makes the same code of what does not matter", () => {
  // Each declaration may use those before it; what is exported makes code.
  const piece = fc.record({
    kind: fc.constantFrom("inline", "prototype", "struct", "constant", "export"),
    uses: fc.nat(5),
    value: fc.integer({ min: 1, max: 3 }),
  });
  const unit = fc.array(piece, { minLength: 3, maxLength: 8 });
  const write = (pieces: { kind: string; uses: number; value: number }[]): string =>
    pieces
      .map(({ kind, uses, value }, i) => {
        const used = i - 1 - uses;
        const other = pieces[used];
        const use =
          other === undefined
            ? "0"
            : other.kind === "struct"
              ? `(int)sizeof(struct n${used})`
              : other.kind === "constant"
                ? `n${used}`
                : `n${used}(x)`;
        switch (kind) {
          case "inline":
            return `static inline int n${i}(int x) { return ${use} + ${value}; }`;
          case "prototype":
            return `int n${i}(int${value > 1 ? " x" : ""});`;
          case "struct":
            return `struct n${i} { char a[${value}]; ${other?.kind === "struct" ? `struct n${used} b;` : ""} };`;
          case "constant":
            return `enum { n${i} = ${value} };`;
          default:
            return `int n${i}(int x) { return ${use} * ${value}; }`;
        }
      })
      .join("\n");
  const codeOf = (source: string): Buffer => {
    const [input, output] = [join(folder, "unit.i"), join(folder, "unit.s")];
    writeFileSync(input, source);
    execFileSync("gcc", ["-O1", "-fno-ident", "-S", "-x", "cpp-output", input, "-o", output]);
    return readFileSync(output);
  };
  let spared = 0;
  fc.assert(
    fc.property(unit, fc.nat(7), fc.integer({ min: 4, max: 6 }), (pieces, where, value) => {
      const changed = pieces.map((one, i) => (i === where % pieces.length ? { ...one, value } : one));
      const [before, after] = [write(pieces), write(changed)];
      if (changeMatters(before, after)) return;
      spared++;
      expect(codeOf(after).equals(codeOf(before))).toBe(true);
    }),
    { numRuns: 60 },
  );
  expect(spared).toBeGreaterThan(5);
});

test("any text gives an answer", () => {
  const noise = fc.array(
    fc.constantFrom(
      "struct",
      "a",
      "(",
      ")",
      "{",
      "}",
      ";",
      '"',
      "'",
      "\\",
      "#",
      "\n",
      "=",
      "[",
      "]",
      "enum",
      "static",
      "inline",
      "__attribute__",
      "extern",
      "typedef",
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(noise, noise, (before, after) => {
      expect(typeof changeMatters(before.join(" "), after.join(" "))).toBe("boolean");
    }),
    { numRuns: 500 },
  );
});
