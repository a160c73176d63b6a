/**
 * The legacy LZ4 frame, which is what `lz4 -l` of the kernel build writes: a magic number, then blocks of
 * a 32-bit packed size and data, each unpacking to at most 8 MiB.
 *
 * Source: lz4_Frame_format.md ("Legacy frame"), lz4_Block_format.md; the kernel's lib/decompress_unlz4.c.
 */
import { type Fail, OutputBuffer, type UnpackedStream } from "./lzma.ts";

export const lz4LegacyMagic = 0x184c2102;
const blockLimit = 8 << 20;

/**
 * Unpacks a legacy frame, and those right behind it, as the kernel does. They end with the bytes, or where a
 * block of no bytes would be: the format itself has no end.
 */
export function unpackLz4Legacy(
  bytes: Uint8Array,
  expectedSize: number,
  limit: number,
  fail: Fail,
): UnpackedStream {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new OutputBuffer(expectedSize, limit, fail);
  let at = 0;
  if (bytes.length < 4 || view.getUint32(0, true) !== lz4LegacyMagic) throw fail("it has no LZ4 header");
  while (at + 4 <= bytes.length) {
    const size = view.getUint32(at, true);
    if (size === 0) break;
    at += 4;
    if (size === lz4LegacyMagic) continue;
    if (at + size > bytes.length) throw fail("it ends too early");
    unpackBlock(bytes.subarray(at, at + size), out, fail);
    at += size;
  }
  if (bytes.subarray(at, at + 4).some((byte) => byte !== 0)) throw fail("it ends too early");
  return { data: out.result(), end: at };
}

function unpackBlock(input: Uint8Array, out: OutputBuffer, fail: Fail): void {
  const start = out.length;
  let at = 0;
  const extendedLength = (nibble: number) => {
    let length = nibble;
    if (nibble === 15) {
      let byte: number;
      do {
        if (at >= input.length || length > blockLimit) throw fail("a block is corrupt");
        byte = input[at++]!;
        length += byte;
      } while (byte === 255);
    }
    return length;
  };
  while (at < input.length) {
    const token = input[at++]!;
    const literalCount = extendedLength(token >> 4);
    if (at + literalCount > input.length) throw fail("a block is corrupt");
    out.reserve(literalCount);
    out.bytes.set(input.subarray(at, at + literalCount), out.length);
    out.length += literalCount;
    at += literalCount;
    if (at === input.length) break;
    if (at + 2 > input.length) throw fail("a block is corrupt");
    const distance = input[at]! | (input[at + 1]! << 8);
    at += 2;
    const length = extendedLength(token & 15) + 4;
    if (distance === 0 || distance > out.length - start) throw fail("a block is corrupt");
    out.reserve(length);
    const { bytes, length: position } = out;
    if (distance >= length) bytes.copyWithin(position, position - distance, position - distance + length);
    else for (let i = position; i < position + length; i++) bytes[i] = bytes[i - distance]!;
    out.length += length;
    if (out.length - start > blockLimit) throw fail("a block unpacks to more than 8 MiB");
  }
}
