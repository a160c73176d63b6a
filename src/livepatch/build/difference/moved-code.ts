/**
 * Functions that share a section: the assembler sizes jumps between them by their distance, so that one function's
 * instructions change, and those behind them move, when another one grows.
 */
import type { Instruction } from "../arch/instructions.ts";
import {
  isPieceTarget,
  type Piece,
  type PieceTarget,
  pieceBytes,
  type Reference,
  type SymbolTarget,
} from "../object/object.ts";

export interface MovedCode {
  /** Where the instructions of the one function, from the start of its piece, stand in the other. */
  places: ReadonlyMap<number, number>;
  /** References of the same instructions, to be compared by where they lead. */
  references: readonly (readonly [Reference, Reference])[];
}

interface PlacedInstruction extends Instruction {
  at: number;
}

/** Undefined when two functions differ in more than the sizes of jumps and the padding that follows from these. */
export function movedCode(a: Piece, b: Piece): MovedCode | undefined {
  const [allA, allB] = [instructionsOf(a), instructionsOf(b)];
  if (!allA || !allB) return undefined;
  const [bytesA, bytesB] = [pieceBytes(a), pieceBytes(b)];
  const [realA, realB] = [withoutNops(a, allA), withoutNops(b, allB)];
  if (realA.length !== realB.length) return undefined;
  const places = placesOf(allA, realA, realB, b.end - b.start);
  const [referencesOfA, referencesOfB] = [referenceReader(a), referenceReader(b)];
  const references: (readonly [Reference, Reference])[] = [];
  for (const [index, before] of realA.entries()) {
    const after = realB[index]!;
    const [own, other] = [referencesOfA(before), referencesOfB(after)];
    if (own.length !== other.length || before.kind !== after.kind) return undefined;
    for (const [position, reference] of own.entries()) {
      const counterpart = other[position]!;
      const samePlace = reference.offset - before.at === counterpart.offset - after.at;
      if (reference.branch !== counterpart.branch || (!reference.branch && !samePlace)) return undefined;
      references.push([reference, counterpart]);
    }
    if (before.branchField && after.branchField) {
      const operation = a.arch.branchOperation(bytesA, before.at, before);
      if (operation !== b.arch.branchOperation(bytesB, after.at, after)) return undefined;
      if (own.some(({ branch }) => branch)) continue;
      if (places.get(branchTarget(bytesA, before)) !== branchTarget(bytesB, after)) return undefined;
    } else if (
      Buffer.compare(
        bytesA.subarray(before.at, before.at + before.length),
        bytesB.subarray(after.at, after.at + after.length),
      ) !== 0
    )
      return undefined;
  }
  return { places, references };
}

/** A reference's target with the addend that names the place itself, whatever the size of a branch's field. */
export function placeOf({ branch, type, target }: Reference, { arch }: Piece): PieceTarget | SymbolTarget {
  if (!branch) return target;
  const addend = target.addend + (arch.fieldKind(type)?.sizeBytes ?? 0);
  return isPieceTarget(target) ? { ...target, addend } : { ...target, addend };
}

function instructionsOf(piece: Piece): PlacedInstruction[] | undefined {
  const code = pieceBytes(piece);
  const instructions: PlacedInstruction[] = [];
  for (let at = piece.entry; at < code.length; ) {
    const instruction = piece.arch.decode(code, at);
    if (!instruction) return undefined;
    instructions.push({ ...instruction, at });
    at += instruction.length;
  }
  return instructions;
}

function withoutNops(piece: Piece, instructions: readonly PlacedInstruction[]): PlacedInstruction[] {
  const code = pieceBytes(piece);
  return instructions.filter((instruction) => !piece.arch.isNop(code, instruction.at, instruction));
}

function placesOf(
  all: readonly PlacedInstruction[],
  realA: readonly PlacedInstruction[],
  realB: readonly PlacedInstruction[],
  endOfB: number,
): Map<number, number> {
  const places = new Map<number, number>();
  let index = 0;
  for (const { at } of all) {
    while (index < realA.length && realA[index]!.at < at) index++;
    places.set(at, realB[index]?.at ?? endOfB);
  }
  return places;
}

function referenceReader(piece: Piece): (instruction: PlacedInstruction) => Reference[] {
  let next = 0;
  return ({ at, length }) => {
    while (next < piece.references.length && piece.references[next]!.offset < at) next++;
    const own: Reference[] = [];
    for (; next < piece.references.length && piece.references[next]!.offset < at + length; next++)
      own.push(piece.references[next]!);
    return own;
  };
}

function branchTarget(code: Uint8Array, { at, length, branchField }: PlacedInstruction): number {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const field = at + branchField!.offset;
  return at + length + (branchField!.size === 1 ? view.getInt8(field) : view.getInt32(field, true));
}
