/** Takes a relocatable file apart into what {@link writeElf} puts together again. */
import {
  SHN_LORESERVE,
  SHN_UNDEF,
  SHT_NULL,
  SHT_RELA,
  SHT_STRTAB,
  SHT_SYMTAB,
  SHT_SYMTAB_SHNDX,
} from "./constants.ts";
import type { ElfFile } from "./read.ts";
import type { OutputObject, OutputSection, OutputSymbol } from "./write.ts";

/** The same sections, symbols and relocations, by reference instead of by index. */
export function toOutputObject(elf: ElfFile): OutputObject {
  const sections = new Map<number, OutputSection>();
  for (const section of elf.sections) {
    if (
      section.type === SHT_NULL ||
      section.type === SHT_RELA ||
      section.type === SHT_SYMTAB ||
      section.type === SHT_SYMTAB_SHNDX
    )
      continue;
    if (section.type === SHT_STRTAB) continue;
    const { name, type, flags, addralign, entsize, data, size } = section;
    sections.set(section.index, { name, type, flags, addralign, entsize, data, size, relocations: [] });
  }
  for (const section of elf.sections) {
    const link = sections.get(section.link);
    const output = sections.get(section.index);
    if (output && link) output.link = link;
  }
  const symbols = elf.symbols.map(
    (symbol): OutputSymbol => ({
      name: symbol.name,
      value: symbol.value,
      size: symbol.size,
      bind: symbol.bind,
      type: symbol.type,
      visibility: symbol.visibility,
      section:
        symbol.shndx === SHN_UNDEF || symbol.shndx >= SHN_LORESERVE
          ? symbol.shndx
          : (sections.get(symbol.shndx) ?? SHN_UNDEF),
    }),
  );
  for (const [index, output] of sections)
    output.relocations = elf
      .relocationsOf(elf.sections[index]!)
      .map(({ offset, type, symbol, addend }) => ({ offset, type, symbol: symbols[symbol]!, addend }));
  return { sections: [...sections.values()], symbols: symbols.slice(1) };
}
