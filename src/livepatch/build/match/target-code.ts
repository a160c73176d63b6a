/** The two kinds of target code that functions are matched against: vmlinux, and a module's file. */
import {
  SHF_ALLOC,
  SHN_LORESERVE,
  SHN_UNDEF,
  STB_LOCAL,
  STT_SECTION,
} from "../../../formats/elf/constants.ts";
import type { ElfFile, ElfRelocation, ElfSymbol } from "../../../formats/elf/read.ts";
import type { KernelImage, KernelSymbol } from "../../../kernel/image.ts";
import type { RelocationKind } from "../arch/architecture.ts";
import type { FieldTarget, TargetCode, TargetSymbol } from "./match.ts";

/** vmlinux as it lies in the image: linked, its fields hold addresses. */
export function vmlinuxCode(image: KernelImage): TargetCode {
  const toTargetSymbol = (symbol: KernelSymbol): TargetSymbol => {
    const same = image.symbolsNamed(symbol.name);
    const position = same.length > 1 ? same.findIndex((other) => other.address === symbol.address) + 1 : 0;
    // nm's letters: capitals are global; weak ones are u, v and w as well.
    return {
      name: symbol.name,
      location: symbol.address,
      sympos: position,
      isGlobal: /[A-Zuvw]/.test(symbol.type),
    };
  };
  return {
    object: "vmlinux",
    symbolsNamed: (name) => image.symbolsNamed(name).map(toTargetSymbol),
    symbolsAt: (location) => image.symbolsAt(location).map(toTargetSymbol),
    read: (location, sizeBytes) => image.read(location, sizeBytes),
    fieldTarget(location, kind, addend) {
      const bytes = image.read(location, kind.sizeBytes);
      if (!bytes) return undefined;
      const value = readField(bytes, kind);
      return { location: BigInt.asUintN(64, value - BigInt(addend) + (kind.pcRelative ? location : 0n)) };
    },
  };
}

const offsetBits = 32n;

/** Where something lies in a module's file, as one number: its section, and its offset there. */
export function moduleLocation(section: number, offset: bigint): bigint {
  return (BigInt(section) << offsetBits) + offset;
}

/**
 * By which position livepatch finds each symbol of a module, where it does. While the module is being loaded it counts
 * in the file's whole symbol table, afterwards without what was only for __init and what is not in memory
 * (kernel/module/kallsyms.c, is_core_symbol); a position must mean the same in both.
 */
function modulePositions(elf: ElfFile): Map<ElfSymbol, number> {
  const byName = new Map<string, ElfSymbol[]>();
  for (const symbol of elf.symbols) {
    if (symbol.shndx === SHN_UNDEF || symbol.name === "") continue;
    const same = byName.get(symbol.name);
    if (same) same.push(symbol);
    else byName.set(symbol.name, [symbol]);
  }
  const stays = ({ shndx }: ElfSymbol): boolean => {
    const section = shndx < SHN_LORESERVE ? elf.sections[shndx] : undefined;
    return section !== undefined && (section.flags & SHF_ALLOC) !== 0 && !section.name.startsWith(".init");
  };
  const positions = new Map<ElfSymbol, number>();
  for (const all of byName.values()) {
    if (all.length === 1) {
      positions.set(all[0]!, 0);
      continue;
    }
    let later = 0;
    for (const [index, symbol] of all.entries())
      if (!stays(symbol) || index === later++) positions.set(symbol, index + 1);
  }
  return positions;
}

/** A module's file: relocatable, so that a place is a section and an offset. */
export function moduleCode(elf: ElfFile, name: string): TargetCode {
  const byName = new Map<string, TargetSymbol[]>();
  const byLocation = new Map<bigint, TargetSymbol[]>();
  const positions = modulePositions(elf);
  for (const symbol of elf.symbols) {
    if (!isPlaced(symbol) || symbol.type === STT_SECTION || symbol.name === "") continue;
    const sympos = positions.get(symbol);
    // livepatch could not tell it from another at all times.
    if (sympos === undefined) continue;
    const same = byName.get(symbol.name) ?? [];
    const entry: TargetSymbol = {
      name: symbol.name,
      location: moduleLocation(symbol.shndx, symbol.value),
      sympos,
      isGlobal: symbol.bind !== STB_LOCAL,
    };
    same.push(entry);
    byName.set(symbol.name, same);
    byLocation.set(entry.location, [...(byLocation.get(entry.location) ?? []), entry]);
  }

  const relocations = new Map<number, Map<number, ElfRelocation>>();
  const relocationAt = (shndx: number, offset: number): ElfRelocation | undefined => {
    let known = relocations.get(shndx);
    if (!known) {
      known = new Map(
        elf.relocationsOf(elf.sections[shndx]!).map((relocation) => [relocation.offset, relocation]),
      );
      relocations.set(shndx, known);
    }
    return known.get(offset);
  };
  const split = (location: bigint) => ({
    shndx: Number(location >> offsetBits),
    offset: Number(location & ((1n << offsetBits) - 1n)),
  });

  return {
    object: name,
    symbolsNamed: (wanted) => byName.get(wanted) ?? [],
    symbolsAt: (location) => byLocation.get(location) ?? [],
    read(location, sizeBytes) {
      const { shndx, offset } = split(location);
      const data = elf.sections[shndx]?.data;
      return data && offset + sizeBytes <= data.length
        ? data.subarray(offset, offset + sizeBytes)
        : undefined;
    },
    fieldTarget(location, kind, addend): FieldTarget | undefined {
      const { shndx, offset } = split(location);
      const section = elf.sections[shndx];
      if (!section || offset + kind.sizeBytes > section.data.length) return undefined;
      const relocation = relocationAt(shndx, offset);
      if (!relocation) {
        // The assembler solves jumps within a section by itself.
        if (!kind.pcRelative) return undefined;
        const value = readField(section.data.subarray(offset), kind);
        return { location: moduleLocation(shndx, BigInt(offset) + value - BigInt(addend)) };
      }
      const symbol = elf.symbols[relocation.symbol]!;
      if (symbol.shndx === SHN_UNDEF)
        return relocation.addend === addend ? { symbol: symbol.name } : undefined;
      if (!isPlaced(symbol)) return undefined;
      return { location: moduleLocation(symbol.shndx, symbol.value + BigInt(relocation.addend - addend)) };
    },
  };
}

function isPlaced(symbol: ElfSymbol): boolean {
  return symbol.shndx !== SHN_UNDEF && symbol.shndx < SHN_LORESERVE;
}

function readField(bytes: Uint8Array, kind: RelocationKind): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (kind.sizeBytes === 1) return BigInt(kind.signed ? view.getInt8(0) : view.getUint8(0));
  if (kind.sizeBytes === 8) return kind.signed ? view.getBigInt64(0, true) : view.getBigUint64(0, true);
  return BigInt(kind.signed ? view.getInt32(0, true) : view.getUint32(0, true));
}
