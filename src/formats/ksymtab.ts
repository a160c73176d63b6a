/**
 * Exported symbols: __ksymtab, __ksymtab_gpl and their CRCs in __kcrctab, __kcrctab_gpl.
 *
 * Source: kernel/module/internal.h (struct kernel_symbol with place-relative 32-bit fields),
 * include/linux/export-internal.h.
 */
import { ByteReader, cString, latin1 } from "./bytes.ts";
import { SHN_ABS, SHN_UNDEF } from "./elf/constants.ts";
import { badElf, type ElfFile, type ElfRelocation } from "./elf/read.ts";

export interface ExportedSymbol {
  /** As linked in vmlinux; the offset in its section in a module file. */
  address: bigint;
  /** undefined without CONFIG_MODVERSIONS. */
  crc: number | undefined;
  /** EXPORT_SYMBOL_GPL. */
  gplOnly: boolean;
  /** "" for none. */
  namespace: string;
}

/** Value, name, namespace: each 32 bits, relative to its own place. */
const entrySize = 12;

const tables = [
  { symbols: "__ksymtab", crcs: "__kcrctab", gplOnly: false },
  { symbols: "__ksymtab_gpl", crcs: "__kcrctab_gpl", gplOnly: true },
] as const;

/**
 * Exports of a linked vmlinux.
 *
 * @param readString the NUL-terminated string at an address, or undefined outside the image
 * @param crcsAreRelative before 5.19 a CRC table holds distances to the CRCs (CONFIG_MODULE_REL_CRCS)
 * @throws RekernelError RK-BAD-ELF (1)
 */
export function readImageExports(
  elf: ElfFile,
  readString: (address: bigint) => string | undefined,
  readU32: (address: bigint) => number | undefined,
  crcsAreRelative: boolean,
): Map<string, ExportedSymbol> {
  const bad = (reason: string) => badElf(elf.name, reason);
  const exports = new Map<string, ExportedSymbol>();
  const stringAt = fastStrings(elf, readString);
  for (const { symbols, crcs, gplOnly } of tables) {
    const table = elf.section(symbols);
    if (!table) continue;
    if (table.data.length % entrySize !== 0) throw bad(`section ${symbols} has an unknown layout`);
    const r = new ByteReader(table.data, bad);
    const crcSection = elf.section(crcs);
    const crcReader =
      crcSection && crcSection.data.length * 3 === table.data.length
        ? new ByteReader(crcSection.data, bad)
        : undefined;
    const count = table.data.length / entrySize;
    for (let index = 0; index < count; index++) {
      const at = index * entrySize;
      const target = (field: number) =>
        BigInt.asUintN(64, table.address + BigInt(at + field + r.i32(at + field)));
      const name = stringAt(target(4));
      if (name === undefined || name === "") throw bad(`entry ${index} of section ${symbols} has no name`);
      let crc = crcReader?.u32(index * 4);
      if (crcsAreRelative && crcReader && crcSection)
        crc = readU32(BigInt.asUintN(64, crcSection.address + BigInt(index * 4 + crcReader.i32(index * 4))));
      exports.set(name, { address: target(0), crc, gplOnly, namespace: stringAt(target(8)) ?? "" });
    }
  }
  return exports;
}

/** All names stand in one section; a view and a search for each of them would cost most of the time. */
function fastStrings(
  elf: ElfFile,
  readString: (address: bigint) => string | undefined,
): (address: bigint) => string | undefined {
  const section = elf.section("__ksymtab_strings");
  if (!section) return readString;
  const text = latin1(section.data);
  return (address) => {
    if (address < section.address || address >= section.address + BigInt(text.length))
      return readString(address);
    const start = Number(address - section.address);
    const end = text.indexOf("\0", start);
    return end < 0 ? undefined : text.slice(start, end);
  };
}

/**
 * Exports of a module file, whose tables are filled in by relocations.
 *
 * @throws RekernelError RK-BAD-ELF (1)
 */
export function readModuleExports(elf: ElfFile): Map<string, ExportedSymbol> {
  const bad = (reason: string) => badElf(elf.name, reason);
  const exports = new Map<string, ExportedSymbol>();
  for (const { symbols, crcs, gplOnly } of tables) {
    const table = elf.section(symbols);
    if (!table) continue;
    const byOffset = new Map<number, ElfRelocation>();
    for (const relocation of elf.relocationsOf(table)) byOffset.set(relocation.offset, relocation);
    const crcSection = elf.section(crcs);
    const crcReader =
      crcSection && crcSection.data.length * 3 === table.data.length
        ? new ByteReader(crcSection.data, bad)
        : undefined;
    const stringAt = (offset: number) => {
      const relocation = byOffset.get(offset);
      const symbol = relocation && elf.symbols[relocation.symbol];
      if (!symbol || symbol.shndx === SHN_UNDEF || symbol.shndx === SHN_ABS) return undefined;
      const section = elf.sections[symbol.shndx];
      return section && cString(section.data, Number(symbol.value) + relocation.addend);
    };
    for (let at = 0; at + entrySize <= table.data.length; at += entrySize) {
      const value = byOffset.get(at);
      const symbol = value && elf.symbols[value.symbol];
      const name = stringAt(at + 4);
      if (!value || !symbol || !name) throw bad(`entry ${at / entrySize} of section ${symbols} has no name`);
      exports.set(name, {
        address: BigInt.asUintN(64, symbol.value + BigInt(value.addend)),
        crc: crcReader?.u32((at / entrySize) * 4),
        gplOnly,
        namespace: stringAt(at + 8) ?? "",
      });
    }
  }
  return exports;
}
