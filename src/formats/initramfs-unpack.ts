/**
 * An initramfs as the kernel unpacks it: cpio archives in the "newc" format, plain ones at multiples of 4,
 * and packed streams of such, with NULs between them.
 *
 * Source: init/initramfs.c (unpack_to_rootfs); Documentation/driver-api/early-userspace/buffer-format.rst.
 */
import { RekernelError } from "../core/errors.ts";
import { latin1 } from "./bytes.ts";
import { type Compression, compressionOf, decompressFirst } from "./compression.ts";

export interface UnpackedInitramfs {
  /** To be written one behind the other, at a multiple of 4; plain parts are views of what was given. */
  chunks: readonly Uint8Array[];
  /** Packed streams that were unpacked, with what they are packed with. */
  unpacked: readonly { compression: Compression; bytes: number; unpackedBytes: number }[];
  /** Why the rest stays as it is, as the end of a sentence; undefined where all of it is plain now. */
  kept: string | undefined;
}

/**
 * Unpacks what of an initramfs can be unpacked, so that the kernel does the same with less work. From the
 * first stream on that cannot, everything stays as it is. Plain archives in front stay in front: the kernel
 * looks for microcode and ACPI tables there.
 *
 * @param limitBytes what all streams together may unpack to
 */
export function unpackInitramfs(bytes: Uint8Array, limitBytes: number): UnpackedInitramfs {
  const chunks: Uint8Array[] = [];
  const unpacked: UnpackedInitramfs["unpacked"][number][] = [];
  let position = 0;
  const put = (data: Uint8Array, remainder = 0) => {
    const gap = (remainder - position) & 3;
    if (gap > 0) chunks.push(new Uint8Array(gap));
    chunks.push(data);
    position += gap + data.length;
  };
  // Behind a stream whose bytes go, places shift by any number.
  const keep = (from: number, kept: string): UnpackedInitramfs => {
    put(bytes.subarray(from), from & 3);
    return { chunks, unpacked, kept };
  };

  let left = limitBytes;
  for (let at = 0; at < bytes.length; ) {
    const plain = plainEnd(bytes, at);
    if (plain === undefined) return keep(at, "it has a damaged archive");
    if (plain > at) {
      put(bytes.subarray(at, plain));
      at = plain;
      continue;
    }
    const rest = bytes.subarray(at);
    const compression = compressionOf(rest);
    if (compression === "none") return keep(at, "it has bytes that are neither an archive nor packed");
    if (left <= 0) return keep(at, tooLarge(limitBytes));
    try {
      const { data, end } = decompressFirst(rest, { name: "the initrd", limitBytes: left });
      if (plainEnd(data, 0) !== data.length) return keep(at, "it has a packed part that is no archive");
      if (compression === "lzma" && !isNul(rest.subarray(end)))
        return keep(at, "something follows a part that is packed with lzma, whose end is uncertain");
      left -= data.length;
      put(data);
      unpacked.push({ compression, bytes: end, unpackedBytes: data.length });
      at += end;
    } catch (error) {
      if (!(error instanceof RekernelError)) throw error;
      return keep(at, whyNot(error, compression, limitBytes));
    }
  }
  return { chunks, unpacked, kept: undefined };
}

function whyNot({ code, message }: RekernelError, compression: Compression, limit: number): string {
  if (code === "RK-UNSUPPORTED-COMPRESSION")
    return `it has a part packed with ${compression}, which rekernel does not unpack`;
  return message.includes("more than") ? tooLarge(limit) : `it has a damaged part (${compression})`;
}

function tooLarge(limit: number): string {
  return `unpacked it takes more than the ${Math.floor(limit / 2 ** 20)} MiB that it may`;
}

const headerBytes = 110;
const numberPattern = /^[0-9a-fA-F]{8}$/;

/**
 * Where plain archives and NULs from `start` on end: at something packed, or at the end.
 *
 * @returns undefined for an archive that the kernel would not take
 */
function plainEnd(bytes: Uint8Array, start: number): number | undefined {
  let at = start;
  while (at < bytes.length) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    if (bytes[at] !== 0x30 || (at & 3) !== 0) return at;
    const header = latin1(bytes.subarray(at, at + headerBytes));
    if (header.length < headerBytes || !/^07070[12]/.test(header)) return undefined;
    const fileBytes = hexadecimal(header, 54);
    const nameBytes = hexadecimal(header, 94);
    if (fileBytes === undefined || nameBytes === undefined || nameBytes === 0) return undefined;
    const dataAt = at + roundUp(headerBytes + nameBytes);
    const end = dataAt + fileBytes;
    if (end > bytes.length) return undefined;
    at = Math.min(dataAt + roundUp(fileBytes), bytes.length);
  }
  return at;
}

function hexadecimal(header: string, at: number): number | undefined {
  const digits = header.slice(at, at + 8);
  return numberPattern.test(digits) ? Number.parseInt(digits, 16) : undefined;
}

function roundUp(size: number): number {
  return Math.ceil(size / 4) * 4;
}

function isNul(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
