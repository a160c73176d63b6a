import type { RekernelError } from "../../core/errors.ts";
import { cString } from "../bytes.ts";

/** Longer than names and paths are; keeps entries that all point into one long string from exhausting memory. */
export const maxStringBytes = 4096;

/** NUL-terminated string at `offset`, cut off where it is impossibly long. */
export function boundedString(bytes: Uint8Array, offset: number): string {
  return cString(bytes.subarray(0, offset + maxStringBytes), offset);
}

/** A place in hostile bytes that moves on with each read, for formats whose fields have no fixed offsets. */
export class Cursor {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fail: (reason: string) => RekernelError;
  at: number;
  /** Reads that would pass this offset throw. */
  end: number;

  constructor(bytes: Uint8Array, fail: (reason: string) => RekernelError, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fail = fail;
    this.at = at;
    this.end = end;
    if (!(at >= 0 && at <= end && end <= bytes.length)) throw fail(`offset ${at} lies outside its section`);
  }

  /** Moves on, and gives the offset that it moved from. */
  skip(sizeBytes: number): number {
    const from = this.at;
    // Written so that a size that is not a number fails as well.
    if (!(sizeBytes >= 0 && from + sizeBytes <= this.end))
      throw this.#fail(`it ends within an entry at ${from}`);
    this.at = from + sizeBytes;
    return from;
  }

  u8(): number {
    if (this.at >= this.end) throw this.#fail(`it ends within an entry at ${this.at}`);
    return this.bytes[this.at++]!;
  }

  u16(): number {
    return this.#view.getUint16(this.skip(2), true);
  }

  u24(): number {
    return this.u8() + this.u16() * 256;
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4), true);
  }

  /** Exact up to 2^53. */
  u64(): number {
    const at = this.skip(8);
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** ULEB128; exact up to 2^53. */
  uleb(): number {
    let byte = this.u8();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 128;
    do {
      byte = this.u8();
      value += (byte & 0x7f) * scale;
      scale *= 128;
    } while (byte >= 0x80 && scale < 2 ** 77);
    if (byte >= 0x80) throw this.#fail(`a number at ${this.at} is longer than 64 bits`);
    return value;
  }

  /** SLEB128; exact within 2^53. */
  sleb(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 77; scale *= 128) {
      const byte = this.u8();
      // The last byte has the sign: taken so, no part is larger than the whole.
      if (byte < 0x80) return value + (byte & 0x40 ? byte - 0x80 : byte) * scale;
      value += (byte & 0x7f) * scale;
    }
    throw this.#fail(`a number at ${this.at} is longer than 64 bits`);
  }

  /** Passes a NUL-terminated string, and gives the offset that it begins at. */
  skipString(): number {
    const from = this.at;
    const zero = this.bytes.indexOf(0, from);
    if (zero < 0 || zero >= this.end) throw this.#fail(`a string at ${from} does not end`);
    this.at = zero + 1;
    return from;
  }
}
