/**
 * LZMA and LZMA2 decoding.
 *
 * Ours because no npm library decodes what the kernel build writes (xz with the x86 BCJ filter)
 * without a native addon. Source: the LZMA specification of the LZMA SDK (lzma-specification.txt),
 * and for LZMA2 The .xz File Format 1.1, section 5.3.1.
 */
import type { RekernelError } from "../core/errors.ts";

/** Builds the error for corrupt data; the caller's format and file are named there. */
export type Fail = (reason: string) => RekernelError;

/** What a packed stream holds, and where it ends in what it was taken from. */
export interface UnpackedStream {
  data: Uint8Array;
  end: number;
}

/** Grows up to a limit, so that a small hostile input cannot claim memory it never fills. */
export class OutputBuffer {
  bytes: Uint8Array;
  length = 0;
  readonly #limit: number;
  readonly #fail: Fail;

  constructor(expectedSize: number, limit: number, fail: Fail) {
    this.#limit = limit;
    this.#fail = fail;
    this.bytes = new Uint8Array(Math.min(expectedSize, limit));
  }

  /** Makes room for `size` more bytes. */
  reserve(size: number): void {
    const needed = this.length + size;
    if (needed <= this.bytes.length) return;
    if (needed > this.#limit) throw this.#fail(`it unpacks to more than ${this.#limit} bytes`);
    const grown = new Uint8Array(Math.min(this.#limit, Math.max(needed, this.bytes.length * 2)));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  result(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}

// Places of the probability models in one array.
const isMatch = 0;
const isRep = isMatch + (12 << 4);
const isRepG0 = isRep + 12;
const isRepG1 = isRepG0 + 12;
const isRepG2 = isRepG1 + 12;
const isRep0Long = isRepG2 + 12;
const distanceSlot = isRep0Long + (12 << 4);
const distanceSpecial = distanceSlot + 4 * 64;
const distanceAlign = distanceSpecial + 128;
const matchLength = distanceAlign + 16;
// Within a length coder: two choice bits, then low and mid trees for each position state, then the high tree.
const lengthLow = 2;
const lengthMid = lengthLow + (16 << 3);
const lengthHigh = lengthMid + (16 << 3);
const repLength = matchLength + lengthHigh + 256;
const literals = repLength + lengthHigh + 256;

/** One LZMA decoder: probability models and history, over an output that is its own dictionary. */
export class LzmaDecoder {
  readonly #out: OutputBuffer;
  readonly #fail: Fail;
  #probabilities: Uint16Array = new Uint16Array(literals);
  #lc = 0;
  #literalPositionMask = 0;
  #positionMask = 0;
  #state = 0;
  #rep0 = 0;
  #rep1 = 0;
  #rep2 = 0;
  #rep3 = 0;
  /** Where the dictionary begins in the output. */
  #dictionaryStart = 0;

  #input: Uint8Array = new Uint8Array(0);
  #at = 0;
  // The range coder's 32-bit registers as signed numbers: V8 keeps those unboxed.
  #range = 0;
  #code = 0;

  constructor(out: OutputBuffer, fail: Fail) {
    this.#out = out;
    this.#fail = fail;
  }

  /** Forgets the history: matches may not reach behind this point of the output. */
  resetDictionary(): void {
    this.#dictionaryStart = this.#out.length;
  }

  /** Takes a properties byte: (pb * 5 + lp) * 9 + lc. Resets the state as well. */
  setProperties(byte: number): void {
    if (byte >= 9 * 5 * 5) throw this.#fail("its LZMA properties are invalid");
    const lc = byte % 9;
    const lp = Math.trunc(byte / 9) % 5;
    const pb = Math.trunc(byte / 45);
    this.#lc = lc;
    this.#literalPositionMask = (1 << lp) - 1;
    this.#positionMask = (1 << pb) - 1;
    const size = literals + (0x300 << (lc + lp));
    if (this.#probabilities.length !== size) this.#probabilities = new Uint16Array(size);
    this.resetState();
  }

  resetState(): void {
    this.#probabilities.fill(1024);
    this.#state = 0;
    this.#rep0 = this.#rep1 = this.#rep2 = this.#rep3 = 0;
  }

  /**
   * Decodes one range-coded run: `input` is exactly its bytes, `size` what it unpacks to
   * (undefined: up to its end marker). Returns how many bytes of input were used.
   */
  decode(input: Uint8Array, size: number | undefined): number {
    if (input.length < 5 || input[0] !== 0) throw this.#fail("an LZMA run does not begin as it must");
    this.#input = input;
    this.#range = -1;
    this.#code = (input[1]! << 24) | (input[2]! << 16) | (input[3]! << 8) | input[4]!;
    this.#at = 5;
    if (size !== undefined) {
      this.#out.reserve(size);
      if (this.#run(this.#out.length + size)) throw this.#fail("an LZMA run ends too early");
    } else {
      for (let step = 1 << 16; ; step = Math.min(step * 2, 1 << 22)) {
        this.#out.reserve(1 << 9);
        // A match may be 273 bytes long and must not straddle the end of what is reserved.
        if (this.#run(Math.min(this.#out.length + step, this.#out.bytes.length - 273), true)) break;
      }
    }
    return this.#at;
  }

  /**
   * Decodes up to output position `end`; true when the end marker was met.
   * With `overshoot` the last match may go past `end`.
   */
  #run(end: number, overshoot = false): boolean {
    const out = this.#out.bytes;
    const p = this.#probabilities;
    const input = this.#input;
    const lc = this.#lc;
    const dictionaryStart = this.#dictionaryStart;
    let position = this.#out.length;
    let state = this.#state;
    // The hottest paths (is it a match? a plain literal) keep the range coder in local variables.
    let range = this.#range;
    let code = this.#code;
    let at = this.#at;

    while (position < end) {
      if (at > input.length) throw this.#fail("an LZMA run needs more bytes than there are");
      const sinceStart = position - dictionaryStart;
      const positionState = sinceStart & this.#positionMask;

      const model = isMatch + (state << 4) + positionState;
      let probability = p[model]!;
      let bound = Math.imul(range >>> 11, probability);
      if (code >>> 0 < bound >>> 0) {
        range = bound;
        p[model] = probability + ((2048 - probability) >> 5);
        if (range >>> 24 === 0) {
          range <<= 8;
          code = (code << 8) | input[at++]!;
        }
        const previous = sinceStart > 0 ? out[position - 1]! : 0;
        const base =
          literals + 0x300 * (((sinceStart & this.#literalPositionMask) << lc) + (previous >> (8 - lc)));
        let symbol = 1;
        if (state >= 7) {
          if (this.#rep0 >= sinceStart) throw this.#fail("an LZMA distance reaches before the data");
          let matchByte = out[position - this.#rep0 - 1]!;
          do {
            const matchBit = (matchByte >> 7) & 1;
            matchByte <<= 1;
            const index = base + ((1 + matchBit) << 8) + symbol;
            probability = p[index]!;
            bound = Math.imul(range >>> 11, probability);
            let bit = 0;
            if (code >>> 0 < bound >>> 0) {
              range = bound;
              p[index] = probability + ((2048 - probability) >> 5);
              symbol <<= 1;
            } else {
              range = (range - bound) | 0;
              code = (code - bound) | 0;
              p[index] = probability - (probability >> 5);
              symbol = (symbol << 1) | 1;
              bit = 1;
            }
            if (range >>> 24 === 0) {
              range <<= 8;
              code = (code << 8) | input[at++]!;
            }
            if (bit !== matchBit) break;
          } while (symbol < 0x100);
        }
        while (symbol < 0x100) {
          const index = base + symbol;
          probability = p[index]!;
          bound = Math.imul(range >>> 11, probability);
          if (code >>> 0 < bound >>> 0) {
            range = bound;
            p[index] = probability + ((2048 - probability) >> 5);
            symbol <<= 1;
          } else {
            range = (range - bound) | 0;
            code = (code - bound) | 0;
            p[index] = probability - (probability >> 5);
            symbol = (symbol << 1) | 1;
          }
          if (range >>> 24 === 0) {
            range <<= 8;
            code = (code << 8) | input[at++]!;
          }
        }
        out[position++] = symbol;
        state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
        continue;
      }
      range = (range - bound) | 0;
      code = (code - bound) | 0;
      p[model] = probability - (probability >> 5);
      if (range >>> 24 === 0) {
        range <<= 8;
        code = (code << 8) | input[at++]!;
      }

      this.#range = range;
      this.#code = code;
      this.#at = at;
      let length: number;
      if (this.#bit(isRep + state) === 0) {
        this.#rep3 = this.#rep2;
        this.#rep2 = this.#rep1;
        this.#rep1 = this.#rep0;
        length = this.#length(matchLength, positionState);
        state = state < 7 ? 7 : 10;
        this.#rep0 = this.#distance(length);
        if (this.#rep0 === 0xffffffff) {
          this.#out.length = position;
          this.#state = state;
          return true;
        }
      } else if (this.#bit(isRepG0 + state) === 0) {
        if (this.#bit(isRep0Long + (state << 4) + positionState) === 0) {
          state = state < 7 ? 9 : 11;
          length = 1;
        } else {
          length = this.#length(repLength, positionState);
          state = state < 7 ? 8 : 11;
        }
      } else {
        let distance: number;
        if (this.#bit(isRepG1 + state) === 0) distance = this.#rep1;
        else {
          if (this.#bit(isRepG2 + state) === 0) distance = this.#rep2;
          else {
            distance = this.#rep3;
            this.#rep3 = this.#rep2;
          }
          this.#rep2 = this.#rep1;
        }
        this.#rep1 = this.#rep0;
        this.#rep0 = distance;
        length = this.#length(repLength, positionState);
        state = state < 7 ? 8 : 11;
      }
      range = this.#range;
      code = this.#code;
      at = this.#at;

      const distance = this.#rep0 + 1;
      if (distance > sinceStart) throw this.#fail("an LZMA distance reaches before the data");
      if (!overshoot && position + length > end) throw this.#fail("an LZMA run unpacks to more than it says");
      if (distance >= length && length > 32) {
        out.copyWithin(position, position - distance, position - distance + length);
        position += length;
      } else {
        for (const stop = position + length; position < stop; position++)
          out[position] = out[position - distance]!;
      }
    }
    if (at > input.length) throw this.#fail("an LZMA run needs more bytes than there are");
    this.#range = range;
    this.#code = code;
    this.#at = at;
    this.#state = state;
    this.#out.length = position;
    return false;
  }

  #bit(index: number): 0 | 1 {
    const probability = this.#probabilities[index]!;
    const bound = Math.imul(this.#range >>> 11, probability);
    let bit: 0 | 1;
    if (this.#code >>> 0 < bound >>> 0) {
      this.#range = bound;
      this.#probabilities[index] = probability + ((2048 - probability) >> 5);
      bit = 0;
    } else {
      this.#range = (this.#range - bound) | 0;
      this.#code = (this.#code - bound) | 0;
      this.#probabilities[index] = probability - (probability >> 5);
      bit = 1;
    }
    if (this.#range >>> 24 === 0) {
      this.#range <<= 8;
      this.#code = (this.#code << 8) | this.#input[this.#at++]!;
    }
    return bit;
  }

  #tree(base: number, bits: number): number {
    let symbol = 1;
    for (let i = 0; i < bits; i++) symbol = (symbol << 1) | this.#bit(base + symbol);
    return symbol - (1 << bits);
  }

  #reverseTree(base: number, bits: number): number {
    let symbol = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.#bit(base + symbol);
      symbol = (symbol << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  #length(coder: number, positionState: number): number {
    if (this.#bit(coder) === 0) return 2 + this.#tree(coder + lengthLow + (positionState << 3), 3);
    if (this.#bit(coder + 1) === 0) return 10 + this.#tree(coder + lengthMid + (positionState << 3), 3);
    return 18 + this.#tree(coder + lengthHigh, 8);
  }

  /** Distance less one; 0xffffffff is the end marker. */
  #distance(length: number): number {
    const slot = this.#tree(distanceSlot + (Math.min(length - 2, 3) << 6), 6);
    if (slot < 4) return slot;
    const directBits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** directBits;
    if (slot < 14) return base + this.#reverseTree(distanceSpecial + base - slot, directBits);
    let value = 0;
    for (let i = directBits - 4; i > 0; i--) {
      this.#range >>>= 1;
      let bit = 0;
      if (this.#code >>> 0 >= this.#range >>> 0) {
        this.#code = (this.#code - this.#range) | 0;
        bit = 1;
      }
      value = value * 2 + bit;
      if (this.#range >>> 24 === 0) {
        this.#range <<= 8;
        this.#code = (this.#code << 8) | this.#input[this.#at++]!;
      }
    }
    return base + value * 16 + this.#reverseTree(distanceAlign, 4);
  }
}

/**
 * Decodes LZMA2 chunks from `offset` up to their end marker and returns the offset behind it.
 * Output is appended to `out`.
 */
export function decodeLzma2(input: Uint8Array, offset: number, out: OutputBuffer, fail: Fail): number {
  const decoder = new LzmaDecoder(out, fail);
  let at = offset;
  let needDictionaryReset = true;
  let needProperties = true;
  let needStateReset = true;
  for (;;) {
    const control = input[at++];
    if (control === undefined) throw fail("its LZMA2 data ends too early");
    if (control === 0) return at;
    if (control >= 0xe0 || control === 1) {
      needDictionaryReset = false;
      needProperties = needProperties || control >= 0xe0;
      decoder.resetDictionary();
    } else if (needDictionaryReset) throw fail("its LZMA2 data does not begin as it must");
    if (control < 0x80) {
      if (control > 2) throw fail("an LZMA2 chunk has an unknown type");
      if (at + 2 > input.length) throw fail("its LZMA2 data ends too early");
      const size = (input[at]! << 8) + input[at + 1]! + 1;
      at += 2;
      if (at + size > input.length) throw fail("its LZMA2 data ends too early");
      out.reserve(size);
      out.bytes.set(input.subarray(at, at + size), out.length);
      out.length += size;
      at += size;
      continue;
    }
    if (at + 5 > input.length) throw fail("its LZMA2 data ends too early");
    const size = ((control & 0x1f) << 16) + (input[at]! << 8) + input[at + 1]! + 1;
    const packedSize = (input[at + 2]! << 8) + input[at + 3]! + 1;
    at += 4;
    if (control >= 0xc0) {
      decoder.setProperties(input[at++]!);
      needProperties = needStateReset = false;
    } else if (needProperties) throw fail("an LZMA2 chunk comes before its properties");
    else if (control >= 0xa0) {
      decoder.resetState();
      needStateReset = false;
    } else if (needStateReset) throw fail("an LZMA2 chunk comes before its state");
    if (at + packedSize > input.length) throw fail("its LZMA2 data ends too early");
    if (decoder.decode(input.subarray(at, at + packedSize), size) > packedSize)
      throw fail("an LZMA2 chunk needs more bytes than it has");
    at += packedSize;
  }
}

/**
 * Decodes a .lzma file ("LZMA alone"): properties byte, dictionary size, unpacked size
 * (all ones when an end marker is used), data.
 */
export function decodeLzmaAlone(input: Uint8Array, limit: number, fail: Fail): UnpackedStream {
  if (input.length < 18) throw fail("it is too short");
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const claimed = view.getBigUint64(5, true);
  const size = claimed === 0xffffffffffffffffn ? undefined : Number(claimed);
  if (size !== undefined && size > limit) throw fail(`it unpacks to more than ${limit} bytes`);
  const out = new OutputBuffer(size ?? input.length * 4, limit, fail);
  const decoder = new LzmaDecoder(out, fail);
  decoder.setProperties(input[0]!);
  const used = decoder.decode(input.subarray(13), size);
  return { data: out.result(), end: Math.min(13 + used, input.length) };
}
