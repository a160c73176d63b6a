import {
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHF_WRITE,
  SHT_NOBITS,
  STB_WEAK,
  STT_OBJECT,
  STT_SECTION,
} from "./elf/constants.ts";
import type { ElfFile, ElfSymbol } from "./elf/read.ts";

/** Read by the loader and not kept, although their flags say so (kernel/module/main.c). */
const notKept = new Set([".modinfo", "__versions", "__version_ext_crcs", "__version_ext_names"]);

/**
 * The letter that /proc/kallsyms prints for a module's symbol, or undefined for a symbol that the kernel does
 * not keep. Exported symbols are upper case, all others lower case.
 *
 * Source: kernel/module/kallsyms.c (is_core_symbol, elf_type), kernel/kallsyms.c (s_show).
 */
export function moduleSymbolType(elf: ElfFile, symbol: ElfSymbol, isExported: boolean): string | undefined {
  const section = elf.sections[symbol.shndx];
  if (symbol.shndx === 0 || !section || symbol.type === STT_SECTION || symbol.name === "") return undefined;
  if (!(section.flags & SHF_ALLOC) || notKept.has(section.name)) return undefined;
  const letter = () => {
    if (symbol.bind === STB_WEAK) return symbol.type === STT_OBJECT ? "v" : "w";
    if (section.name === ".data..percpu") return "a";
    if (section.flags & SHF_EXECINSTR) return "t";
    if (section.type === SHT_NOBITS) return "b";
    return section.flags & SHF_WRITE ? "d" : "r";
  };
  return isExported ? letter().toUpperCase() : letter();
}
