/** The outside of zstd frames: where one ends, without unpacking it (RFC 8878, section 3.1.1). */

/** Gives bytes of a file, fewer only at its end. */
export type ReadBytes = (offset: number, size: number) => Uint8Array;

const frameMagic = 0xfd2fb528;
/** Frames that carry something else: 16 magic numbers (section 3.1.2). */
const skippableMagic = 0x184d2a50;
const rleBlock = 1;
/** Of 128 KiB each at most: far more than any file that one walks through. */
const blockLimit = 1_000_000;

/**
 * @returns the offset behind the frame that begins at `at`; undefined where the file ends before, or where no
 *   frame begins
 */
export function zstdFrameEnd(at: number, size: number, read: ReadBytes): number | undefined {
  const head = Buffer.alloc(18);
  head.set(read(at, Math.min(head.length, size - at)));
  const magic = head.readUInt32LE(0);
  if ((magic & 0xfffffff0) >>> 0 === skippableMagic) return within(at + 8 + head.readUInt32LE(4), size);
  if (magic !== frameMagic) return undefined;
  const descriptor = head[4]!;
  const singleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  let block = at + 5 + (singleSegment ? 0 : 1) + dictionaryBytes + contentBytes;
  for (let count = 0; count < blockLimit; count++) {
    const header = read(block, 3);
    if (header.length < 3) return undefined;
    const word = header[0]! | (header[1]! << 8) | (header[2]! << 16);
    const type = (word >> 1) & 3;
    block += 3 + (type === rleBlock ? 1 : word >>> 3);
    if (block > size) return undefined;
    if ((word & 1) !== 0) return within(block + ((descriptor & 4) === 0 ? 0 : 4), size);
  }
  return undefined;
}

function within(end: number, size: number): number | undefined {
  return end <= size ? end : undefined;
}
