import { describe, expect, it } from "vitest";
import { findTypeChanges } from "../../../../src/livepatch/build/types/changes.ts";
import { readDebugInfo } from "../../../../src/livepatch/build/types/debug-info.ts";
import { compileUnit, isInstalled } from "./compile-with-debug-info.ts";

/** What a unit with `body` behind the types finds when they change. */
function changes(before: string, after: string, body: string, bodyAfter = body, flags = ["-g"]) {
  const [original, patched] = [`${before}\n${body}`, `${after}\n${bodyAfter}`];
  return findTypeChanges(
    [
      {
        source: "fs/unit.c",
        original: readDebugInfo(compileUnit(original, flags), "unit.o")!,
        patched: readDebugInfo(compileUnit(patched, flags), "unit.o")!,
      },
    ],
    new Map([["fs/unit.c", original]]),
  );
}

const use = `int use(struct object *p) { return p->a; }
struct object *everywhere;`;
const plain = "struct object { int a; long b; char c; };";

describe("types that stay", () => {
  it.each([
    ["equal text", plain],
    ["comments and white space", "struct object /* of */ {\n\tint a;\n\tlong b; char c;\n};"],
    ["a typedef for the same", "typedef int number; struct object { number a; long b; char c; };"],
    ["const and volatile", "struct object { const int a; volatile long b; char c; };"],
    ["members wrapped into an anonymous structure", "struct object { struct { int a; long b; }; char c; };"],
    ["a new type beside", `struct fresh { int x; }; ${plain} struct fresh fresh;`],
  ])("%s", (_, after) => {
    expect(changes(plain, after, use)).toEqual({ problems: [], cautions: [] });
  });
});

describe("types that can be carried", () => {
  it.each([
    [
      "a member in a hole",
      "struct object { int a; int new; long b; char c; };",
      `"int new" is added at offset 4, where nothing was`,
    ],
    [
      "a member in the padding behind",
      "struct object { int a; long b; char c; char new; };",
      "added at offset 17",
    ],
    ["a renamed member", "struct object { int a; long other; char c; };", "b is called other"],
    [
      "another sign",
      "struct object { unsigned int a; long b; char c; };",
      `a at offset 0 changes from "int" to "unsigned int"`,
    ],
  ])("%s", (_, after, fact) => {
    const { problems, cautions } = changes(plain, after, use);
    expect(problems).toEqual([]);
    expect(cautions).toEqual([
      expect.objectContaining({
        code: "RK-CAUTION-TYPE-CHANGE",
        message: expect.stringContaining(fact),
        source: "fs/unit.c:1",
      }),
    ]);
  });

  it("a removed member between others", () => {
    const before = "struct object { int a; int gone; long b; };";
    const { problems, cautions } = changes(before, "struct object { int a; long b; };", use);
    expect(problems).toEqual([]);
    expect(cautions[0]!.message).toContain(`"int gone" at offset 4 is removed`);
  });

  it("a bit-field behind others", () => {
    const { problems, cautions } = changes(
      "struct object { unsigned a:1, b:2; long c; };",
      "struct object { unsigned a:1, b:2, new:1; long c; };",
      use,
    );
    expect(problems).toEqual([]);
    expect(cautions[0]!.message).toContain(
      `"unsigned int new:1" is added at offset 0, bit 3, where nothing was`,
    );
  });

  it("a lock of the same layout under another type", () => {
    const locks =
      "typedef struct { int counter; } atomic_t; struct qlock { union { atomic_t val; struct { char locked, pending; }; }; };" +
      "typedef struct raw { struct qlock raw_lock; } raw_t; typedef struct lock { union { struct raw rlock; }; } lock_t;";
    const { problems, cautions } = changes(
      `${locks} struct object { int a; lock_t lock; };`,
      `${locks} struct object { int a; raw_t lock; };`,
      use,
    );
    expect(problems).toEqual([]);
    expect(cautions[0]!.message).toContain(`lock at offset 4 changes from "lock_t" to "raw_t"`);
  });

  it("the prototype of a function that is called through a pointer, with who calls it", () => {
    const { problems, cautions } = changes(
      "struct object { int a; int (*get)(struct object *); };",
      "struct object { int a; int (*get)(struct object *, _Bool); };",
      use,
    );
    expect(problems).toEqual([]);
    expect(cautions[0]!.message).toContain(
      `get at offset 8 changes from "int (*)(struct object *)" to "int (*)(struct object *, _Bool)"`,
    );
    expect(cautions[0]!.hint).toContain("old arguments");
  });

  it("another view of the same bytes in a union", () => {
    const { problems, cautions } = changes(
      "struct object { int a; union { long b; char c; }; };",
      "struct object { int a; union { long b; char c; int new; }; };",
      use,
    );
    expect(problems).toEqual([]);
    expect(cautions[0]!.message).toContain("beside b");
  });

  it("enumerators behind the others, also before their number", () => {
    const body = "enum state now; int f(void) { return now == ON; }";
    for (const [before, after] of [
      ["enum state { OFF, ON };", "enum state { OFF, ON, HALF };"],
      ["enum state { OFF, ON, NR_STATES };", "enum state { OFF, ON, HALF, NR_STATES };"],
    ] as const) {
      const { problems, cautions } = changes(before, after, body);
      expect(problems).toEqual([]);
      expect(cautions[0]!.message).toContain("HALF (2) is added");
    }
  });
});

describe("types that only live on stacks", () => {
  const before = "struct walk { int a; };";
  const after = "struct walk { int a; long depth; };";
  const stack = `static __attribute__((noinline)) int step(struct walk *w) { asm volatile("" : "+m" (w->a)); return w->a; }
int go(int a) { struct walk w = { a }; return step(&w); }`;

  it("are carried with a caution", () => {
    const { problems, cautions } = changes(before, after, stack);
    expect(problems).toEqual([]);
    expect(cautions).toEqual([
      expect.objectContaining({ code: "RK-CAUTION-TYPE-ON-STACK", source: "fs/unit.c:1" }),
    ]);
    expect(cautions[0]!.message).toContain("go (fs/unit.c:3)");
  });

  it.each([
    ["a global", "struct walk kept;"],
    ["a static variable", "int count(void) { static struct walk kept; return kept.a++; }"],
    ["a global pointer", "struct walk *kept;"],
    [
      "a pointer in a structure",
      "struct holder { struct walk *w; }; int get(struct holder *h) { return h->w->a; }",
    ],
    [
      "a local pointer, which may come from anywhere",
      "void *alloc(void); int get(void) { struct walk *w = alloc(); return w->a; }",
    ],
    ["a cast", "int get(void *data) { return ((struct walk *)data)->a; }"],
    ["a function that hands one out", "void *alloc(void); struct walk *get(void) { return alloc(); }"],
  ])("are refused with %s", (_, body) => {
    const { problems } = changes(before, after, `${stack}\n${body}`);
    expect(problems.map(({ subject }) => subject)).toEqual(["struct walk"]);
  });

  it("may be parts of one another", () => {
    const outer = "struct outer { struct walk inner; };";
    const body = `${stack}\nint all(int a) { struct outer o = { { a } }; return step(&o.inner); }`;
    const { problems, cautions } = changes(`${before} ${outer}`, `${after} ${outer}`, body);
    expect(problems).toEqual([]);
    expect(cautions.map(({ code }) => code)).toContain("RK-CAUTION-TYPE-ON-STACK");
    const kept = changes(`${before} ${outer}`, `${after} ${outer}`, `${body} struct outer *kept;`);
    expect(kept.problems.map(({ subject }) => subject)).toContain("struct walk");
  });
});

describe("types that cannot be carried", () => {
  it.each([
    [
      "a larger structure",
      "struct object { int a; long b; char c; long new; };",
      "its size changes from 24 to 32 bytes",
    ],
    [
      "a member in front",
      "struct object { long new; int a; long b; char c; };",
      "a moves from offset 0 to offset 8 (and 2 more members)",
    ],
    ["members exchanged", "struct object { long b; int a; char c; };", "a moves from offset 0 to offset 8"],
    [
      "a larger member",
      "struct object { long a; long b; char c; };",
      `a at offset 0 changes from "int" to "long int"`,
    ],
    [
      "a pointer for a number",
      "struct object { int a; void *b; char c; };",
      `b at offset 8 changes from "long int" to "void *"`,
    ],
    [
      "another member in the place of one",
      "struct object { int a; struct { int x, y; } b2; char c; };",
      "removed",
    ],
    [
      "a flexible array where none was",
      "struct object { int a; long b; char c; char data[]; };",
      `"char data[]" is added`,
    ],
  ])("%s", (_, after, fact) => {
    const { problems } = changes(plain, after, use);
    expect(problems).toEqual([
      expect.objectContaining({ code: "RK-TYPE-CHANGE", subject: "struct object", source: "fs/unit.c:1" }),
    ]);
    expect(problems[0]!.message).toContain(fact);
    expect(problems[0]!.message).toContain("Variables: everywhere (fs/unit.c:3).");
    expect(problems[0]!.message).toContain("Used in use (fs/unit.c:2).");
  });

  it("whose text is the same: a constant, a typedef, a structure within", () => {
    const source = (size: number, type: string, inner: string) =>
      `#define SIZE ${size}\ntypedef ${type} number; struct inner { ${inner} };
struct array { char a[SIZE]; } array; struct scalar { number n; } scalar; struct outer { struct inner i; int z; } outer;`;
    const found = (after: string) =>
      changes(source(4, "int", "int x;"), after, "").problems.map(({ subject }) => subject);
    expect(found(source(8, "int", "int x;"))).toEqual(["struct array"]);
    expect(found(source(4, "long", "int x;"))).toEqual(["struct scalar"]);
    // The structure that changes is told, with the one that holds it.
    expect(found(source(4, "int", "int x, y;"))).toEqual(["struct inner"]);
    const [problem] = changes(source(4, "int", "int x;"), source(4, "int", "int x, y;"), "").problems;
    expect(problem!.message).toContain("Held by struct outer, i (fs/unit.c:3)");
  });

  it("without a name of their own", () => {
    const found = (before: string, after: string) =>
      changes(before, after, "").problems.map(({ subject }) => subject);
    expect(
      found(
        "typedef struct { int a; } thing_t; thing_t t;",
        "typedef struct { int b, a; } thing_t; thing_t t;",
      ),
    ).toEqual(["thing_t"]);
    expect(
      found(
        "static struct { int a, b; } one[2]; int f(int i) { return one[i].a++; }",
        "static struct { int b, a; } one[2]; int f(int i) { return one[i].a++; }",
      ),
    ).toEqual(["the type of one"]);
    expect(
      found("struct o { struct { int a; } in; int z; } o;", "struct o { struct { long a; } in; int z; } o;"),
    ).toEqual(["struct o"]);
  });

  it("enumerators that mean something else", () => {
    const body = "enum state now; int f(void) { return now == ON; }";
    const { problems } = changes("enum state { OFF, ON };", "enum state { OFF, HALF, ON };", body);
    expect(problems).toEqual([expect.objectContaining({ code: "RK-TYPE-CHANGE", subject: "enum state" })]);
    expect(problems[0]!.message).toContain("ON changes from 1 to 2");
    expect(problems[0]!.hint).toContain("behind the others");
  });

  it("come with advice that fits", () => {
    const [inHole] = changes(
      "struct object { int a; long b; _Bool c; };",
      "struct object { int a; long b; int new; _Bool c; };",
      use,
    ).problems;
    // Not in the hole behind a: the nearest place that is free.
    expect(inHole!.hint).toContain(`Declare "int new" behind "_Bool c", where 7 bytes are free`);
    const rescued = changes(
      "struct object { int a; long b; _Bool c; };",
      "struct object { int a; long b; _Bool c; int new; };",
      use,
    );
    expect(rescued.problems).toEqual([]);

    const [shadow] = changes(
      "struct object { long a; };",
      "struct object { struct object *next; long a; };",
      use,
    ).problems;
    expect(shadow!.hint).toContain(
      "struct object **next = klp_shadow_get_or_alloc(object, ID, sizeof(struct object *), GFP_KERNEL, NULL, NULL)",
    );
    expect(shadow!.hint).not.toContain("Declare");
    const [callback] = changes(
      "struct object { long a; } one;",
      "struct object { long a, b; } one;",
      "",
    ).problems;
    expect(callback!.hint).toContain("one itself lies in the running kernel: a pre_patch callback");
  });

  it("tell where new members can be declared, unless a variable may be initialised by their order", () => {
    const grown = "struct object { int a; long b; int new; _Bool c; };";
    const before = "struct object { int a; long b; _Bool c; };";
    const placement = { structure: "struct object", member: "new", behind: "c" };
    expect(changes(before, grown, use).placements).toEqual([placement]);
    expect(changes(before, grown, `${use} struct object one;`).placements).toBeUndefined();
    const local = `${use} int f(int x) { volatile struct object one = { x, 2, 3 }; return one.a; }`;
    expect(changes(before, grown, local).placements).toBeUndefined();
  });

  const clang = ["clang", "clang-19", "clang-16", "clang-14"].find(isInstalled);
  it.skipIf(clang === undefined)("as clang describes them", () => {
    const [a, b] = [plain, "struct object { int a; long b, d; char c; };"].map((text) =>
      readDebugInfo(compileUnit(`${text}\n${use}`, ["-g"], clang), "unit.o"),
    );
    expect(findTypeChanges([{ source: "fs/unit.c", original: a!, patched: b! }]).problems).toHaveLength(1);
  });

  it.each(["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-4 -fdebug-types-section"])("in %s", (flags) => {
    const before = "struct object { int a:3, b:7; long c; };";
    const run = (after: string) => changes(before, after, use, use, flags.split(" "));
    expect(run("struct object { int a:3, b:8; long c; };").problems).toHaveLength(1);
    expect(run("struct object { int a:3, b:7, d:4; long c; };").cautions[0]!.message).toContain(
      "offset 1, bit 2",
    );
  });
});

describe("a type in several units", () => {
  it("is told once, with the uses of all", () => {
    const unit = (type: string, body: string) => readDebugInfo(compileUnit(`${type}\n${body}`), "unit.o")!;
    const larger = "struct object { int a; long b, d; char c; };";
    const bodies = [use, "int other(struct object *p) { return p->c; }"];
    const { problems } = findTypeChanges(
      bodies.map((body) => ({
        source: "fs/unit.c",
        original: unit(plain, body),
        patched: unit(larger, body),
      })),
    );
    expect(problems).toHaveLength(1);
    expect(problems[0]!.message).toContain("Used in use (fs/unit.c:2); other (fs/unit.c:2).");
  });
});
