/** The debug sections of a relocatable object, unpacked and with their relocations applied. */
import { inflateSync, zstdDecompressSync } from "node:zlib";
import { RekernelError } from "../../core/errors.ts";
import { EM_X86_64, ET_REL, R_X86_64_32, R_X86_64_64, SHF_ALLOC, SHN_LORESERVE } from "../elf/constants.ts";
import type { ElfFile, ElfSection } from "../elf/read.ts";

/** gABI: the content is compressed, behind an Elf64_Chdr. */
const SHF_COMPRESSED = 0x800;
const ELFCOMPRESS_ZLIB = 1;
const ELFCOMPRESS_ZSTD = 2;

/** More than the debug information of any single module; hostile headers cannot make us allocate more. */
const maxSectionBytes = 512 << 20;

export function badDwarf(name: string, reason: string): RekernelError {
  return new RekernelError(
    "failed",
    "RK-BAD-DWARF",
    `The debug information of ${name} cannot be read: ${reason}.`,
    {
      hint: "The file is damaged, or strip --strip-debug takes what cannot be read out of it.",
    },
  );
}

/**
 * How wide the fields are that absolute relocations fill in: ELF machine, then relocation type, to bytes.
 * x86-64 psABI; AArch64 ELF (R_AARCH64_ABS64, ABS32); ELFv2 for POWER (R_PPC64_ADDR64, ADDR32).
 */
const absoluteRelocations: Readonly<Record<number, Readonly<Record<number, 4 | 8>>>> = {
  [EM_X86_64]: { [R_X86_64_64]: 8, [R_X86_64_32]: 4 },
  183: { 257: 8, 258: 4 },
  21: { 38: 8, 1: 4 },
};

/**
 * A debug section's content; type units have sections of their own of the same name, which are put one behind the
 * other. An 8-byte field that refers to code or data holds afterwards, as {@link encodePlace} writes it, which section
 * that is in and where in it: all sections of a relocatable object begin at 0, so that an address alone would not tell.
 *
 * @throws RekernelError RK-BAD-DWARF, RK-BAD-ELF (1)
 */
export function debugSection(elf: ElfFile, name: string): Uint8Array {
  const sections = elf.sections.filter((section) => section.name === name);
  // Where each section begins in what is put together.
  const starts = new Map<number, number>();
  let size = 0;
  const contents = sections.map((section) => {
    const content = unpacked(elf, section);
    starts.set(section.index, size);
    size += content.length;
    return content;
  });
  const relocated = sections.map((section, i) => withRelocations(elf, section, contents[i]!, starts));
  return relocated.length === 1 ? relocated[0]! : Buffer.concat(relocated);
}

function withRelocations(
  elf: ElfFile,
  section: ElfSection,
  content: Uint8Array,
  starts: ReadonlyMap<number, number>,
): Uint8Array {
  const widths = absoluteRelocations[elf.header.machine];
  if (elf.header.type !== ET_REL || !widths) return content;
  // Checked against the unpacked content below, which is longer than the section where it is compressed.
  const relocations = elf.relocationSectionsOf(section).flatMap((rela) => elf.relocationsIn(rela));
  if (relocations.length === 0) return content;
  const bytes = Uint8Array.from(content);
  const view = new DataView(bytes.buffer);
  for (const { offset, type, symbol: index, addend } of relocations) {
    const width = widths[type];
    if (width === undefined) continue;
    if (offset + width > bytes.length)
      throw badDwarf(elf.name, `a relocation runs over the end of ${section.name}`);
    const symbol = elf.symbols[index]!;
    const value = Number(symbol.value) + addend + (starts.get(symbol.shndx) ?? 0);
    view.setUint32(offset, value >>> 0, true);
    if (width === 4) continue;
    const target = symbol.shndx < SHN_LORESERVE ? elf.sections[symbol.shndx] : undefined;
    const isPlace = target !== undefined && (target.flags & SHF_ALLOC) !== 0;
    view.setUint32(offset + 4, isPlace ? target.index : Math.floor(value / 2 ** 32) >>> 0, true);
  }
  return bytes;
}

/** A place in a section of a relocatable object as one number. Section 0: it is not in this object. */
export function encodePlace(section: number, offset: number): number {
  return section * 2 ** 32 + offset;
}

function unpacked(elf: ElfFile, section: ElfSection): Uint8Array {
  if (!(section.flags & SHF_COMPRESSED)) return section.data;
  if (section.data.length < 24)
    throw badDwarf(elf.name, `${section.name} is shorter than its compression header`);
  const view = new DataView(section.data.buffer, section.data.byteOffset);
  const kind = view.getUint32(0, true);
  const size = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
  if (size > maxSectionBytes)
    throw badDwarf(elf.name, `${section.name} says that it unpacks to ${size} bytes`);
  if (kind !== ELFCOMPRESS_ZLIB && kind !== ELFCOMPRESS_ZSTD)
    throw badDwarf(elf.name, `${section.name} is compressed in an unknown way (${kind})`);
  const unpack = kind === ELFCOMPRESS_ZLIB ? inflateSync : zstdDecompressSync;
  try {
    return unpack(section.data.subarray(24), { maxOutputLength: Math.max(size, 1) });
  } catch (cause) {
    throw new RekernelError("failed", "RK-BAD-DWARF", `${section.name} of ${elf.name} cannot be unpacked.`, {
      cause,
    });
  }
}
