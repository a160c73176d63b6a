/** What the purgatory compares memory with; native/purgatory computes the same. */
import { hash } from "node:crypto";
import type { DigestKind } from "./request.ts";

/** The bytes of a digest as native/purgatory/parameters.h wants them, at most 32. */
export function digestOf(kind: DigestKind, data: Uint8Array): Uint8Array {
  return kind === "sha256" ? hash("sha256", data, "buffer") : sumOfWords(data);
}

/**
 * Two sums over little-endian 64-bit words, modulo 2^64: that of the words, and that of all values which the
 * first one takes on the way, so that words that change places count. The last word is filled up with zeros.
 *
 * @returns 16 bytes, both sums in little-endian order
 */
function sumOfWords(data: Uint8Array): Uint8Array {
  // A copy only where a view of words cannot be: images take hundreds of megabytes.
  const { buffer, byteOffset } = data.byteOffset % 4 === 0 ? data : new Uint8Array(data);
  const whole = data.length - (data.length % 8);
  const last = new Uint8Array(8);
  last.set(data.subarray(whole));
  const parts = [new Uint32Array(buffer, byteOffset, whole / 4)];
  if (whole < data.length) parts.push(new Uint32Array(last.buffer));
  // BigInts would take a hundred times as long: each sum is kept in two halves of 32 bits.
  let [plainLow, plainHigh, weightedLow, weightedHigh] = [0, 0, 0, 0];
  for (const halves of parts)
    for (let at = 0; at < halves.length; at += 2) {
      const plain = plainLow + halves[at]!;
      plainLow = plain >>> 0;
      plainHigh = (plainHigh + halves[at + 1]! + (plain > 0xffffffff ? 1 : 0)) >>> 0;
      const weighted = weightedLow + plainLow;
      weightedLow = weighted >>> 0;
      weightedHigh = (weightedHigh + plainHigh + (weighted > 0xffffffff ? 1 : 0)) >>> 0;
    }
  return new Uint8Array(Uint32Array.of(plainLow, plainHigh, weightedLow, weightedHigh).buffer);
}
