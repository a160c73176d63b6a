/**
 * Starts a vmlinux without the code that unpacks it out of a bzImage, and so does here what that code does
 * for the kernel (arch/x86/boot/compressed/misc.c extract_kernel, kaslr.c): choose where it lies, move it
 * there, and enter it by its 64-bit entry (arch/x86/kernel/head_64.S startup_64).
 *
 * KASLR has two halves, drawn independently: the physical place, any multiple of the alignment in free RAM,
 * and the slide of its virtual addresses within the window of 1 GiB. The kernel works out their difference
 * by itself (phys_base), and randomizes its other regions where KASLR_FLAG says so.
 */
import type { BzImageHeader } from "../../formats/bzimage.ts";
import { readElf } from "../../formats/elf/read.ts";
import { applySlide, readKernelRelocations } from "../../formats/kernel-relocs.ts";
import type { AddressRange } from "../../formats/memory-map.ts";
import { earlyWords } from "../command-line.ts";
import { LayoutBuilder, type Reservation } from "../segments/layout.ts";
import { placeSegment, type Wish } from "../segments/place.ts";
import { subtract } from "../segments/ranges.ts";
import type { SegmentLayout } from "../segments/segment.ts";
import { startLinux } from "./linux.ts";
import type { LoaderInput } from "./loader.ts";
import { type KernelMemory, kernelMapping, kernelMemory, kernelWindow } from "./vmlinux-memory.ts";

/**
 * Takes a vmlinux with or without the relocations that stand behind it in a bzImage.
 *
 * @throws as every {@link import("./loader.ts").Loader}
 */
export function loadVmlinux(input: LoaderInput): SegmentLayout {
  const { kernel, kernelName, unpackedFrom, commandLine, random } = input;
  const elf = readElf(kernel, kernelName);
  const memory = kernelMemory(elf);
  const relocations = readKernelRelocations(elf);
  const kaslr = !earlyWords(commandLine).includes("nokaslr");
  const moves = kaslr && relocations !== undefined;
  const align = alignment(unpackedFrom?.header);

  const layout = new LayoutBuilder(input.room);
  const wish: Wish = {
    name: "kernel",
    size: memory.memoryBytes,
    align,
    min: BigInt(memory.linkedAt),
    from: "bottom",
  };
  const place = moves ? reserveAnywhere(layout, input, wish) : layout.reserve(wish);
  const bytes = kernel.slice();
  if (moves) applySlide(bytes, relocations, randomSlide(memory, align, random));
  putParts(layout, place, memory, bytes);

  const start = startLinux(layout, input, {
    mode: "linux-64",
    entry: place.address + BigInt(memory.entryOffset),
    setupHeader: unpackedFrom?.setupHeader,
    code32Start: 0,
    kaslr,
    // Since Linux 3.14; older ones do not look at it.
    takesEfi: unpackedFrom?.header.xloadflags.efiKexec ?? true,
    parametersBelow: undefined,
    initrdBelow: undefined,
  });
  if (moves || !kaslr) return start;
  const note = `${kernelName} has no relocations: its code stays at the addresses for which it was linked (no KASLR of the kernel itself). The vmlinuz of the same kernel has them.`;
  return { ...start, notes: [...start.notes, note] };
}

function alignment(header: BzImageHeader | undefined): number {
  const wanted = header?.kernelAlignment ?? 0;
  return Number.isInteger(Math.log2(wanted)) ? Math.max(wanted, kernelMapping) : kernelMapping;
}

/** Any place but one that would leave no room for the initrd, which goes to the top. */
function reserveAnywhere(
  layout: LayoutBuilder,
  { room, initrd, random }: LoaderInput,
  wish: Wish,
): Reservation {
  const address = placeSegment(subtract(room, initrdPlace(room, initrd)), { ...wish, from: random });
  return layout.reserve({ ...wish, min: address, max: address + BigInt(wish.size) });
}

function initrdPlace(room: readonly AddressRange[], initrd: readonly Uint8Array[]): AddressRange[] {
  const size = initrd.reduce((sum, { length }) => sum + length, 0);
  if (size === 0) return [];
  const { address, memoryBytes } = new LayoutBuilder(room).reserve({ name: "initrd", size, from: "top" });
  return [{ start: address, end: address + BigInt(memoryBytes) }];
}

/** find_random_virt_addr of arch/x86/boot/compressed/kaslr.c, from where the kernel was linked for upwards. */
function randomSlide(
  { linkedAt, memoryBytes }: KernelMemory,
  align: number,
  random: LoaderInput["random"],
): number {
  const slots = 1 + Math.floor((kernelWindow - linkedAt - memoryBytes) / align);
  return random(Math.max(1, slots)) * align;
}

function putParts(
  layout: LayoutBuilder,
  { address }: Reservation,
  { parts }: KernelMemory,
  bytes: Uint8Array,
): void {
  for (const { offset, memoryBytes, pieces } of parts) {
    const [only, ...others] = pieces;
    let data: Uint8Array;
    if (only !== undefined && others.length === 0 && only.at === 0)
      data = bytes.subarray(only.fileOffset, only.fileOffset + only.bytes);
    else {
      data = new Uint8Array(pieces.reduce((end, { at, bytes: size }) => Math.max(end, at + size), 0));
      for (const { at, fileOffset, bytes: size } of pieces)
        data.set(bytes.subarray(fileOffset, fileOffset + size), at);
    }
    layout.put(
      parts.length === 1 ? "kernel" : `kernel +0x${offset.toString(16)}`,
      { address: address + BigInt(offset), memoryBytes },
      data,
    );
  }
}
