/** Finds what leads to a function in a module's file, by its relocations. Pure. */
import { SHF_ALLOC, SHN_UNDEF, STT_FUNC, STT_OBJECT } from "../../../formats/elf/constants.ts";
import type { ElfFile, ElfSection, ElfSymbol } from "../../../formats/elf/read.ts";
import { bytesFromFieldToNextInstruction, isBranchField, relocationKind } from "../arch/x86_64.ts";
import { sectionRole } from "../sections.ts";
import { moduleLocation } from "../target-code.ts";
import type { TargetReference } from "./reference.ts";

/** A function of the module itself, by its location there, or one that it imports. */
export type SoughtFunction = { location: bigint } | { symbol: string; to: bigint };

export function referencesInModule(elf: ElfFile, sought: readonly SoughtFunction[]): TargetReference[] {
  const own = new Set(sought.flatMap((one) => ("location" in one ? [one.location] : [])));
  const imported = new Map(sought.flatMap((one) => ("symbol" in one ? [[one.symbol, one.to] as const] : [])));
  const functions = new Functions(elf);
  return elf.sections.flatMap((section) => {
    const role = sectionRole(section);
    // Entries of tables belong to places in functions, and what objtool lists is no use of a function.
    if (!(section.flags & SHF_ALLOC) || role === "ignored" || role === "table") return [];
    const isCode = role === "code" || role === "initCode" || role === "auxiliaryCode";
    return elf.relocationsOf(section).flatMap((relocation): TargetReference[] => {
      const symbol = elf.symbols[relocation.symbol]!;
      const kind = relocationKind(relocation.type);
      if (!kind || relocation.offset + kind.sizeBytes > section.data.length) return [];
      let to: bigint | undefined;
      if (symbol.shndx === SHN_UNDEF) to = imported.get(symbol.name);
      else {
        const bias =
          isCode && kind.pcRelative ? bytesFromFieldToNextInstruction(section.data, relocation.offset) : 0;
        const pointed = moduleLocation(symbol.shndx, symbol.value + BigInt(relocation.addend + bias));
        if (own.has(pointed)) to = pointed;
      }
      if (to === undefined) return [];
      const isCall =
        isCode &&
        role !== "auxiliaryCode" &&
        kind.pcRelative &&
        isBranchField(section.data, relocation.offset);
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
