/**
 * The image that waits for the next kexec, as it lies in the running kernel's memory: its pages are scattered
 * until the jump, and a list says which of them goes where. Reads only.
 *
 * Source: kernel/kexec_core.c kimage_load_normal_segment, kimage_add_entry, for_each_kimage_entry;
 * include/linux/kexec.h IND_….
 */
import { createHash } from "node:crypto";
import { KernelMemory, UnreadableMemory } from "./kernel-memory.ts";
import { kernelSymbolAddress } from "./kernel-symbols.ts";
import { type KimageLayout, readKimageLayout } from "./kimage-layout.ts";
import { type HostPaths, thisHost } from "./paths.ts";

/** A segment as the kernel keeps it. */
export interface LoadedSegment {
  /** Physical address at the jump. */
  address: bigint;
  dataBytes: number;
  memoryBytes: number;
  /** Of its data, in hexadecimal digits; the zeros behind are left out. */
  sha256: string;
}

export type LoadedImage =
  | { state: "none" }
  | { state: "read"; entry: bigint; segments: readonly LoadedSegment[] }
  /** `reason` completes "cannot be read: …". */
  | { state: "unreadable"; reason: string };

/**
 * Takes the SHA-256 of every segment of the loaded image. Works as root, with CAP_SYS_RAWIO, where lockdown is
 * not "confidentiality" and the kernel has kcore, all symbols and BTF; says so as a value where it does not.
 *
 * Load, unload and jump meanwhile do no harm; the digests are wrong then.
 */
export async function readLoadedImage(host: HostPaths = thisHost): Promise<LoadedImage> {
  try {
    const { pointer, layout } = await whereItIs(host);
    using memory = new KernelMemory(host);
    const image = readPointer(memory, pointer);
    return image === 0n ? { state: "none" } : readImage(memory, layout, image);
  } catch (error) {
    if (error instanceof UnreadableMemory) return { state: "unreadable", reason: error.message };
    throw error;
  }
}

/**
 * Why {@link readLoadedImage} would not work here, in words that complete "cannot be read back: …"; undefined where
 * it would.
 */
export async function loadedImageObstacle(host: HostPaths = thisHost): Promise<string | undefined> {
  try {
    const { pointer } = await whereItIs(host);
    using memory = new KernelMemory(host);
    readPointer(memory, pointer);
    return undefined;
  } catch (error) {
    if (error instanceof UnreadableMemory) return error.message;
    throw error;
  }
}

async function whereItIs(host: HostPaths): Promise<{ pointer: bigint; layout: KimageLayout }> {
  const pointer = await kernelSymbolAddress("kexec_image", host);
  if (pointer === undefined)
    throw new UnreadableMemory("this kernel does not tell where its variable kexec_image is");
  return { pointer, layout: await readKimageLayout(host) };
}

/** The variable kexec_image: 0 where nothing is loaded. */
function readPointer(memory: KernelMemory, pointer: bigint): bigint {
  const word = new BigUint64Array(1);
  memory.readVirtual(pointer, new Uint8Array(word.buffer));
  return word[0]!;
}

function readImage(memory: KernelMemory, layout: KimageLayout, address: bigint): LoadedImage {
  const image = new DataView(new ArrayBuffer(layout.sizeBytes));
  memory.readVirtual(address, new Uint8Array(image.buffer));
  const count = image.getBigUint64(layout.segmentCount, true);
  if (count > BigInt(layout.segmentLimit)) throw changed();
  const segments = Array.from({ length: Number(count) }, (_, index) => {
    const at = layout.segments + index * layout.segment.sizeBytes;
    return {
      address: image.getBigUint64(at + layout.segment.mem, true),
      dataBytes: safeInteger(image.getBigUint64(at + layout.segment.bufsz, true)),
      memoryBytes: safeInteger(image.getBigUint64(at + layout.segment.memsz, true)),
    };
  });
  const pages = segments.reduce((sum, { memoryBytes }) => sum + Math.ceil(memoryBytes / pageBytes), 0);
  // Bounds the list as well: it has an entry for each page.
  if (BigInt(pages) * BigInt(pageBytes) > memory.physicalBytes) throw changed();
  const runs = readRuns(memory, image.getBigUint64(layout.head, true), pages);
  return {
    state: "read",
    entry: image.getBigUint64(layout.start, true),
    segments: segments.map((segment) => ({ ...segment, sha256: digest(memory, runs, segment) })),
  };
}

/** Pages that lie side by side now and will do so at the jump. Physical addresses have 52 bits at most. */
interface Run {
  destination: number;
  source: number;
  bytes: number;
}

const pageBytes = 4096;
const entriesPerPage = pageBytes / 8;
const IND_DESTINATION = 1n;
const IND_INDIRECTION = 2n;
const IND_DONE = 4n;
const IND_SOURCE = 8n;
const flags = 0xfffn;

/**
 * The kernel's list of pages, by destination. A page that could be had at its destination is there already:
 * source and destination are the same then.
 *
 * @param pages how many there can be at most
 */
function readRuns(memory: KernelMemory, head: bigint, pages: number): readonly Run[] {
  const runs: Run[] = [];
  let left = pages;
  // The list's own pages, each with one entry that leads to the next.
  let listPages = Math.ceil(pages / (entriesPerPage - 1)) + segmentsAtMost + 1;
  let entries = BigUint64Array.of(head);
  let destination = 0;
  for (let index = 0; index < entries.length; index++) {
    const entry = entries[index]!;
    if (entry === 0n || (entry & IND_DONE) !== 0n) break;
    const page = Number(entry & ~flags);
    if ((entry & IND_DESTINATION) !== 0n) destination = page;
    else if ((entry & IND_INDIRECTION) !== 0n) {
      if (listPages-- === 0) throw changed();
      entries = new BigUint64Array(entriesPerPage);
      memory.readPhysical(BigInt(page), new Uint8Array(entries.buffer));
      index = -1;
    } else if ((entry & IND_SOURCE) !== 0n) {
      if (left-- === 0) throw changed();
      const last = runs.at(-1);
      if (last && last.destination + last.bytes === destination && last.source + last.bytes === page)
        last.bytes += pageBytes;
      else runs.push({ destination, source: page, bytes: pageBytes });
      destination += pageBytes;
    } else throw changed();
  }
  return runs.sort((a, b) => a.destination - b.destination);
}

/** Each segment begins with an entry for its destination, which the first estimate leaves out. */
const segmentsAtMost = 16;
const readBytes = 1 << 20;

function digest(
  memory: KernelMemory,
  runs: readonly Run[],
  { address, dataBytes }: { address: bigint; dataBytes: number },
): string {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(Math.min(readBytes, dataBytes));
  let at = safeInteger(address);
  const end = at + dataBytes;
  for (const { destination, source, bytes } of runs) {
    if (at >= end) break;
    if (destination + bytes <= at) continue;
    if (destination > at) break;
    for (const stop = Math.min(end, destination + bytes); at < stop; ) {
      const part = buffer.subarray(0, Math.min(buffer.length, stop - at));
      memory.readPhysical(BigInt(source + (at - destination)), part);
      hash.update(part);
      at += part.length;
    }
  }
  // Since 6.17 an image of kexec_file_load can lie in memory of its own (CMA), which no list names.
  if (at < end) throw new UnreadableMemory("the kernel's list leaves out pages of the loaded image");
  return hash.digest("hex");
}

function safeInteger(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw changed();
  return Number(value);
}

function changed(): UnreadableMemory {
  return new UnreadableMemory("the kernel's list of the loaded image changed meanwhile, or is unknown");
}
