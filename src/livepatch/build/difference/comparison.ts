/** Whether two pieces of one unit's objects, one from each, are the same thing to a running kernel. */
import type { Architecture } from "../arch/architecture.ts";
import { isBookkeeping, variableName } from "../object/names.ts";
import {
  isPieceTarget,
  type Piece,
  type PieceTarget,
  pieceBytes,
  type Reference,
  type SymbolTarget,
  type TableEntry,
} from "../object/object.ts";
import { isHintForObjtool } from "../object/sections.ts";
import { type Correlation, isContentOnly } from "./correlate.ts";
import { lineMoves, sourceFileAt, textWithoutLines } from "./line-operands.ts";
import { movedCode, placeOf } from "./moved-code.ts";

export class Comparison {
  readonly #correlation: Correlation;
  readonly #equalContent = new Map<Piece, Map<Piece, boolean>>();
  #timesMoved: ReadonlyMap<number, number> | undefined;
  /** Of functions whose instructions stand elsewhere than before, and are the same. */
  readonly #places = new Map<Piece, ReadonlyMap<number, number>>();

  constructor(correlation: Correlation) {
    this.#correlation = correlation;
  }

  /** Why two functions differ; undefined when they are the same. */
  functionDifference(a: Piece, b: Piece): string | undefined {
    // A function that shares its section has padding of its neighbours around it, which is not its own.
    const [bytesA, bytesB] = [pieceBytes(a), pieceBytes(b)];
    const isSameSize = bytesA.length === bytesB.length;
    if (!isSameSize || (Buffer.compare(bytesA, bytesB) !== 0 && !this.#onlyLinesDiffer(a, b))) {
      const moved = a.shared || b.shared ? movedCode(a, b) : undefined;
      if (!moved)
        return isSameSize
          ? "its instructions differ"
          : `its size changes from ${bytesA.length - a.entry} to ${bytesB.length - b.entry} bytes`;
      this.#places.set(a, moved.places);
      for (const [before, after] of moved.references) {
        if (!before.branch && a.arch.plainType(before.type) !== a.arch.plainType(after.type))
          return "its relocations differ";
        const difference = this.#targetDifference(placeOf(before, a), placeOf(after, b));
        if (difference) return difference;
      }
      return this.#tableDifference(a, b);
    }
    return this.#referenceDifference(a.references, b.references, a.arch) ?? this.#tableDifference(a, b);
  }

  /** Numbers that may be lines, and may be others, are lines where another one of the unit moves just as far. */
  #onlyLinesDiffer(a: Piece, b: Piece): boolean {
    const lines = lineMoves(a, b);
    if (!lines) return false;
    if (lines.isCertain) return true;
    this.#timesMoved ??= this.#movesOfUnit();
    return lines.moves.every((move) => (this.#timesMoved?.get(move) ?? 0) > 1);
  }

  #movesOfUnit(): Map<number, number> {
    const times = new Map<number, number>();
    for (const [a, b] of this.#correlation.patchedOf)
      if (a.role === "code" && a.end - a.start === b.end - b.start)
        for (const move of lineMoves(a, b)?.moves ?? []) times.set(move, (times.get(move) ?? 0) + 1);
    return times;
  }

  /** Equal bytes that refer to equal things: how strings, tables and replacements are told apart. */
  sameContent(a: Piece, b: Piece): boolean {
    const known = this.#equalContent.get(a)?.get(b);
    if (known !== undefined) return known;
    const results = this.#equalContent.get(a) ?? new Map<Piece, boolean>();
    this.#equalContent.set(a, results);
    // Data may refer to itself in a circle: equal until a difference is found.
    results.set(b, true);
    const equal =
      a.end - a.start === b.end - b.start &&
      Buffer.compare(functionalData(a), functionalData(b)) === 0 &&
      this.#referenceDifference(a.references, b.references, a.arch) === undefined &&
      this.#tableDifference(a, b) === undefined;
    results.set(b, equal);
    return equal;
  }

  #tableDifference(a: Piece, b: Piece): string | undefined {
    const functional = ({ section }: TableEntry) => !isHintForObjtool(section.name);
    const [entriesA, entriesB] = [a.tableEntries.filter(functional), b.tableEntries.filter(functional)];
    for (let index = 0; index < Math.max(entriesA.length, entriesB.length); index++) {
      const [before, after] = [entriesA[index], entriesB[index]];
      if (!before || !after || before.section.name !== after.section.name)
        return `its entries in ${(after ?? before!).section.name} differ`;
      if (Buffer.compare(functionalEntry(before), functionalEntry(after)) !== 0)
        return `its entries in ${before.section.name} differ`;
      const reference = this.#referenceDifference(before.references, after.references, a.arch);
      if (reference) return `in ${before.section.name} ${reference}`;
    }
    return undefined;
  }

  #referenceDifference(
    a: readonly Reference[],
    b: readonly Reference[],
    arch: Architecture,
  ): string | undefined {
    if (a.length !== b.length) return "it refers to more or fewer things than before";
    for (const [index, before] of a.entries()) {
      const after = b[index]!;
      if (before.offset !== after.offset || arch.plainType(before.type) !== arch.plainType(after.type))
        return "its relocations differ";
      const difference = this.#targetDifference(before.target, after.target);
      if (difference) return difference;
    }
    return undefined;
  }

  #targetDifference(a: PieceTarget | SymbolTarget, b: PieceTarget | SymbolTarget): string | undefined {
    if (!isPieceTarget(a) || !isPieceTarget(b)) {
      const same = targetName(a) === targetName(b) && distanceFromSymbol(a) === distanceFromSymbol(b);
      return same ? undefined : `it refers to ${targetName(b)} instead of ${targetName(a)}`;
    }
    if (isContentOnly(a.piece) || isContentOnly(b.piece)) {
      if (a.addend === b.addend && a.piece.role === b.piece.role) {
        if (this.sameContent(a.piece, b.piece)) return undefined;
        const text = a.piece.role === "readOnlyData" ? textWithoutLines(a.piece) : undefined;
        if (text !== undefined && text === textWithoutLines(b.piece)) return undefined;
      }
      return a.piece.role === "auxiliaryCode"
        ? "its alternative instructions differ"
        : `it reads other constants (${describe(a.piece)} becomes ${describe(b.piece)})`;
    }
    if (!this.#samePlace(a, b) || !this.#sameThing(a.piece, b.piece))
      return `it refers to ${b.piece.name} instead of ${a.piece.name}`;
    if (a.piece.role === "readOnlyData" && !this.sameContent(a.piece, b.piece))
      return `it reads ${b.piece.name}, whose content changed`;
    return undefined;
  }

  #samePlace(a: PieceTarget, b: PieceTarget): boolean {
    const place = this.#places.get(a.piece)?.get(a.addend);
    return place === undefined ? distanceFromSymbol(a) === distanceFromSymbol(b) : place === b.addend;
  }

  #sameThing(a: Piece, b: Piece): boolean {
    if (this.#correlation.patchedOf.get(a) === b) return true;
    // One flag of WARN_ONCE() or one lock class is as good as another that nothing else claims.
    return (
      isBookkeeping(a.name) &&
      variableName(a.name) === variableName(b.name) &&
      !this.#correlation.patchedOf.has(a) &&
      !this.#correlation.originalOf.has(b)
    );
  }
}

/**
 * An entry's bytes without what only tells where the source stood: the line in struct bug_entry, whose last fields are
 * `unsigned short line, flags` behind the displacements of the place, the file and since 6.19 the format
 * (include/asm-generic/bug.h). Without CONFIG_DEBUG_BUGVERBOSE there is one displacement and no line.
 */
function functionalEntry(entry: TableEntry): Uint8Array {
  const bytes = pieceBytes(entry);
  if (entry.section.name !== "__bug_table" || entry.references.length < 2 || bytes.length < 12) return bytes;
  const line = bytes.length - 4;
  return Uint8Array.from(bytes, (byte, index) => (index === line || index === line + 1 ? 0 : byte));
}

/**
 * A datum's bytes, the same way: what the sanitizers note about a place in the source begins with struct
 * source_location { const char *file; u32 line, column; } (lib/ubsan.h).
 */
function functionalData(piece: Piece): Uint8Array {
  const bytes = pieceBytes(piece);
  if (piece.role !== "data" || piece.named || bytes.length < 16) return bytes;
  const [first] = piece.references;
  if (first?.offset !== 0 || !isPieceTarget(first.target)) return bytes;
  if (sourceFileAt(first.target.piece, first.target.addend) === undefined) return bytes;
  return Uint8Array.from(bytes, (byte, index) => (index >= 8 && index < 16 ? 0 : byte));
}

function targetName(target: PieceTarget | SymbolTarget): string {
  return isPieceTarget(target) ? target.piece.name : target.symbol;
}

/** Padding before a function may grow or shrink; what counts is the distance from its symbol. */
function distanceFromSymbol(target: PieceTarget | SymbolTarget): number {
  return isPieceTarget(target) ? target.addend - target.piece.entry : target.addend;
}

/** A string for people: its text where it is one. */
function describe(piece: Piece): string {
  const text = Buffer.from(pieceBytes(piece)).toString("latin1").replace(/\0$/, "");
  return /^[\x20-\x7e\n\t]+$/.test(text)
    ? JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text)
    : piece.name;
}
