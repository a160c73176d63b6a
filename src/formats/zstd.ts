/** Where zstd frames end. Node unpacks them, but does not tell. Source: RFC 8878, section 3.1.1. */
import type { Fail } from "./lzma.ts";

const magic = [0x28, 0xb5, 0x2f, 0xfd];

/**
 * The end of the first frame, and of those right behind it.
 *
 * @throws what `fail` makes, for a frame that does not end within the bytes
 */
export function zstdFramesEnd(bytes: Uint8Array, fail: Fail): number {
  let end = 0;
  do end += frameEnd(bytes.subarray(end), fail);
  while (magic.every((byte, index) => bytes[end + index] === byte));
  return end;
}

function frameEnd(bytes: Uint8Array, fail: Fail): number {
  const byte = (at: number) => {
    const value = bytes[at];
    if (value === undefined) throw fail("it ends too early");
    return value;
  };
  const descriptor = byte(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const hasChecksum = (descriptor & 0x04) !== 0;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes;
  for (let isLast = false; !isLast; ) {
    const header = byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16);
    isLast = (header & 1) !== 0;
    const isRun = ((header >> 1) & 3) === 1;
    at += 3 + (isRun ? 1 : header >> 3);
  }
  if (hasChecksum) at += 4;
  if (at > bytes.length) throw fail("it ends too early");
  return at;
}
