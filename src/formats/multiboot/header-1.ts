/**
 * The Multiboot header, version 1: how a kernel tells a boot loader what it needs.
 *
 * Source: Multiboot Specification 0.6.96, chapter 3.1.
 */
import type { RekernelError } from "../../core/errors.ts";
import { ByteReader } from "../bytes.ts";
import { badImage } from "../bzimage.ts";
import type { AddressFields } from "./placed-file.ts";

/** What stands in EAX when the kernel is entered. */
export const multiboot1BootMagic = 0x2badb002;

const headerMagic = 0x1badb002;
/** The whole header lies within this much of the file's beginning. */
const searchBytes = 8192;
/** Bits that a boot loader must know, or not load the kernel: page-aligned modules, memory, video mode. */
const knownRequirements = 0b111;

export interface MultibootHeader1 {
  /** Where it begins in the file. */
  offset: number;
  flags: number;
  /** Modules must begin at a page boundary. */
  alignModules: boolean;
  /** The kernel wants to know the memory. */
  wantsMemory: boolean;
  /** The kernel wants a video mode, and to be told which it is. */
  wantsVideo: boolean;
  /** Where file and entry lie; undefined where the ELF header says so. */
  addresses: (AddressFields & { entry: number }) | undefined;
}

/** True for a file that has a header: magic, flags and a checksum that makes their sum zero, at a multiple of 4. */
export function isMultiboot1(bytes: Uint8Array): boolean {
  return headerOffset(bytes) !== undefined;
}

function headerOffset(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, searchBytes));
  for (let at = 0; at + 12 <= view.byteLength; at += 4) {
    if (view.getUint32(at, true) !== headerMagic) continue;
    const [flags, checksum] = [view.getUint32(at + 4, true), view.getUint32(at + 8, true)];
    if ((headerMagic + flags + checksum) >>> 0 === 0) return at;
  }
  return undefined;
}

/**
 * Finds and reads the header.
 *
 * @returns undefined for a file that has none
 * @throws RekernelError RK-BAD-IMAGE (1) for a header that is cut off, or that demands what nobody knows
 */
export function findMultiboot1(bytes: Uint8Array, name: string): MultibootHeader1 | undefined {
  const fail = (reason: string): RekernelError => badImage(name, reason);
  const area = new ByteReader(bytes.subarray(0, searchBytes), () => fail("its Multiboot header is cut off"));
  const offset = headerOffset(bytes);
  return offset === undefined ? undefined : readHeader(area, offset, area.u32(offset + 4), fail);
}

function readHeader(
  area: ByteReader,
  offset: number,
  flags: number,
  fail: (reason: string) => RekernelError,
): MultibootHeader1 {
  const unknown = flags & 0xffff & ~knownRequirements;
  if (unknown !== 0)
    throw fail(
      `its Multiboot header demands what the specification does not know (0x${unknown.toString(16)})`,
    );
  return {
    offset,
    flags,
    alignModules: (flags & 1) !== 0,
    wantsMemory: (flags & 2) !== 0,
    wantsVideo: (flags & 4) !== 0,
    addresses:
      (flags & 0x10000) === 0
        ? undefined
        : {
            header: area.u32(offset + 12),
            load: area.u32(offset + 16),
            loadEnd: area.u32(offset + 20),
            bssEnd: area.u32(offset + 24),
            entry: area.u32(offset + 28),
          },
  };
}
