import type { RekernelError } from "../core/errors.ts";

/**
 * Bounds-checked little-endian reads from hostile bytes.
 *
 * Every read outside the buffer throws the error that `fail` builds, so that a parser's
 * messages name its own format.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fail: (reason: string) => RekernelError;

  constructor(bytes: Uint8Array, fail: (reason: string) => RekernelError) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fail = fail;
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    this.#check(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.#check(offset, 2);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getUint32(offset, true);
  }

  i32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getInt32(offset, true);
  }

  u64(offset: number): bigint {
    this.#check(offset, 8);
    return this.#view.getBigUint64(offset, true);
  }

  /** A 64-bit value that has to fit a JavaScript number: file offsets, sizes. */
  size64(offset: number, what: string): number {
    const value = this.u64(offset);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw this.#fail(`${what} is impossibly large (0x${value.toString(16)})`);
    return Number(value);
  }

  /** A view, not a copy. */
  slice(offset: number, size: number, what = "data"): Uint8Array {
    if (!(offset >= 0 && size >= 0 && offset + size <= this.bytes.length))
      throw this.#fail(
        `${what} lies outside the file (offset ${offset}, ${size} bytes, file has ${this.bytes.length})`,
      );
    return this.bytes.subarray(offset, offset + size);
  }

  #check(offset: number, size: number): void {
    if (offset < 0 || offset + size > this.bytes.length)
      throw this.#fail(`it ends before offset ${offset + size}`);
  }
}

/**
 * NUL-terminated string at `offset`; the end of the buffer ends it, too. Bytes map to code points 0–255.
 * An offset outside the buffer, whatever arithmetic on hostile numbers made of it, gives "".
 */
export function cString(bytes: Uint8Array, offset: number): string {
  if (!(offset >= 0 && offset < bytes.length)) return "";
  const end = bytes.indexOf(0, offset);
  return latin1(bytes.subarray(offset, end < 0 ? bytes.length : end));
}

/** Bytes as Latin-1: reversible, never throws; symbol names are ASCII in practice. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
