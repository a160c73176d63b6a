/**
 * The .xz container with the filters that kernels use: LZMA2, alone or behind x86 BCJ.
 *
 * Source: The .xz File Format 1.1 (tukaani.org/xz/xz-file-format.txt); scripts/xz_wrap.sh for what the kernel
 * build asks for.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { decodeLzma2, type Fail, OutputBuffer, type UnpackedStream } from "./lzma.ts";

const filterX86 = 4;
const filterLzma2 = 0x21;
/** Sizes of the integrity checks, by id (section 2.1.1.2). */
const checkSizes = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

export function isXz(bytes: Uint8Array): boolean {
  return (
    bytes.length >= 6 &&
    bytes[0] === 0xfd &&
    bytes[1] === 0x37 &&
    bytes[2] === 0x7a &&
    bytes[3] === 0x58 &&
    bytes[4] === 0x5a &&
    bytes[5] === 0
  );
}

/**
 * Unpacks the first stream of an .xz file; bytes behind it are ignored.
 * Headers, index and the integrity checks (CRC32, CRC64, SHA-256) are verified.
 *
 * @param expectedSize a first guess of the unpacked size; the buffer grows from there
 * @param limit refuses to unpack to more bytes than this
 */
export function unpackXz(bytes: Uint8Array, expectedSize: number, limit: number, fail: Fail): UnpackedStream {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (offset: number) => {
    if (offset + 4 > bytes.length) throw fail("it ends too early");
    return view.getUint32(offset, true);
  };
  if (!isXz(bytes) || bytes.length < 12) throw fail("it has no xz header");
  if (crc32(bytes.subarray(6, 8)) !== u32(8)) throw fail("its header is corrupt");
  const checkType = bytes[7]!;
  const checkSize = checkSizes[checkType];
  if (bytes[6] !== 0 || checkSize === undefined) throw fail("its header has unknown flags");

  const out = new OutputBuffer(expectedSize, limit, fail);
  const records: { unpadded: number; unpacked: number }[] = [];
  let at = 12;
  for (;;) {
    const sizeByte = bytes[at];
    if (sizeByte === undefined) throw fail("it ends too early");
    if (sizeByte === 0) break;
    const start = at;
    const headerSize = (sizeByte + 1) * 4;
    if (at + headerSize > bytes.length) throw fail("it ends too early");
    if (crc32(bytes.subarray(at, at + headerSize - 4)) !== u32(at + headerSize - 4))
      throw fail("a block header is corrupt");
    const hasX86 = blockFilters(bytes.subarray(at + 1, at + headerSize - 4), fail);
    const unpackedStart = out.length;
    at = decodeLzma2(bytes, at + headerSize, out, fail);
    const unpacked = out.bytes.subarray(unpackedStart, out.length);
    if (hasX86) undoX86Filter(unpacked);
    const unpadded = at - start + checkSize;
    at = (at + 3) & ~3;
    verifyCheck(checkType, unpacked, bytes.subarray(at, at + checkSize), fail);
    at += checkSize;
    records.push({ unpadded, unpacked: unpacked.length });
  }
  return { end: verifyIndex(bytes, at, records, fail, u32), data: out.result() };
}

/** Reads a block header behind its size byte; true when the x86 filter stands before LZMA2. */
function blockFilters(header: Uint8Array, fail: Fail): boolean {
  const flags = header[0] ?? 0;
  if (flags & 0x3c) throw fail("a block header has unknown flags");
  let at = 1;
  const next = () => {
    const [value, end] = readVli(header, at, fail);
    at = end;
    return value;
  };
  if (flags & 0x40) next();
  if (flags & 0x80) next();
  let hasX86 = false;
  const count = (flags & 3) + 1;
  for (let index = 0; index < count; index++) {
    const id = next();
    const propertySize = next();
    const last = index === count - 1;
    if (id === filterX86 && !last && !hasX86) {
      const hasOffset = propertySize === 4 && header.subarray(at, at + 4).some((byte) => byte !== 0);
      if (hasOffset) throw fail("its x86 filter has a start offset, which no kernel uses");
      hasX86 = true;
    } else if (id !== filterLzma2 || !last)
      throw fail(`it uses filter 0x${id.toString(16)}, which is not supported`);
    at += propertySize;
  }
  return hasX86;
}

/** Variable-length integer (section 1.2). */
function readVli(bytes: Uint8Array, offset: number, fail: Fail): [value: number, end: number] {
  let value = 0;
  for (let index = 0; index < 7; index++) {
    const byte = bytes[offset + index];
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return [value, offset + index + 1];
  }
  throw fail("a number in a header is invalid");
}

/** @returns where the stream ends, behind its footer */
function verifyIndex(
  bytes: Uint8Array,
  start: number,
  records: readonly { unpadded: number; unpacked: number }[],
  fail: Fail,
  u32: (offset: number) => number,
): number {
  let at = start + 1;
  const next = () => {
    const [value, end] = readVli(bytes, at, fail);
    at = end;
    return value;
  };
  if (next() !== records.length) throw fail("its index does not fit its blocks");
  for (const { unpadded, unpacked } of records)
    if (next() !== unpadded || next() !== unpacked) throw fail("its index does not fit its blocks");
  at = start + ((at - start + 3) & ~3);
  if (crc32(bytes.subarray(start, at)) !== u32(at)) throw fail("its index is corrupt");
  at += 4;
  if (crc32(bytes.subarray(at + 4, at + 10)) !== u32(at)) throw fail("its footer is corrupt");
  return at + 12;
}

function verifyCheck(type: number, data: Uint8Array, expected: Uint8Array, fail: Fail): void {
  const view = new DataView(expected.buffer, expected.byteOffset, expected.byteLength);
  if (expected.length !== checkSizes[type]) throw fail("it ends too early");
  let good = true;
  if (type === 1) good = crc32(data) === view.getUint32(0, true);
  else if (type === 4) good = crc64(data) === view.getBigUint64(0, true);
  else if (type === 10) good = createHash("sha256").update(data).digest().equals(expected);
  if (!good) throw fail("its contents do not match their checksum");
}

let crc64Table: Uint32Array | undefined;

/** CRC-64/XZ (ECMA-182, reflected), in halves: a BigInt per byte would take seconds. */
function crc64(data: Uint8Array): bigint {
  crc64Table ??= makeCrc64Table();
  const table = crc64Table;
  let low = 0xffffffff;
  let high = 0xffffffff;
  for (let index = 0; index < data.length; index++) {
    const entry = ((low ^ data[index]!) & 0xff) * 2;
    low = ((low >>> 8) | (high << 24)) ^ table[entry]!;
    high = (high >>> 8) ^ table[entry + 1]!;
  }
  return (BigInt(~high >>> 0) << 32n) | BigInt(~low >>> 0);
}

function makeCrc64Table(): Uint32Array {
  const table = new Uint32Array(512);
  for (let index = 0; index < 256; index++) {
    let value = BigInt(index);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ 0xc96c5795d7870f42n : value >> 1n;
    table[index * 2] = Number(value & 0xffffffffn);
    table[index * 2 + 1] = Number(value >> 32n);
  }
  return table;
}

/**
 * Undoes the x86 BCJ filter in place: call and jump targets were made absolute before packing.
 *
 * `mask` remembers which of the last three bytes looked like opcodes, because the filter leaves an
 * operand alone when it probably begins inside another instruction.
 */
function undoX86Filter(data: Uint8Array): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const signByte = (byte: number) => byte === 0 || byte === 0xff;
  let mask = 0;
  let lastOpcode = -1;
  const end = data.length - 4;
  for (let at = 0; ; at++) {
    while (at < end && (data[at]! & 0xfe) !== 0xe8) at++;
    if (at >= end) return;
    const gap = at - lastOpcode;
    mask = gap > 3 ? 0 : (mask << (gap - 1)) & 7;
    lastOpcode = at;
    const highest = mask >= 4 ? 3 : Math.min(mask, 2);
    if (mask !== 0) {
      // Only a single earlier opcode leaves the operand convertible.
      const single = (mask & (mask - 1)) === 0;
      if (!single || signByte(data[at + 4 - highest]!)) {
        mask = (mask << 1) | 1;
        continue;
      }
    }
    if (!signByte(data[at + 4]!)) {
      mask = (mask << 1) | 1;
      continue;
    }
    let source = view.getInt32(at + 1, true);
    let target: number;
    for (;;) {
      target = (source - (at + 5)) | 0;
      if (mask === 0) break;
      const shift = highest * 8;
      if (!signByte((target >>> (24 - shift)) & 0xff)) break;
      source = target ^ ((1 << (32 - shift)) - 1);
    }
    // 25 bits, sign-extended.
    view.setInt32(at + 1, (target << 7) >> 7, true);
    at += 4;
    mask = 0;
  }
}
