/** What a vmlinux looks like in memory: its loadable parts, relative to where the kernel begins. */
import { badImage } from "../../formats/bzimage.ts";
import { ET_DYN, ET_EXEC, PT_LOAD } from "../../formats/elf/constants.ts";
import type { ElfFile } from "../../formats/elf/read.ts";
import { kernelMap } from "../../formats/kernel-relocs.ts";
import { pageSize } from "../segments/segment.ts";

/** Mappings of the kernel itself are of this size, so it lies at a multiple of it (PMD_SIZE). */
export const kernelMapping = 1 << 21;
/** KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE (arch/x86/include/asm/page_64_types.h). */
export const kernelWindow = 1 << 30;

/** Bytes of the file that lie together. Offsets count from the kernel's beginning, in whole pages. */
export interface KernelPart {
  offset: number;
  memoryBytes: number;
  /** Ranges of the file, and where in the part they go. */
  pieces: readonly { at: number; fileOffset: number; bytes: number }[];
}

export interface KernelMemory {
  /** Physical address for which it was linked: that of its lowest part. */
  linkedAt: number;
  /** Whole mappings, with .bss and .brk. */
  memoryBytes: number;
  /** Of startup_64, from the beginning. */
  entryOffset: number;
  parts: readonly KernelPart[];
}

/**
 * @throws RekernelError RK-BAD-IMAGE (1) for an ELF file that is no x86-64 Linux kernel, or a damaged one
 */
export function kernelMemory(vmlinux: ElfFile): KernelMemory {
  const { name, header, bytes } = vmlinux;
  const bad = (reason: string) => badImage(name, reason);
  const linux = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes("Linux version ");
  if ((header.type !== ET_EXEC && header.type !== ET_DYN) || !linux)
    throw bad("it is an ELF file, but no Linux kernel");
  const loads = vmlinux.segments
    .filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0)
    .map(({ physicalAddress, memorySize, fileSize, offset }) => ({
      start: physicalAddress,
      end: physicalAddress + BigInt(memorySize),
      fileSize,
      offset,
    }))
    .sort((a, b) => (a.start < b.start ? -1 : 1));
  const first = loads[0];
  if (first === undefined) throw bad("it has nothing to load");
  if (loads.some(({ end }) => end > BigInt(kernelWindow)))
    throw bad("it reaches beyond the 1 GiB that the kernel maps for itself");
  const end = Math.max(...loads.map((load) => Number(load.end)));
  if (first.start < 0x100000n || first.start % BigInt(kernelMapping) !== 0n)
    throw bad(`it is linked for the physical address 0x${first.start.toString(16)}, no multiple of 2 MiB`);
  const base = Number(first.start);
  const parts: { start: number; end: number; pieces: KernelPart["pieces"][number][] }[] = [];
  for (const load of loads) {
    if (load.fileSize > Number(load.end - load.start)) throw bad("a part of it is larger than its memory");
    if (load.offset + load.fileSize > bytes.length) throw bad("a part of it lies behind the end of the file");
    const [from, to] = [Number(load.start) - base, Number(load.end) - base];
    const start = Math.floor(from / pageSize) * pageSize;
    const piece = { at: from, fileOffset: load.offset, bytes: load.fileSize };
    const last = parts.at(-1);
    if (last !== undefined && start <= last.end) {
      if (from < last.pieces.reduce((furthest, { at, bytes: size }) => Math.max(furthest, at + size), 0))
        throw bad("its parts overlap");
      last.end = Math.max(last.end, to);
      last.pieces.push(piece);
    } else parts.push({ start, end: to, pieces: [piece] });
  }
  return {
    linkedAt: base,
    memoryBytes: roundUp(end - base, kernelMapping),
    entryOffset: entryOffset(vmlinux, base, first, bad),
    parts: (parts.length > partLimit ? [joined(parts)] : parts).map(({ start, end, pieces }) => ({
      offset: start,
      memoryBytes: roundUp(end - start, pageSize),
      pieces: pieces.map((piece) => ({ ...piece, at: piece.at - start })),
    })),
  };
}

/** Segments that are left for the kernel when others take theirs. */
const partLimit = 8;

function joined<T extends { start: number; end: number; pieces: readonly unknown[] }>(parts: readonly T[]) {
  const pieces = parts.flatMap((part) => part.pieces) as T["pieces"];
  return { start: 0, end: Math.max(...parts.map(({ end }) => end)), pieces };
}

/** e_entry is physical in a kernel's own link (phys_startup_64), and may be virtual in others. */
function entryOffset(
  { header }: ElfFile,
  base: number,
  first: { start: bigint; fileSize: number },
  bad: (reason: string) => Error,
): number {
  const physical = header.entry >= kernelMap ? header.entry - kernelMap : header.entry;
  const offset = physical - BigInt(base);
  if (offset < 0n || offset >= BigInt(first.fileSize)) throw bad("its entry lies outside of its code");
  return Number(offset);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
