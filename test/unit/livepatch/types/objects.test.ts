import { describe, expect, it } from "vitest";
import { readUnitObject } from "../../../../src/livepatch/build/object/object.ts";
import { diffObjects } from "../../../../src/livepatch/build/object-diff.ts";
import { compileUnit } from "./compile-with-debug-info.ts";

const source = (members: string, returned: string) => `struct object { ${members} };
int use(struct object *p) { return ${returned}; }`;

function diff(before: string, after: string, flags = ["-g"]) {
  return diffObjects(compileUnit(before, flags), compileUnit(after, flags), {
    original: "original.o",
    patched: "patched.o",
  });
}

describe("two objects with debug information", () => {
  it("are refused when the layout of a type changes", () => {
    const { verdict, changed, reasons } = diff(source("int a;", "p->a"), source("long b; int a;", "p->a"));
    expect(verdict).toBe("refused");
    expect(changed).toEqual(["use"]);
    expect(reasons).toContainEqual(
      expect.objectContaining({
        code: "RK-TYPE-CHANGE",
        source: "fs/unit.c:1",
        hint: expect.stringContaining("klp_shadow_get_or_alloc"),
      }),
    );
  });

  it("are patchable, with a caution, when everything stays in its place", () => {
    const { verdict, cautions } = diff(
      source("int a; long b;", "p->a"),
      source("int a, c; long b;", "p->a + p->c"),
    );
    expect(verdict).toBe("patchable");
    expect(cautions.map(({ code }) => code)).toContain("RK-CAUTION-TYPE-CHANGE");
  });

  it("that have the same code are unchanged, whatever becomes of types", () => {
    expect(diff(source("int a;", "p->a"), source("int a; long b;", "p->a")).verdict).toBe("unchanged");
  });

  it("say nothing of types without", () => {
    expect(diff(source("int a;", "p->a"), source("long b; int a;", "p->a"), []).verdict).toBe("patchable");
  });
});

it("entries of a table are as large as the kernel says", () => {
  const object = compileUnit(`
#define BUG asm volatile("1: ud2\\n\\t.pushsection __bug_table, \\"aw\\"\\n\\t2: .long 1b - .\\n\\t.word 7, 0\\n\\t.popsection")
int g(void);
int f(int n) { BUG; n += g(); BUG; return n; }`);
  const entries = (sizes?: Map<string, number>) =>
    readUnitObject(object, "unit.o", sizes)
      .byName.get("f")!
      .tableEntries.map(({ start, end }) => end - start);
  expect(entries()).toEqual([8, 8]);
  expect(entries(new Map([["__bug_table", 8]]))).toEqual([8, 8]);
  // A size that does not divide the table is not that of its entries.
  expect(entries(new Map([["__bug_table", 12]]))).toEqual([8, 8]);
  expect(entries(new Map([["__bug_table", 16]]))).toEqual([16]);
});
