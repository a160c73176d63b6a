import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RekernelError } from "../../../../src/core/errors.ts";
import { SHN_UNDEF, STT_FUNC, STT_OBJECT } from "../../../../src/formats/elf/constants.ts";
import { type ElfFile, readElf } from "../../../../src/formats/elf/read.ts";
import {
  referencesInImage,
  type SearchedImage,
} from "../../../../src/livepatch/build/callers/image-references.ts";
import { referencesInModule } from "../../../../src/livepatch/build/callers/module-references.ts";
import { holderName, type TargetReference } from "../../../../src/livepatch/build/callers/reference.ts";
import { moduleLocation } from "../../../../src/livepatch/build/match/target-code.ts";
import { compileBytes } from "../compile.ts";
import { link } from "./link.ts";

const source = `
noinline int target(int x) { asm volatile(""); return x * 3; }
noinline int other(int x) { asm volatile(""); return x * 5; }
int calls(int x) { return target(x) + target(x + 1) + other(x); }
int jumps(int x) { return target(x * 2); }
void __init early(void) { target(1); }
`;
const takers = `
extern int target(int);
extern int other(int);
int (*table[])(int) = { other, target };
void *takes(void) { return (void *)target; }
void *takes_relative(void) { void *p; asm("lea target(%%rip), %0" : "=r" (p)); return p; }
asm(".pushsection .text\\n\\t.globl __SCT__hook\\n\\t.type __SCT__hook, @function\\n__SCT__hook: jmp target\\n\\t"
    ".size __SCT__hook, 5\\n\\t.popsection");
asm(".pushsection .init.data, \\"aw\\"\\n\\t.type _kbl_addr_target, @object\\n\\t_kbl_addr_target: .quad target\\n\\t"
    ".size _kbl_addr_target, 8\\n\\t.popsection");
`;

const decoy = `
/* Only looks like a call: the operand of another instruction. */
int decoy(void) { asm volatile(".byte 0x48, 0xb8, 0xe8\\n\\t.long target - . - 4\\n\\t.byte 0, 0, 0"); return 0; }
`;

function imageOf(elf: ElfFile): SearchedImage {
  const symbols = elf.symbols
    .filter(({ type }) => type === STT_FUNC || type === STT_OBJECT)
    .sort((a, b) => (a.value < b.value ? -1 : 1));
  return {
    elf,
    symbolContaining(address) {
      const symbol = symbols.findLast(({ value }) => value <= address);
      return (
        symbol && {
          symbol: { name: symbol.name, address: symbol.value, type: "t" },
          offset: Number(address - symbol.value),
        }
      );
    },
  };
}

const summary = (references: readonly TargetReference[]) =>
  references.map((reference) => `${reference.how} ${holderName(reference)}`).sort();

describe("what leads to a function of a linked kernel", () => {
  const elf = link(
    [source, takers, decoy].map((text) => compileBytes(text)),
    "kernel",
  );
  const address = elf.symbols.find(({ name }) => name === "target")!.value;
  const references = referencesInImage(imageOf(elf), [address]);

  it("are calls and jumps, by the functions that make them", () => {
    const calls = references.filter(({ how, isInit }) => how === "call" && !isInit);
    expect(summary(calls)).toEqual(["call calls", "call calls", "call jumps"]);
    for (const { from } of calls)
      expect(elf.symbols.find(({ name }) => name === from!.name)!.value).toBe(from!.location);
  });

  it("tells the boot's code apart", () => {
    expect(references.filter(({ isInit }) => isInit).map(({ from }) => from!.name)).toEqual(["early"]);
  });

  it("are addresses in code, in data and in static calls; not what only looks like one", () => {
    expect(summary(references.filter(({ how }) => how === "address"))).toEqual([
      "address __SCT__hook",
      "address table (.data)",
      "address takes",
      "address takes_relative",
    ]);
  });

  it("finds several functions in one pass", () => {
    const other = elf.symbols.find(({ name }) => name === "other")!.value;
    const both = referencesInImage(imageOf(elf), [address, other]);
    expect(both.filter(({ to }) => to === address)).toHaveLength(references.length);
    expect(summary(both.filter(({ to }) => to === other))).toEqual(["address table (.data)", "call calls"]);
  });

  it("takes code that cannot be read for the worst", () => {
    const unreadable = structuredClone(elf.sections.find(({ name }) => name === ".text")!);
    const calls = elf.symbols.find(({ name }) => name === "calls")!.value;
    // 0x06 is no instruction in 64-bit mode.
    unreadable.data[Number(calls - unreadable.address)] = 0x06;
    const image = { ...imageOf(elf), elf: { sections: [unreadable] } };
    expect(summary(referencesInImage(image, [address]))).toContain("address calls");
  });
});

describe("what leads to a function in a module's file", () => {
  const elf = link(
    [source, takers].map((text) => compileBytes(text)),
    "module",
  );
  const symbol = elf.symbols.find(({ name }) => name === "target")!;
  const location = moduleLocation(symbol.shndx, symbol.value);

  it("are the same, by relocations", () => {
    const references = referencesInModule(elf, [{ location }]);
    expect(summary(references.filter(({ how, isInit }) => how === "call" && !isInit))).toEqual([
      "call calls",
      "call calls",
      "call jumps",
    ]);
    expect(references.filter(({ isInit }) => isInit).map(({ from }) => from!.name)).toEqual(["early"]);
    expect(summary(references.filter(({ how }) => how === "address"))).toEqual(
      expect.arrayContaining(["address __SCT__hook", "address takes", "address takes_relative"]),
    );
    expect(references.some(({ section }) => section.startsWith(".data"))).toBe(true);
  });

  it("are uses of an imported symbol", () => {
    const importer = link([compileBytes(`${takers}int uses(int x) { return target(x) + 1; }`)], "module");
    expect(importer.symbols.some(({ name, shndx }) => name === "target" && shndx === SHN_UNDEF)).toBe(true);
    const references = referencesInModule(importer, [{ symbol: "target", to: 42n }]);
    expect(references.every(({ to }) => to === 42n)).toBe(true);
    expect(summary(references.filter(({ how }) => how === "call"))).toEqual(["call uses"]);
    expect(references.some(({ how, from }) => how === "address" && from?.name === "takes")).toBe(true);
  });

  it("are looked for in damaged files without harm", () => {
    const { bytes } = elf;
    const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(damage, (changes) => {
        const damaged = Uint8Array.from(bytes);
        for (const [at, value] of changes) damaged[at] = value;
        try {
          referencesInModule(readElf(damaged, "damaged"), [{ location }, { symbol: "printk", to: 1n }]);
        } catch (error) {
          expect(error).toBeInstanceOf(RekernelError);
        }
      }),
    );
  });
});
