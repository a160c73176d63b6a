/**
 * The words of a unit's preprocessed text, in little space: what a header changes is looked for among them. Pure.
 *
 * They go by 24 bits of a hash, so that a count may be too high, and is never too low.
 */
import { createHash } from "node:crypto";

/** For each hash in rising order (its distance from the one before << 4 | its count), 7 bits in each byte, the low ones first. */
export type WordCounts = Uint8Array;

/** What is counted at most: so often, or more, or a macro in use. */
const many = 15;

/**
 * @param text what `gcc -E -P -dU` makes: with a line `#define` or `#undef` for each macro where it is first expanded,
 *   or asked for by #ifdef
 */
export function wordCounts(text: Uint8Array): WordCounts {
  // Each slot: a hash, and how often. Zero is a free slot: a word that is there counts at least once.
  let slots = new Uint32Array(1 << 16);
  let used = 0;
  const count = (hash: number, by: number): void => {
    let at = hash & (slots.length - 1);
    for (;;) {
      const slot = slots[at]!;
      if (slot === 0) break;
      if (slot >>> 8 === hash) {
        slots[at] = (hash << 8) | Math.min(many, (slot & 255) + by);
        return;
      }
      at = (at + 1) & (slots.length - 1);
    }
    slots[at] = (hash << 8) | by;
    if (2 * ++used < slots.length) return;
    const before = slots;
    slots = new Uint32Array(2 * before.length);
    used = 0;
    for (const slot of before) if (slot !== 0) count(slot >>> 8, slot & 255);
  };
  let lineStart = true;
  for (let i = 0; i < text.length; ) {
    const c = text[i]!;
    if (isWordByte[c] === 1) {
      let hash = basis;
      for (; isWordByte[text[i]!] === 1; i++) hash = Math.imul(hash ^ text[i]!, prime);
      count(hash >>> 8, 1);
      lineStart = false;
    } else if (c === 35 /* # */ && lineStart) {
      // "#define NAME" or "#undef NAME". What stands in the body is in the text where it is expanded.
      let at = i + 1;
      while (isWordByte[text[at]!] === 1) at++;
      while (text[at] === 32) at++;
      let hash = basis;
      for (; isWordByte[text[at]!] === 1; at++) hash = Math.imul(hash ^ text[at]!, prime);
      count(hash >>> 8, many);
      i = endOfLine(text, i);
    } else {
      if (c === 10) lineStart = true;
      else if (c !== 32 && c !== 9) lineStart = false;
      i++;
    }
  }
  const packed: number[] = [];
  let last = 0;
  for (const slot of slots.filter((one) => one !== 0).sort()) {
    const hash = slot >>> 8;
    let value = (hash - last) * 16 + (slot & 255);
    for (; value >= 128; value = Math.floor(value / 128)) packed.push((value & 127) | 128);
    packed.push(value);
    last = hash;
  }
  return Uint8Array.from(packed);
}

/** How often each of these words stands in the text, at most: infinite where it is often, or a macro in use. */
export function countsOf(words: WordCounts, wanted: readonly string[]): number[] {
  const hashes = wanted.map(hashOf);
  const found = new Map<number, number>(hashes.map((hash) => [hash, 0]));
  let hash = 0;
  for (let i = 0; i < words.length; ) {
    let value = 0;
    let scale = 1;
    for (; i < words.length && words[i]! >= 128; i++, scale *= 128) value += (words[i]! & 127) * scale;
    value += (words[i++] ?? 0) * scale;
    hash += Math.floor(value / 16);
    if (found.has(hash)) found.set(hash, value % 16 === many ? Number.POSITIVE_INFINITY : value % 16);
  }
  return hashes.map((one) => found.get(one)!);
}

/** Tells texts apart, whatever their white space, and whether `-dU` added its lines or not. */
export function fingerprint(text: Uint8Array): string {
  const kept = new Uint8Array(text.length + 1);
  let length = 0;
  let lineStart = true;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (lineStart && c === 35 && isMacroLine(text, i)) {
      i = endOfLine(text, i);
      continue;
    }
    const blank = c === 32 || (c >= 9 && c <= 13);
    lineStart = c === 10 || (lineStart && blank);
    if (!blank) kept[length++] = c;
    else if (length > 0 && kept[length - 1] !== 32) kept[length++] = 32;
  }
  if (kept[length - 1] === 32) length--;
  return createHash("sha256").update(kept.subarray(0, length)).digest("hex");
}

const macroLines = ["#define ", "#undef "].map((start) => Buffer.from(start));

function isMacroLine(text: Uint8Array, at: number): boolean {
  return macroLines.some((start) => start.every((byte, i) => text[at + i] === byte));
}

const isWordByte = Uint8Array.from({ length: 256 }, (_, code) =>
  /[\w$]/.test(String.fromCharCode(code)) ? 1 : 0,
);

function endOfLine(text: Uint8Array, from: number): number {
  const end = text.indexOf(10, from);
  return end < 0 ? text.length : end;
}

/** FNV-1a, of which 24 bits are taken. */
const basis = 0x811c9dc5;
const prime = 0x01000193;

function hashOf(word: string): number {
  return [...Buffer.from(word, "latin1")].reduce((hash, byte) => Math.imul(hash ^ byte, prime), basis) >>> 8;
}
