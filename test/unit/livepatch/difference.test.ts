import { describe, expect, it } from "vitest";
import { type Difference, differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import { includedPieces } from "../../../src/livepatch/build/module/inclusion.ts";
import { compile } from "./compile.ts";

function compare(original: string, patched: string): Difference & { included: string[] } {
  const [before, after] = [compile(original), compile(patched)];
  const difference = differenceOf(before, after);
  const included = includedPieces(difference, after, () => true).map(({ piece }) => piece.name);
  return { ...difference, included };
}

const names = (difference: Difference) => difference.changed.map(({ patched }) => patched.name);

describe("difference of two objects", () => {
  const base = `
int limit = 10;
static noinline int helper(int x) { return x * 3 + limit; }
int check(int x) { if (x > 5) printk("too large: %d\\n", x); return helper(x); }
int other(int x) { return helper(x) - 1; }
`;

  it("is empty for the same source", () => {
    expect(compare(base, base)).toMatchObject({ verdict: "unchanged", changed: [] });
  });

  it("is empty when only comments and blank lines change", () => {
    expect(compare(base, `/* why */\n\n${base}`).verdict).toBe("unchanged");
  });

  it("is the function whose body changes, and no other", () => {
    const difference = compare(base, base.replace("x > 5", "x > 6"));
    expect(difference.verdict).toBe("patchable");
    expect(names(difference)).toEqual(["check"]);
  });

  it("is the function whose string changes, and takes the string along", () => {
    const difference = compare(base, base.replace("too large", "too LARGE"));
    expect(names(difference)).toEqual(["check"]);
    expect(difference.changed[0]!.reason).toContain("too LARGE");
    expect(difference.included.some((name) => name.startsWith(".rodata.check.str"))).toBe(true);
  });

  it("does not take unchanged functions along, only what is new", () => {
    const patched = base
      .replace(
        "int check",
        "static int seen;\nstatic noinline int clamp(int x) { seen++; return x > 9 ? 9 : x; }\nint check",
      )
      .replace("return helper(x); }", "return helper(clamp(x)); }");
    const difference = compare(base, patched);
    expect(names(difference)).toEqual(["check"]);
    expect(difference.newFunctions.map((piece) => piece.name)).toEqual(["clamp"]);
    expect(difference.included).toEqual(expect.arrayContaining(["check", "clamp", "seen"]));
    expect(difference.included).not.toContain("helper");
    expect(difference.included).not.toContain("limit");
  });

  it("is every function that an inlined function's change reaches", () => {
    const inlined = base.replace(
      "static noinline int helper",
      "static inline __attribute__((always_inline)) int helper",
    );
    expect(names(compare(inlined, inlined.replace("x * 3", "x * 5")))).toEqual(["check", "other"]);
  });

  it("refuses changed initialisers of live data", () => {
    const difference = compare(base, base.replace("limit = 10", "limit = 11"));
    expect(difference.verdict).toBe("refused");
    expect(difference.problems[0]).toMatchObject({
      code: "RK-DATA-CHANGE",
      message: expect.stringContaining("limit"),
    });
  });

  it("refuses changed __init code", () => {
    const source = `${base}int __init setup(void) { return limit + 1; }\n`;
    const difference = compare(source, source.replace("limit + 1", "limit + 2"));
    expect(difference.problems.map(({ code }) => code)).toEqual(["RK-INIT-CHANGE"]);
  });

  it("refuses new __init code, which nothing would run", () => {
    const source = `${base}int __init setup(void) { return limit + 1; }\n`;
    const difference = compare(source, `${source}int __init later(void) { return limit + 2; }\n`);
    expect(difference.verdict).toBe("refused");
    expect(difference.problems).toMatchObject([{ code: "RK-INIT-CHANGE", subject: "later" }]);
  });

  it("takes readers of changed read-only data along", () => {
    const source = `static const int table[4] = {1, 2, 3, 4};\nint look(int i) { return table[i & 3]; }\nint size(void) { return 4; }\n`;
    const difference = compare(source, source.replace("3, 4}", "3, 5}"));
    expect(names(difference)).toEqual(["look"]);
    expect(difference.included).toContain("table");
  });

  it("refuses changed read-only data that other data points to", () => {
    const source = `static const int table[2] = {1, 2};\nconst int *handler = table;\nint look(int i) { return table[i & 1]; }\n`;
    expect(compare(source, source.replace("{1, 2}", "{1, 3}")).problems[0]).toMatchObject({
      code: "RK-DATA-CHANGE",
    });
  });
});

describe("static locals", () => {
  const counter = (name: string, start: number) =>
    `int ${name}(void) { static int count = ${start}; return ++count; }\n`;

  it("are matched by the functions that use them, whatever number they get", () => {
    const source = counter("first", 1) + counter("second", 2);
    const patched =
      counter("zero", 5) + counter("first", 1) + counter("second", 2).replace("++count", "count += 2");
    const difference = compare(source, patched);
    expect(difference.problems).toEqual([]);
    expect(names(difference)).toEqual(["second"]);
    expect(difference.included.filter((name) => name.startsWith("count"))).toEqual([]);
  });

  it("are new where a function gets its first one", () => {
    const source = "int tick(int x) { return x; }\n";
    const difference = compare(source, "int tick(int x) { static int count; return x + ++count; }\n");
    expect(difference.included.some((name) => name.startsWith("count."))).toBe(true);
  });
});

describe("the kernel's tables", () => {
  const warn =
    "int check(int x) { if (x < 0) WARN(1); return x + 1; }\nint safe(int x) { if (x) WARN(3); return x; }\n";

  it("bug entries: a moved line is no change", () => {
    expect(compare(warn, `\n\n${warn}`).verdict).toBe("unchanged");
  });

  it("bug entries: changed flags are one", () => {
    const difference = compare(warn, warn.replace("WARN(1)", "WARN(9)"));
    expect(names(difference)).toEqual(["check"]);
    expect(difference.changed[0]!.reason).toContain("__bug_table");
  });

  it("jump labels and bug entries go along with their function only", () => {
    const source = `extern struct static_key key;\nint fast(int x) { return static_branch(&key) ? x * 7 : x; }\n${warn}`;
    const [before, after] = [compile(source), compile(source.replace("x * 7", "x * 9"))];
    const difference = differenceOf(before, after);
    expect(names(difference)).toEqual(["fast"]);
    const [fast] = includedPieces(difference, after, () => true).filter(({ piece }) => piece.name === "fast");
    expect(fast!.tableEntries.map(({ section }) => section.name).sort()).toEqual([
      "__jump_table",
      "__mcount_loc",
    ]);
    expect(
      fast!.tableEntries
        .find(({ section }) => section.name === "__jump_table")!
        .references.map(({ destination }) => destination.kind),
    ).toEqual(["included", "included", "symbol"]);
  });

  it("alternatives: a changed replacement changes the function, and goes along alone", () => {
    const source =
      'int a(void) { ALTERNATIVE("nop", "pause", 5); return 1; }\nint b(void) { ALTERNATIVE("nop", "cld", 5); return 2; }\n';
    const difference = compare(source, source.replace('"cld"', '"clc"'));
    expect(names(difference)).toEqual(["b"]);
    expect(difference.included.filter((name) => name.startsWith(".altinstr_replacement"))).toHaveLength(1);
  });

  it("an empty replacement is nobody else's: what stands where it points is not compared, nor taken along", () => {
    const source =
      'int a(void) { ALTERNATIVE("nop", "", 5); return 1; }\nint b(void) { ALTERNATIVE("nop", "cld", 5); return 2; }\n';
    const other = compare(source, source.replace('"cld"', '"clc"'));
    expect(names(other)).toEqual(["b"]);
    const own = compare(source, source.replace("return 1", "return 3"));
    expect(names(own)).toEqual(["a"]);
    expect(own.included.filter((name) => name.startsWith(".altinstr_replacement"))).toEqual([]);
  });
});

describe("functions in parts", () => {
  const source = `__attribute__((cold)) void slow(int);
int work(int x) { if (__builtin_expect(x == 77, 0)) { slow(x); slow(x + 1); printk("slow %d", x); } return x * 2; }
`;

  it("a changed cold part changes its function, and both go along", () => {
    const difference = compare(source, source.replace("x + 1", "x + 2"));
    expect(names(difference)).toEqual(["work"]);
    expect(difference.included).toEqual(expect.arrayContaining(["work", "work.cold"]));
  });

  it("a pointer to a replaced function stays the kernel's own, a call does not", () => {
    const code = `int register_it(int (*)(int));
noinline int handler(int x) { return x + 1; }
int setup(int x) { register_it(handler); return handler(x) + 1; }
`;
    const [before, after] = [
      compile(code),
      compile(code.replace("x + 1", "x + 2").replace("(x) + 1", "(x) + 4")),
    ];
    const included = includedPieces(differenceOf(before, after), after, () => true);
    const setup = included.find(({ piece }) => piece.name === "setup")!;
    const toHandler = setup.references.filter(
      ({ target }) => "piece" in target && target.piece.name === "handler",
    );
    expect(toHandler.map(({ branch, destination }) => [branch, destination.kind]).sort()).toEqual([
      [false, "original"],
      [true, "included"],
    ]);
  });
});
