/**
 * Reads what a loader needs of an executable ELF file of either class: entry, segments, section headers.
 *
 * Source: System V gABI chapters 4 and 5.
 */
import { RekernelError } from "../../core/errors.ts";
import { ByteReader } from "../bytes.ts";
import { ET_DYN, ET_EXEC, PT_LOAD, SHF_ALLOC, SHT_STRTAB, SHT_SYMTAB } from "./constants.ts";
import { badElf } from "./read.ts";

/** A part of the file (PT_LOAD) and where in memory it belongs. */
export interface LoadableSegment {
  virtualAddress: bigint;
  physicalAddress: bigint;
  /** A view of the file. */
  data: Uint8Array;
  /** With the zeroes behind the data. */
  memoryBytes: bigint;
}

/** Symbols or names, which no segment loads. */
export interface LooseSection {
  index: number;
  data: Uint8Array;
  /** A power of two, 1 at least. */
  alignment: number;
}

export interface SectionTable {
  count: number;
  entryBytes: number;
  nameSection: number;
  /** The headers, a view of the file. */
  headers: Uint8Array;
  /** Offset of sh_addr in a header, which has the width of the class. */
  addressOffset: number;
  loose: readonly LooseSection[];
}

export interface Executable {
  /** 32 or 64 bits. */
  bits: 32 | 64;
  type: number;
  machine: number;
  entry: bigint;
  /** Those that take memory, in the order of the file. */
  segments: readonly LoadableSegment[];
  /** Undefined in a file without section headers, or with damaged ones: nothing needs them to load it. */
  sections: SectionTable | undefined;
}

/** More than any kernel has. */
const segmentLimit = 256;

/**
 * @param name how messages call the file
 * @throws RekernelError RK-BAD-ELF (1)
 */
export function readExecutable(bytes: Uint8Array, name: string): Executable {
  const bad = (reason: string): RekernelError => badElf(name, reason);
  const r = new ByteReader(bytes, bad);
  if (r.length < 52 || r.u32(0) !== 0x464c457f) throw bad("it is not an ELF file");
  const bits = r.u8(4) === 1 ? 32 : r.u8(4) === 2 ? 64 : undefined;
  if (bits === undefined) throw bad("it is neither a 32-bit nor a 64-bit ELF file");
  if (r.u8(5) !== 1) throw bad("it is not a little-endian ELF file");
  const type = r.u16(16);
  if (type !== ET_EXEC && type !== ET_DYN) throw bad("it is not an executable ELF file");
  return {
    bits,
    type,
    machine: r.u16(18),
    entry: bits === 32 ? BigInt(r.u32(24)) : r.u64(24),
    segments: readSegments(r, bits, bad),
    sections: readSections(r, bits),
  };
}

function readSegments(
  r: ByteReader,
  bits: 32 | 64,
  bad: (reason: string) => RekernelError,
): LoadableSegment[] {
  const wide = bits === 64;
  const entryBytes = wide ? 56 : 32;
  const table = wide ? r.size64(32, "the program header table's offset") : r.u32(28);
  const count = r.u16(wide ? 56 : 44);
  if (count > 0 && r.u16(wide ? 54 : 42) !== entryBytes)
    throw bad("its program headers have an unknown size");
  r.slice(table, count * entryBytes, "the program header table");
  const segments: LoadableSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * entryBytes;
    if (r.u32(at) !== PT_LOAD) continue;
    const memoryBytes = wide ? r.u64(at + 40) : BigInt(r.u32(at + 20));
    if (memoryBytes === 0n) continue;
    const offset = wide ? r.size64(at + 8, "a segment's offset") : r.u32(at + 4);
    const fileBytes = wide ? r.size64(at + 32, "a segment's size") : r.u32(at + 16);
    if (BigInt(fileBytes) > memoryBytes)
      throw bad(`segment ${index} has ${fileBytes} bytes in the file and ${memoryBytes} in memory`);
    if (segments.length === segmentLimit) throw bad(`it has more than ${segmentLimit} segments`);
    segments.push({
      virtualAddress: wide ? r.u64(at + 16) : BigInt(r.u32(at + 8)),
      physicalAddress: wide ? r.u64(at + 24) : BigInt(r.u32(at + 12)),
      data: r.slice(offset, fileBytes, `segment ${index}`),
      memoryBytes,
    });
  }
  if (segments.length === 0) throw bad("it has nothing to load");
  return segments;
}

function readSections(r: ByteReader, bits: 32 | 64): SectionTable | undefined {
  const wide = bits === 64;
  const entryBytes = wide ? 64 : 40;
  if (wide && r.length < 64) return undefined;
  try {
    const table = wide ? r.size64(40, "") : r.u32(32);
    const count = r.u16(wide ? 60 : 48);
    const nameSection = r.u16(wide ? 62 : 50);
    if (table === 0 || count === 0 || nameSection >= count) return undefined;
    if (r.u16(wide ? 58 : 46) !== entryBytes) return undefined;
    const headers = r.slice(table, count * entryBytes);
    const loose: LooseSection[] = [];
    for (let index = 0; index < count; index++) {
      const at = table + index * entryBytes;
      const type = r.u32(at + 4);
      const flags = r.u32(at + 8);
      if ((type !== SHT_SYMTAB && type !== SHT_STRTAB) || (flags & SHF_ALLOC) !== 0) continue;
      const offset = wide ? r.size64(at + 24, "") : r.u32(at + 16);
      const size = wide ? r.size64(at + 32, "") : r.u32(at + 20);
      const alignment = wide ? r.size64(at + 48, "") : r.u32(at + 32);
      loose.push({ index, data: r.slice(offset, size), alignment: powerOfTwo(alignment) });
    }
    return { count, entryBytes, nameSection, headers, addressOffset: wide ? 16 : 12, loose };
  } catch (error) {
    if (error instanceof RekernelError) return undefined;
    throw error;
  }
}

/** No section asks for more than a page in earnest. */
function powerOfTwo(alignment: number): number {
  return alignment > 1 && alignment <= 4096 && Number.isInteger(Math.log2(alignment)) ? alignment : 1;
}
