import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { authorHeader } from "../../../src/livepatch/build/author/author-header.ts";
import { callbacksOf } from "../../../src/livepatch/build/author/callbacks.ts";
import {
  type Directive,
  directivesOf,
  withAnswers,
  withoutIgnored,
} from "../../../src/livepatch/build/author/directives.ts";
import { kpatchHeaders } from "../../../src/livepatch/build/author/kpatch-headers.ts";
import { statesOf } from "../../../src/livepatch/build/author/states.ts";
import { differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import type { Problem } from "../../../src/livepatch/build/finding.ts";
import { glueSource } from "../../../src/livepatch/build/module/glue.ts";
import { withKlpRelocations } from "../../../src/livepatch/build/module/klp-relocations.ts";
import { KlpSymbolNames } from "../../../src/livepatch/build/module/output.ts";
import type { KlpBinding } from "../../../src/livepatch/build/module/resolve.ts";
import { isPieceTarget, pieceBytes, type UnitObject } from "../../../src/livepatch/build/object/object.ts";
import { compile, compileBytes } from "./compile.ts";

/** The header, with what it takes from the kernel's own headers. */
const header = `
#define __used __attribute__((used))
#define __section(name) __attribute__((section(name)))
#define __PASTE_(a, b) a##b
#define __PASTE(a, b) __PASTE_(a, b)
#define __UNIQUE_ID(prefix) __PASTE(__PASTE(__UNIQUE_ID_, prefix), __COUNTER__)
#define BUILD_BUG_ON_ZERO(e) ((int)sizeof(struct { int : (-!!(e)); }))
struct klp_object;
struct klp_patch;
struct klp_state { unsigned long id; unsigned int version; void *data; };
${authorHeader.replace("#include <linux/livepatch.h>\n", "")}
`;
const base = `
int limit = 10;
static noinline int helper(int x) { return x * 3 + limit; }
int check(int x) { return helper(x) + 1; }
int __init setup(void) { return limit + 1; }
`;
const patched = (extra: string, change: (text: string) => string = (text) => text) =>
  compile(header + change(base) + extra);
const original = compile(header + base);

function judge(object: UnitObject) {
  const directives = directivesOf(object);
  const { difference, used, cautions } = withoutIgnored(differenceOf(original, object), directives);
  return withAnswers([{ source: "unit.c", directives, used, difference, cautions }])[0]!;
}

describe("macros for authors", () => {
  it("leave nothing that counts as a change", () => {
    const object = patched(`
REKERNEL_STATE(7, 1);
REKERNEL_IGNORE_FUNCTION(check);
REKERNEL_ACCEPT("RK-DATA-CHANGE", "limit", "why not");
static int before(struct klp_object *obj) { return 0; }
REKERNEL_PRE_PATCH(before);
`);
    expect(differenceOf(original, object)).toMatchObject({ verdict: "unchanged", problems: [] });
  });

  it("have kpatch's names as well", () => {
    const object = patched(`
#define SYSCALL_DEFINE1(name, type, argument) long __x64_sys_##name(type argument)
${Object.values(kpatchHeaders)
  .join("")
  .replaceAll(/#include .*/g, "")}
static int before(patch_object *obj) { return 0; }
static void after(patch_object *obj) { KPATCH_PRINTK("after %d", 1); }
KPATCH_PRE_PATCH_CALLBACK(before);
KPATCH_POST_UNPATCH_CALLBACK(after);
KPATCH_IGNORE_FUNCTION(check);
KPATCH_IGNORE_SECTION(".data.limit");
KPATCH_SYSCALL_DEFINE1(close, int, fd) { return fd; }
`);
    expect(
      callbacksOf(object)
        .map(({ kind }) => kind)
        .sort(),
    ).toEqual(["post_unpatch", "pre_patch"]);
    expect(new Set(directivesOf(object))).toEqual(
      new Set([
        { kind: "ignore-function", name: "check" },
        { kind: "ignore-section", name: ".data.limit" },
      ]),
    );
    expect(object.byName.has("__x64_sys_close")).toBe(true);
  });

  it("declare callbacks of each kind", () => {
    const object = patched(`
static int before(struct klp_object *obj) { return 0; }
static void after(struct klp_object *obj) { printk("after"); }
REKERNEL_PRE_PATCH(before);
REKERNEL_POST_PATCH(after);
REKERNEL_PRE_UNPATCH(after);
REKERNEL_POST_UNPATCH(after);
`);
    expect(callbacksOf(object).map(({ kind, function: { name } }) => [kind, name])).toEqual([
      ["pre_patch", "before"],
      ["post_patch", "after"],
      ["pre_unpatch", "after"],
      ["post_unpatch", "after"],
    ]);
  });

  it("make ids of shadow variables by FNV-1a, as constants", () => {
    const object = compile(`${header}
const unsigned long one = REKERNEL_SHADOW_ID("a");
const unsigned long word = REKERNEL_SHADOW_ID("foobar");
const unsigned long longest = REKERNEL_SHADOW_ID("${"x".repeat(64)}");
unsigned long used(void) { return REKERNEL_SHADOW_ID("foobar"); }
`);
    const value = (name: string) => Buffer.from(pieceBytes(object.byName.get(name)!)).readBigUInt64LE();
    // http://www.isthe.com/chongo/src/fnv/test_fnv.c
    expect(value("one")).toBe(0xaf63dc4c8601ec8cn);
    expect(value("word")).toBe(0x85944171f73967e8n);
    let longest = 0xcbf29ce484222325n;
    for (let i = 0; i < 64; i++) longest = ((longest ^ 0x78n) * 0x100000001b3n) & 0xffffffffffffffffn;
    expect(value("longest")).toBe(longest);
    const code = object.byName.get("used")!;
    expect(Buffer.from(pieceBytes(code)).includes(pieceBytes(object.byName.get("word")!))).toBe(true);
    expect(code.references.every(({ target }) => !isPieceTarget(target))).toBe(true);
  });

  it("refuse a shadow variable's name that is too long, at compile time", () => {
    expect(() =>
      compile(`${header}long id(void) { return REKERNEL_SHADOW_ID("${"x".repeat(65)}"); }`),
    ).toThrow();
    expect(() => compile(`${header}long id(void) { return REKERNEL_SHADOW_ID(""); }`)).toThrow();
  });
});

describe("what an author leaves out", () => {
  it("is a function, which stays the kernel's", () => {
    const both = (text: string) => text.replace("x * 3", "x * 5").replace("helper(x) + 1", "helper(x) + 2");
    const judged = judge(patched("REKERNEL_IGNORE_FUNCTION(check);", both));
    expect(judged.difference.changed.map(({ patched: piece }) => piece.name)).toEqual(["helper"]);
    expect(judged.difference.verdict).toBe("patchable");
    expect(judged.cautions).toMatchObject([
      { code: "RK-CAUTION-IGNORED", message: expect.stringContaining("check keeps the kernel's code") },
    ]);
  });

  it("is __init code, which would be refused", () => {
    const change = (text: string) => text.replace("limit + 1", "limit + 2").replace("x * 3", "x * 5");
    expect(judge(patched("", change)).difference.verdict).toBe("refused");
    const judged = judge(patched("REKERNEL_IGNORE_FUNCTION(setup);", change));
    expect(judged.difference).toMatchObject({ verdict: "patchable", problems: [] });
  });

  it("is data in a section, as long as its size stays", () => {
    const ignore = 'REKERNEL_IGNORE_SECTION(".data.limit");';
    const judged = judge(patched(ignore, (text) => text.replace("limit = 10", "limit = 11")));
    expect(judged.difference).toMatchObject({ verdict: "unchanged", problems: [] });
    expect(judged.cautions).toMatchObject([
      { code: "RK-CAUTION-IGNORED", message: expect.stringContaining("limit in .data.limit") },
    ]);
    const larger = (text: string) => text.replace("int limit = 10", "long limit = 10");
    expect(() => judge(patched(ignore, larger))).toThrow(
      expect.objectContaining({ code: "RK-AUTHOR-MACRO" }),
    );
  });

  it("has to be there: a misspelt name is an error that lists what differs", () => {
    const change = (text: string) => text.replace("x * 3", "x * 5");
    for (const macro of ["REKERNEL_IGNORE_FUNCTION(helpr)", 'REKERNEL_IGNORE_SECTION(".data")'])
      expect(() => judge(patched(`${macro};`, change))).toThrow(
        expect.objectContaining({
          code: "RK-AUTHOR-MACRO",
          exitCode: 1,
          message: expect.stringContaining(macro),
        }),
      );
    expect(() => judge(patched("REKERNEL_IGNORE_FUNCTION(helpr);", change))).toThrow(
      /What differs there: helper/,
    );
  });
});

describe("what an author vouches for", () => {
  const accept = (code: string, subject: string, reason: string) =>
    `REKERNEL_ACCEPT(${[code, subject, reason].map((text) => JSON.stringify(text)).join(", ")});`;

  it("is data whose content changes; the reason is told", () => {
    const change = (text: string) => text.replace("limit = 10", "limit = 11").replace("x * 3", "x * 5");
    const judged = judge(
      patched(accept("RK-DATA-CHANGE", "limit", "the callback sets it, \u00e9\u00df"), change),
    );
    expect(judged.difference.verdict).toBe("patchable");
    expect(judged.cautions).toMatchObject([
      { code: "RK-CAUTION-ACCEPTED", hint: expect.stringContaining('"the callback sets it, \u00e9\u00df"') },
    ]);
  });

  it("is no other refusal, and needs a reason", () => {
    for (const macro of [
      accept("RK-INIT-CHANGE", "setup", "who cares"),
      accept("RK-DATA-CHANGE", "limit", " "),
      accept("RK-DATA-CHANGE", "", "reason"),
    ])
      expect(() => directivesOf(patched(macro))).toThrow(
        expect.objectContaining({ code: "RK-AUTHOR-MACRO" }),
      );
  });

  it("is a type for all units, told once; data for its own unit alone", () => {
    const problem = (code: string, subject: string): Problem => ({
      code,
      subject,
      message: `${subject} changes`,
      hint: "",
    });
    const unit = (source: string, directives: Directive[], problems: Problem[]) => ({
      source,
      directives,
      used: new Set<string>(),
      cautions: [],
      difference: { ...differenceOf(original, original), problems },
    });
    const type: Directive = { kind: "accept", code: "RK-TYPE-CHANGE", subject: "struct a", reason: "unused" };
    const data: Directive = { kind: "accept", code: "RK-DATA-CHANGE", subject: "v", reason: "unused" };
    const problems = [problem("RK-TYPE-CHANGE", "struct a"), problem("RK-DATA-CHANGE", "v")];
    const [first, second] = withAnswers([unit("a.c", [type, data], problems), unit("b.c", [], problems)]);
    expect(first!.difference.problems).toEqual([]);
    expect(first!.cautions).toHaveLength(2);
    expect(second!.difference.problems).toEqual([problem("RK-DATA-CHANGE", "v")]);
    expect(second!.cautions).toEqual([]);
    expect(() => withAnswers([unit("a.c", [type], []), unit("b.c", [], [])])).toThrow(
      expect.objectContaining({ code: "RK-AUTHOR-MACRO" }),
    );
  });

  it("is read from any bytes as directives or as an error", () => {
    const template = patched("REKERNEL_IGNORE_FUNCTION(check);");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
        const pieces = template.pieces.map((piece) =>
          piece.section.name === ".rekernel.directives"
            ? { ...piece, section: { ...piece.section, data }, start: 0, end: data.length }
            : piece,
        );
        try {
          for (const directive of directivesOf({ ...template, pieces }))
            expect(directive.kind).toBeTypeOf("string");
        } catch (error) {
          expect(error).toMatchObject({ code: "RK-AUTHOR-MACRO" });
        }
      }),
    );
  });
});

describe("system states", () => {
  it("are declared once each, whatever the number of units", () => {
    const one = patched("enum { A = 3 };\nREKERNEL_STATE(A, 2);\nREKERNEL_STATE(0xffffffffffffffffUL, 1);");
    expect(
      statesOf([
        { source: "a.c", patched: one },
        { source: "b.c", patched: one },
      ]),
    ).toEqual([
      { id: 3n, version: 2 },
      { id: 0xffffffffffffffffn, version: 1 },
    ]);
  });

  it("have an id that the kernel sees, and one version", () => {
    const wrong = expect.objectContaining({ code: "RK-AUTHOR-MACRO" });
    expect(() => statesOf([{ source: "a.c", patched: patched("REKERNEL_STATE(0, 1);") }])).toThrow(wrong);
    const twice = patched("REKERNEL_STATE(1, 1);\nREKERNEL_STATE(1, 2);");
    expect(() => statesOf([{ source: "a.c", patched: twice }])).toThrow(wrong);
  });

  it("stand in the patch's description, and only where there are any", () => {
    const options = { description: "", replace: true, namespaces: [], quotedNamespaces: false };
    const glue = glueSource([], { ...options, states: [{ id: 3n, version: 2 }] });
    expect(glue).toContain("{ .id = 3UL, .version = 2U },");
    expect(glue).toContain(".states = states,");
    expect(glue).toContain(".replace = true,");
    // Members that older kernels do not have are not named without need.
    expect(glueSource([], { ...options, replace: false, states: [] })).not.toMatch(/states|replace/);
  });
});

describe("names that every module defines for itself", () => {
  const binding: KlpBinding = {
    kind: "klp",
    relocatedFor: "tun",
    object: "tun",
    name: "__this_module",
    sympos: 0,
  };

  it("stand for the patched module's, not for the live patch's own", () => {
    const names = new KlpSymbolNames(new Set());
    const name = names.nameFor(binding);
    expect(name).not.toBe("__this_module");
    expect(names.bindings.get(name)).toBe(binding);
  });

  it("are not bound in silence where the link found another", () => {
    const module = compileBytes("int other(int x) { return x; }");
    const link = () =>
      withKlpRelocations(module, new Map([["other", { ...binding, name: "other" }]]), new Set());
    expect(link).toThrow(expect.objectContaining({ code: "RK-LINK" }));
  });
});
