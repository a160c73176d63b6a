/**
 * The relocations that follow vmlinux inside a bzImage's payload: what has to change in a kernel that runs
 * elsewhere in the kernel's window of virtual addresses than where it was linked (KASLR).
 *
 * Source: arch/x86/tools/relocs.c (emit_relocs), arch/x86/boot/compressed/misc.c (handle_relocations). Lists
 * of 32-bit words, each with a 0 in front of it:
 *
 *     0, 64-bit places …, 0, inverse 32-bit places … (before Linux 6.15), 0, 32-bit places …, end of file
 *
 * A place is the low half of a link-time address in the window, per-CPU data at its load address.
 */
import { badImage } from "./bzimage.ts";
import { PT_LOAD } from "./elf/constants.ts";
import type { ElfFile } from "./elf/read.ts";

/** Link-time address of what lies at physical address 0 (__START_KERNEL_map). */
export const kernelMap = 0xffffffff80000000n;

/** Offsets into the file of the fields to change. */
export interface KernelRelocations {
  /** 64-bit addresses. */
  absolute64: Uint32Array;
  /** 32-bit addresses, sign-extended by who reads them. */
  absolute32: Uint32Array;
  /** 32-bit distances from the image to a per-CPU symbol, whose address stays; empty since Linux 6.15. */
  inverse32: Uint32Array;
}

/**
 * Reads the relocations behind a vmlinux. Which lists there are is told by where they end: the first zero
 * stands right behind the ELF file.
 *
 * @param vmlinux the file with all that follows it
 * @returns undefined where nothing follows: a plain vmlinux, or a kernel without KASLR
 * @throws RekernelError RK-BAD-IMAGE (1) when the lists have another form, or name places outside of the image
 */
export function readKernelRelocations(vmlinux: ElfFile): KernelRelocations | undefined {
  const { bytes, name } = vmlinux;
  const start = endOfElf(vmlinux);
  if (start >= bytes.length) return undefined;
  const size = bytes.length - start;
  const bad = (reason: string) => badImage(name, `the relocations behind its vmlinux ${reason}`);
  if (size % 4 !== 0) throw bad("are no whole number of words");
  const words = wordsAt(bytes, start, size / 4);
  if (words[0] !== 0) throw bad("do not begin with a zero");
  const zeros: number[] = [];
  for (let at = words.indexOf(0); at >= 0 && zeros.length <= 3; at = words.indexOf(0, at + 1)) zeros.push(at);
  if (zeros.length < 2 || zeros.length > 3) throw bad("are neither two nor three lists");
  const places = placesOf(vmlinux);
  const list = (index: number, width: number): Uint32Array =>
    offsetsOf(words.subarray(zeros[index]! + 1, zeros[index + 1]), width, places, bad);
  return {
    absolute64: list(0, 8),
    absolute32: list(zeros.length - 1, 4),
    inverse32: zeros.length === 3 ? list(1, 4) : new Uint32Array(),
  };
}

/**
 * Moves a vmlinux by `slide` bytes: changes the fields in place. Physical addresses stay as they are.
 *
 * @param bytes the file, to be changed
 * @param slide less than 1 GiB, the size of the window
 */
export function applySlide(bytes: Uint8Array, relocations: KernelRelocations, slide: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const at of relocations.absolute32) view.setUint32(at, (view.getUint32(at, true) + slide) >>> 0, true);
  for (const at of relocations.inverse32) view.setUint32(at, (view.getUint32(at, true) - slide) >>> 0, true);
  for (const at of relocations.absolute64) {
    const low = view.getUint32(at, true) + slide;
    view.setUint32(at, low >>> 0, true);
    if (low > 0xffffffff) view.setUint32(at + 4, (view.getUint32(at + 4, true) + 1) >>> 0, true);
  }
}

/** The first byte behind all that the ELF header, its tables and sections claim. */
function endOfElf({ bytes, segments, sections }: ElfFile): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const table = (offsetAt: number, entrySize: number, count: number) =>
    count === 0 ? 0 : Number(view.getBigUint64(offsetAt, true)) + entrySize * count;
  return [
    table(0x20, view.getUint16(0x36, true), segments.length),
    table(0x28, view.getUint16(0x3a, true), sections.length),
    ...segments.map(({ offset, fileSize }) => offset + fileSize),
    ...sections.map(({ offset, data }) => (data.length === 0 ? 0 : offset + data.length)),
  ].reduce((end, candidate) => Math.max(end, candidate), 0);
}

function wordsAt(bytes: Uint8Array, start: number, count: number): Uint32Array {
  const words = new Uint32Array(count);
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, count * 4);
  for (let index = 0; index < count; index++) words[index] = view.getUint32(index * 4, true);
  return words;
}

/** What of the image's memory comes from the file, by physical addresses. */
interface Place {
  start: number;
  end: number;
  /** Added to a physical address it gives an offset into the file. */
  shift: number;
}

function placesOf({ segments }: ElfFile): Place[] {
  return segments
    .filter(({ type, physicalAddress }) => type === PT_LOAD && physicalAddress < 1n << 31n)
    .map(({ physicalAddress, offset, fileSize }) => {
      const start = Number(physicalAddress);
      return { start, end: start + fileSize, shift: offset - start };
    });
}

function offsetsOf(
  addresses: Uint32Array,
  width: number,
  places: readonly Place[],
  bad: (reason: string) => Error,
): Uint32Array {
  const offsets = new Uint32Array(addresses.length);
  // Lists are sorted, so that the next place is nearly always in the same segment.
  let place: Place | undefined;
  for (const [index, address] of addresses.entries()) {
    const physical = address - 0x80000000;
    if (place === undefined || physical < place.start || physical + width > place.end)
      place = places.find(({ start, end }) => physical >= start && physical + width <= end);
    if (place === undefined)
      throw bad(`name a place outside of the image (0xffffffff${address.toString(16).padStart(8, "0")})`);
    offsets[index] = physical + place.shift;
  }
  return offsets;
}
