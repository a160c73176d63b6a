import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { cString } from "../../../src/formats/bytes.ts";
import { toOutputObject } from "../../../src/formats/elf/edit.ts";
import { readElf } from "../../../src/formats/elf/read.ts";
import { writeElf } from "../../../src/formats/elf/write.ts";
import { differenceOf } from "../../../src/livepatch/build/difference/difference.ts";
import { includedPieces } from "../../../src/livepatch/build/module/inclusion.ts";
import { readUnitObject } from "../../../src/livepatch/build/object/object.ts";
import { compileBytes } from "../livepatch/compile.ts";

const source = `
static int total;
static noinline int helper(int x) { static int calls; calls++; WARN(1); return x * 3 + total; }
extern struct static_key key;
int check(int x) { if (static_branch(&key)) printk("too large: %d\\n", x); ALTERNATIVE("nop", "pause", 3); return helper(x); }
int __init setup(void) { return check(1); }
`;
const object = compileBytes(source);

/** Everything that a reader of the object can see, by name instead of by index. */
function content(bytes: Uint8Array) {
  const elf = readElf(bytes);
  return elf.sections
    .filter((section) => ![0, 2, 3, 4].includes(section.type))
    .map((section) => ({
      name: section.name,
      type: section.type,
      flags: section.flags,
      addralign: section.addralign,
      data: Buffer.from(section.data).toString("hex"),
      symbols: elf.symbols
        .filter((symbol) => symbol.shndx === section.index)
        .map(({ name, value, size, bind, type }) => `${name} ${value} ${size} ${bind} ${type}`)
        .sort(),
      relocations: elf
        .relocationsOf(section)
        .map(
          ({ offset, type, symbol, addend }) => `${offset} ${type} ${elf.symbols[symbol]?.name} ${addend}`,
        ),
    }));
}

describe("ELF objects", () => {
  it("reads what gcc writes", () => {
    const elf = readElf(object);
    expect(elf.header).toMatchObject({ type: 1, machine: 62 });
    expect(elf.section(".text.check")?.flags).toBe(6);
    const check = elf.symbols.find((symbol) => symbol.name === "check");
    expect(check).toMatchObject({ bind: 1, type: 2, value: 16n });
    const relocations = elf.relocationsOf(elf.section(".text.check")!);
    expect(relocations.map(({ symbol }) => elf.symbols[symbol]?.name)).toContain("printk");
  });

  it("survives being taken apart and put together", () => {
    const again = writeElf(toOutputObject(readElf(object)));
    expect(content(again)).toEqual(content(object));
    expect(Buffer.compare(writeElf(toOutputObject(readElf(again))), again)).toBe(0);
  });

  it("names what is wrong with files that are none", () => {
    expect(() => readElf(new Uint8Array(0), "x.o")).toThrow("x.o cannot be read: it is not an ELF file.");
    expect(() => readElf(Buffer.from("\x7fELF\x01".padEnd(64, "\0"), "latin1"), "x.o")).toThrow("64-bit");
    expect(() => readElf(object.subarray(0, object.length - 100), "x.o")).toThrow(RekernelError);
  });

  it("survives truncation and mutation with a clear error or a result", () => {
    const outcome = (bytes: Uint8Array) => {
      try {
        const before = readUnitObject(object, "original");
        const after = readUnitObject(bytes, "mutated");
        const difference = differenceOf(before, after);
        includedPieces(difference, after, () => true);
        differenceOf(after, before);
        return difference.verdict;
      } catch (error) {
        if (!(error instanceof RekernelError)) throw error;
        expect(error.code).toMatch(/^RK-BAD-/);
        return "error";
      }
    };
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: object.length }),
        (size) => outcome(object.subarray(0, size)) !== undefined,
      ),
      { numRuns: 200 },
    );
    const change = fc.tuple(fc.integer({ min: 0, max: object.length - 1 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const bytes = Uint8Array.from(object);
        for (const [at, value] of changes) bytes[at] = value;
        return outcome(bytes) !== undefined;
      }),
      { numRuns: 1500 },
    );
  });

  it("ends strings where the buffer does, and has none outside it", () => {
    const bytes = Buffer.from("ab\0cd");
    expect([0, 1, 2, 3].map((at) => cString(bytes, at))).toEqual(["ab", "b", "", "cd"]);
    for (const at of [5, -1, -8.9e18, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])
      expect(cString(bytes, at)).toBe("");
  });

  it("refuses a table that claims to be large and has no content", () => {
    const bytes = Uint8Array.from(object);
    const view = new DataView(bytes.buffer);
    const { index } = readElf(object).section("__bug_table")!;
    const header = Number(view.getBigUint64(40, true)) + index * 64;
    view.setUint32(header + 4, 8, true); // SHT_NOBITS
    view.setBigUint64(header + 32, 2n ** 50n, true);
    view.setBigUint64(header + 56, 2n, true);
    expect(() => readUnitObject(bytes, "x.o")).toThrow("__bug_table has no content");
  });

  it("survives hostile headers and tables", () => {
    const elf = readElf(object);
    const headers = Number(new DataView(object.buffer, object.byteOffset).getBigUint64(40, true));
    const symtab = elf.section(".symtab")!;
    const rela = elf.section(".rela.text.check")!;
    const interesting = [
      0n,
      1n,
      0x7fn,
      0xffffn,
      0x7fffffffn,
      0xffffffffn,
      0x7fffffffffffffffn,
      0xffffffffffffffffn,
    ];
    const places = [
      ...Array.from({ length: 64 }, (_, at) => at),
      ...Array.from({ length: object.length - headers }, (_, at) => headers + at),
      ...Array.from({ length: symtab.size }, (_, at) => symtab.offset + at),
      ...Array.from({ length: rela.size }, (_, at) => rela.offset + at),
    ].filter((at) => at + 8 <= object.length);
    fc.assert(
      fc.property(
        fc.constantFrom(...places),
        fc.constantFrom(...interesting),
        fc.constantFrom(1, 2, 4, 8),
        (at, value, size) => {
          const bytes = Uint8Array.from(object);
          for (let index = 0; index < size; index++)
            bytes[at + index] = Number((value >> BigInt(index * 8)) & 0xffn);
          try {
            const after = readUnitObject(bytes, "mutated");
            includedPieces(differenceOf(readUnitObject(object, "original"), after), after, () => true);
          } catch (error) {
            if (!(error instanceof RekernelError)) throw error;
          }
        },
      ),
      { numRuns: 3000 },
    );
  });
});
