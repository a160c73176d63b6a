/** Where two versions of a datum differ, in words. */

import { nameWithoutNumbers } from "../object/names.ts";
import { isPieceTarget, type Piece, pieceBytes, type Reference } from "../object/object.ts";
import { isContentOnly } from "./correlate.ts";

export interface DataDifference {
  /** In bytes from the start of the datum. */
  offset: number;
  /** What stands there: the name of a function or variable, a string in quotes, a number; "nothing". */
  before: string;
  after: string;
  /** True where the one or the other is the address of something. */
  isAddress: boolean;
}

/** Where the number begins that holds a byte of the datum, and its size. */
export type FieldAt = (offset: number) => { offset: number; sizeBytes: number } | undefined;

/** In the order of their offsets. Compares what both versions have; a datum that grew or shrank differs besides. */
export function dataDifferences(before: Piece, after: Piece, fieldAt?: FieldAt): DataDifference[] {
  const differences: DataDifference[] = [];
  const [referencesBefore, referencesAfter] = [byOffset(before), byOffset(after)];
  for (const offset of new Set([...referencesBefore.keys(), ...referencesAfter.keys()])) {
    const [a, b] = [targetText(referencesBefore.get(offset)), targetText(referencesAfter.get(offset))];
    if (a !== b) differences.push({ offset, before: shortened(a), after: shortened(b), isAddress: true });
  }
  const [bytesBefore, bytesAfter] = [contentOf(before), contentOf(after)];
  const width = wordSize(before, after);
  const end = Math.min(bytesBefore.length, bytesAfter.length);
  const covered = new Uint8Array(end);
  for (const offset of [...referencesBefore.keys(), ...referencesAfter.keys()])
    covered.fill(1, Math.min(offset, end), Math.min(offset + 8, end));
  for (let at = 0; at < end && differences.length < maxDifferences; at++) {
    if (bytesBefore[at] === bytesAfter[at] || covered[at]) continue;
    const field = fieldAt?.(at);
    const isSane = field !== undefined && field.offset >= 0 && field.offset <= at && field.sizeBytes <= 8;
    const start = isSane ? field.offset : at - (at % width);
    const size = Math.min(isSane ? field.sizeBytes : width, end - start);
    const [a, b] = [bytesBefore, bytesAfter].map((bytes) => numberText(bytes.subarray(start, start + size)));
    differences.push({ offset: start, before: a!, after: b!, isAddress: false });
    at = Math.max(at, start + size - 1);
  }
  return differences.sort((a, b) => a.offset - b.offset);
}

/** NOBITS data as the zeros that it stands for. */
function contentOf(piece: Piece): Buffer {
  const bytes = pieceBytes(piece);
  return bytes.length > 0 ? Buffer.from(bytes) : Buffer.alloc(Math.min(piece.end - piece.start, maxZeros));
}

/** More than anybody reads; keeps a large table that changes altogether from being spelt out. */
const maxDifferences = 1000;

/** What is compared of data without content of its own, which may be as large as its section says. */
const maxZeros = 1 << 20;

function wordSize(before: Piece, after: Piece): 1 | 2 | 4 | 8 {
  const size = before.end - before.start;
  if (size === 8 && after.end - after.start === 8) return 8;
  const alignment = Math.max(1, Math.min(before.section.addralign, after.section.addralign));
  if (size % 4 === 0 && alignment >= 4) return 4;
  return size % 2 === 0 && alignment >= 2 ? 2 : 1;
}

function numberText(bytes: Buffer): string {
  const value = BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
  const signed = BigInt.asIntN(bytes.length * 8, value);
  return signed > -0x10000n && signed < 0x10000n ? String(signed) : `0x${value.toString(16)}`;
}

function byOffset(piece: Piece): Map<number, Reference> {
  return new Map(piece.references.map((reference) => [reference.offset, reference]));
}

function targetText(reference: Reference | undefined): string {
  if (!reference) return "nothing";
  const { target } = reference;
  if (!isPieceTarget(target)) return withDistance(target.symbol, target.addend);
  const distance = target.addend - target.piece.entry;
  if (!isContentOnly(target.piece)) return withDistance(nameWithoutNumbers(target.piece.name), distance);
  return textOf(target.piece, distance) ?? withDistance(target.piece.name, distance);
}

function withDistance(name: string, distance: number): string {
  return distance === 0 ? name : `${name}${distance > 0 ? "+" : ""}${distance}`;
}

/** A string in quotes, where the piece is one. */
function textOf(piece: Piece, from: number): string | undefined {
  const text = Buffer.from(pieceBytes(piece))
    .subarray(Math.max(from, 0))
    .toString("latin1")
    .replace(/\0$/, "");
  return /^[\x20-\x7e\n\t]+$/.test(text) ? JSON.stringify(text) : undefined;
}

function shortened(text: string): string {
  return text.length > 44 ? `${text.slice(0, 40)}..."` : text;
}
