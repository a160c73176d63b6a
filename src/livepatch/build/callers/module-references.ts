/** Finds what leads to a function in a module's file, by its relocations. Pure. */
import { SHF_ALLOC, SHN_UNDEF, STT_FUNC, STT_OBJECT } from "../../../formats/elf/constants.ts";
import type { ElfFile, ElfSection, ElfSymbol } from "../../../formats/elf/read.ts";
import { architectureOf } from "../arch/architecture.ts";
import { moduleLocation } from "../match/target-code.ts";
import { readCode } from "../object/code.ts";
import { sectionRole } from "../object/sections.ts";
import type { TargetReference } from "./reference.ts";

/** A function of the module itself, by its location there, or one that it imports. */
export type SoughtFunction = { location: bigint } | { symbol: string; to: bigint };

export function referencesInModule(elf: ElfFile, sought: readonly SoughtFunction[]): TargetReference[] {
  const own = new Set(sought.flatMap((one) => ("location" in one ? [one.location] : [])));
  const imported = new Map(sought.flatMap((one) => ("symbol" in one ? [[one.symbol, one.to] as const] : [])));
  const functions = new Functions(elf);
  const arch = architectureOf(elf.header.machine);
  if (!arch) return [];
  return elf.sections.flatMap((section) => {
    const role = sectionRole(section);
    // Entries of tables belong to places in functions, and what objtool lists is no use of a function.
    if (!(section.flags & SHF_ALLOC) || role === "ignored" || role === "table") return [];
    const isCode = role === "code" || role === "initCode" || role === "auxiliaryCode";
    const relocations = elf.relocationsOf(section).sort((a, b) => a.offset - b.offset);
    const fields = isCode
      ? readCode(arch, section.data, functions.startsIn(section), relocations).fields
      : undefined;
    return relocations.flatMap((relocation): TargetReference[] => {
      const symbol = elf.symbols[relocation.symbol]!;
      const kind = arch.relocationKind(relocation.type);
      const field = fields?.get(relocation.offset);
      if (!kind || relocation.offset + kind.sizeBytes > section.data.length) return [];
      let to: bigint | undefined;
      if (symbol.shndx === SHN_UNDEF) to = imported.get(symbol.name);
      else {
        // Where the bytes are no instruction, a field of 4 bytes is its last one.
        const bias =
          isCode && kind.pcRelative
            ? (field?.instructionEnd ?? relocation.offset + 4) - relocation.offset
            : 0;
        const pointed = moduleLocation(symbol.shndx, symbol.value + BigInt(relocation.addend + bias));
        if (own.has(pointed)) to = pointed;
      }
      if (to === undefined) return [];
      const isCall = field?.branch === true && role !== "auxiliaryCode";
      const around = role === "auxiliaryCode" ? undefined : functions.around(section, relocation.offset);
      return [
        {
          to,
          how: isCall && around !== undefined && !around.name.startsWith("__SCT__") ? "call" : "address",
          from: around && { name: around.name, location: moduleLocation(section.index, around.value) },
          section: section.name,
          isInit: role === "initCode",
        },
      ];
    });
  });
}

class Functions {
  readonly #bySection = new Map<number, ElfSymbol[]>();

  constructor(elf: ElfFile) {
    for (const symbol of elf.symbols) {
      if (symbol.type !== STT_FUNC && (symbol.type !== STT_OBJECT || symbol.name === "")) continue;
      const list = this.#bySection.get(symbol.shndx);
      if (list) list.push(symbol);
      else this.#bySection.set(symbol.shndx, [symbol]);
    }
    for (const list of this.#bySection.values()) list.sort((a, b) => Number(a.value - b.value));
  }

  startsIn(section: ElfSection): number[] {
    const list = this.#bySection.get(section.index) ?? [];
    return [...new Set(list.map(({ value }) => Number(value)))];
  }

  /** The function or variable that an offset lies in. */
  around(section: ElfSection, offset: number): ElfSymbol | undefined {
    const list = this.#bySection.get(section.index) ?? [];
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (Number(list[middle]!.value) <= offset) low = middle + 1;
      else high = middle;
    }
    return list[low - 1];
  }
}
