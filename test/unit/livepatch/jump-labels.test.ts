import { describe, expect, it } from "vitest";
import { SHN_UNDEF } from "../../../src/formats/elf/constants.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import { includedPieces } from "../../../src/livepatch/build/module/inclusion.ts";
import { KlpSymbolNames, unitOutputObject } from "../../../src/livepatch/build/module/output.ts";
import { type KlpBinding, moduleKeyProblem } from "../../../src/livepatch/build/module/resolve.ts";
import { compile } from "./compile.ts";

const source = (limit: number, key: string) => `
struct { int flags; struct static_key key; } ${key} __attribute__((aligned(8)));
int check(int x) { if (static_branch(&${key}.key)) printk("debug %d\\n", x); return x > ${limit}; }
`;

const ofModule = (name: string): KlpBinding => ({
  kind: "klp",
  relocatedFor: "driver",
  object: "driver",
  name,
  sympos: 0,
});

function included(key: string) {
  const [before, after] = [compile(source(5, key)), compile(source(6, key))];
  return includedPieces(differenceOf(before, after), after, () => true);
}

describe("jump labels whose key belongs to a module", () => {
  it("stay as compiled for dynamic debug and tracepoints, and are refused for others", () => {
    const verdict = (key: string) => {
      const piece = included("key_of_test").find(({ tableEntries }) => tableEntries.length > 0)!;
      return moduleKeyProblem(piece.tableEntries[0]!, "check", () => ofModule(key));
    };
    expect(verdict("__UNIQUE_ID_ddebug604.5")).toBe("default");
    expect(verdict("__UNIQUE_ID_ddebug_604.5")).toBe("default");
    expect(verdict("__tracepoint_foo")).toBe("default");
    expect(verdict("driver_feature_key")).toMatchObject({ code: "RK-KEY-OF-MODULE" });
    expect(verdict("__UNIQUE_ID_other1")).toMatchObject({ code: "RK-KEY-OF-MODULE" });
  });

  it("keep their entry, so that objtool turns them off, with a key of their own", () => {
    const names = new KlpSymbolNames(new Set());
    const bytes = unitOutputObject(
      {
        source: "driver.c",
        included: included("key_of_test"),
        bind: () => ofModule("printk"),
        staysDefault: ({ section }) => section.name === "__jump_table",
        functionAliases: new Map(),
        isGlobal: () => false,
      },
      names,
    );
    const elf = readElf(bytes, "output");
    const table = elf.section("__jump_table")!;
    const [site, jump, key] = elf.relocationsOf(table);
    expect(table.size).toBe(16);
    for (const relocation of [site!, jump!])
      expect(elf.sections[elf.symbols[relocation.symbol]!.shndx]!.name).toBe(".text.check");
    const symbol = elf.symbols[key!.symbol]!;
    expect(symbol.shndx).not.toBe(SHN_UNDEF);
    const data = elf.sections[symbol.shndx]!;
    expect([...data.data]).toEqual(Array(32).fill(0));
    // The bit by which objtool knows that the jump is to become a NOP.
    expect(key).toMatchObject({ offset: 8, addend: 2 });
    expect([...names.bindings.keys()]).not.toContain("key_of_test");
  });
});
