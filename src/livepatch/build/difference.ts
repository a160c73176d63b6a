/**
 * The difference between two objects of one translation unit. Pure: objects in, a verdict out.
 *
 * A function counts as changed when its bytes, what its relocations refer to, the entries of the
 * kernel's tables that belong to it, or read-only data that it reads differ.
 */
import { type Correlation, correlate, isContentOnly } from "./correlate.ts";
import { dataFindings } from "./data-changes.ts";
import type { Caution, Problem } from "./finding.ts";
import {
  isPieceTarget,
  type Piece,
  type PieceTarget,
  pieceBytes,
  type Reference,
  type SymbolTarget,
  type TableEntry,
  type UnitObject,
} from "./object.ts";

export interface ChangedFunction {
  original: Piece;
  patched: Piece;
  /** In the words of a report: "its instructions differ". */
  reason: string;
}

export interface Difference {
  verdict: "patchable" | "unchanged" | "refused";
  changed: readonly ChangedFunction[];
  /** Functions that only the patched object has; those that nothing refers to are left out of the module. */
  newFunctions: readonly Piece[];
  removedFunctions: readonly Piece[];
  problems: readonly Problem[];
  cautions: readonly Caution[];
  correlation: Correlation;
  /** Equal bytes that refer to equal things. */
  sameContent(original: Piece, patched: Piece): boolean;
}

export function differenceOf(original: UnitObject, patched: UnitObject): Difference {
  const correlation = correlate(original, patched);
  const comparison = new Comparison(correlation);
  const changed: ChangedFunction[] = [];
  const newFunctions: Piece[] = [];
  const problems: Problem[] = [];
  const reasons = new Map<Piece, string>();

  for (const piece of patched.pieces) {
    if (piece.role !== "code" && piece.role !== "initCode") continue;
    const before = correlation.originalOf.get(piece);
    if (!before) {
      if (piece.role === "code") newFunctions.push(piece);
      continue;
    }
    const reason = comparison.functionDifference(before, piece);
    if (reason !== undefined) reasons.set(piece, reason);
  }
  // A .cold part is the tail of its function: whoever replaces the one replaces the other.
  for (const piece of [...reasons.keys(), ...newFunctions]) {
    const parent = coldParent(piece, patched);
    if (parent && correlation.originalOf.has(parent) && !reasons.has(parent))
      reasons.set(parent, `its cold part ${piece.name} changed`);
  }
  const sameContent = (a: Piece, b: Piece) => comparison.sameContent(a, b);
  const data = dataFindings(original, patched, correlation, sameContent);
  // What ran at the start and reads data that changes is no matter of its own where the data cannot be carried.
  const held = new Set(data.problems.map(({ subject }) => `it reads ${subject}, whose content changed`));
  for (const [piece, reason] of reasons) {
    if (piece.role === "initCode" && held.has(reason)) continue;
    const before = correlation.originalOf.get(piece)!;
    if (piece.role === "initCode") problems.push(initChange(piece));
    else if (!coldParent(piece, patched)) changed.push({ original: before, patched: piece, reason });
  }
  changed.sort(
    (a, b) => a.patched.section.index - b.patched.section.index || a.patched.start - b.patched.start,
  );
  const removedFunctions = original.pieces.filter(
    (piece) => piece.role === "code" && !correlation.patchedOf.has(piece),
  );
  problems.push(...changed.flatMap(functionProblems), ...data.problems);

  const verdict = problems.length > 0 ? "refused" : changed.length > 0 ? "patchable" : "unchanged";
  return {
    verdict,
    changed,
    newFunctions: newFunctions.filter((piece) => !coldParent(piece, patched)),
    removedFunctions,
    problems,
    cautions: data.cautions,
    correlation,
    sameContent,
  };
}

/** The function whose unlikely tail `piece` is (gcc: `f.cold`, `f.cold.1`). */
export function coldParent(piece: Piece, object: UnitObject): Piece | undefined {
  const match = /^(.*)\.cold(\.\d+)?$/.exec(piece.name);
  return match?.[1] === undefined ? undefined : object.byName.get(match[1]);
}

class Comparison {
  readonly #correlation: Correlation;
  readonly #equalContent = new Map<Piece, Map<Piece, boolean>>();

  constructor(correlation: Correlation) {
    this.#correlation = correlation;
  }

  /** Undefined when the functions are the same. */
  functionDifference(a: Piece, b: Piece): string | undefined {
    // A function that shares its section has padding of its neighbours around it, which is not its own.
    const [bytesA, bytesB] = [pieceBytes(a), pieceBytes(b)];
    if (bytesA.length !== bytesB.length)
      return `its size changes from ${bytesA.length - a.entry} to ${bytesB.length - b.entry} bytes`;
    if (Buffer.compare(bytesA, bytesB) !== 0) return "its instructions differ";
    const reference = this.#referenceDifference(a.references, b.references);
    if (reference) return reference;
    return this.#tableDifference(a, b);
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
      Buffer.compare(pieceBytes(a), pieceBytes(b)) === 0 &&
      this.#referenceDifference(a.references, b.references) === undefined;
    results.set(b, equal);
    return equal;
  }

  #tableDifference(a: Piece, b: Piece): string | undefined {
    const namesOf = (entries: readonly TableEntry[]) => entries.map((entry) => entry.section.name);
    const [before, after] = [namesOf(a.tableEntries), namesOf(b.tableEntries)];
    if (before.join() !== after.join()) {
      const name =
        after.find((section, index) => section !== before[index]) ??
        before.find((section, index) => section !== after[index]);
      return `its entries in ${name} differ`;
    }
    for (const [index, entry] of a.tableEntries.entries()) {
      const other = b.tableEntries[index]!;
      if (Buffer.compare(functionalBytes(entry), functionalBytes(other)) !== 0)
        return `its entries in ${entry.section.name} differ`;
      const reference = this.#referenceDifference(entry.references, other.references);
      if (reference) return `in ${entry.section.name} ${reference}`;
    }
    return undefined;
  }

  #referenceDifference(a: readonly Reference[], b: readonly Reference[]): string | undefined {
    if (a.length !== b.length) return "it refers to more or fewer things than before";
    for (const [index, before] of a.entries()) {
      const after = b[index]!;
      if (before.offset !== after.offset || before.type !== after.type) return "its relocations differ";
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
      if (a.addend === b.addend && a.piece.role === b.piece.role && this.sameContent(a.piece, b.piece))
        return undefined;
      return a.piece.role === "auxiliaryCode"
        ? "its alternative instructions differ"
        : `it reads other constants (${describe(a.piece)} becomes ${describe(b.piece)})`;
    }
    if (
      this.#correlation.patchedOf.get(a.piece) !== b.piece ||
      distanceFromSymbol(a) !== distanceFromSymbol(b)
    )
      return `it refers to ${b.piece.name} instead of ${a.piece.name}`;
    if (a.piece.role === "readOnlyData" && !this.sameContent(a.piece, b.piece))
      return `it reads ${b.piece.name}, whose content changed`;
    return undefined;
  }
}

/**
 * An entry's bytes without what only tells where the source stood: the line in struct bug_entry
 * (include/asm-generic/bug.h: two 4-byte displacements, u16 line, u16 flags).
 */
function functionalBytes(entry: TableEntry): Uint8Array {
  const bytes = pieceBytes(entry);
  if (entry.section.name !== "__bug_table" || bytes.length !== 12 || entry.references.length !== 2)
    return bytes;
  return Uint8Array.from(bytes, (byte, index) => (index === 8 || index === 9 ? 0 : byte));
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

function initChange(piece: Piece): Problem {
  return {
    code: "RK-INIT-CHANGE",
    message: `${piece.name} changes, but it lies in ${piece.section.name}: it has run already and is gone, or runs only when the module is removed.`,
    hint: "Leave the change to __init and __exit code out of the live patch, or do its work in a callback.",
    subject: piece.name,
    section: piece.section.name,
  };
}

/** What a single changed function can be refused for without any kernel at hand. */
function functionProblems({ patched }: ChangedFunction): Problem[] {
  if (!patched.shared) return [];
  return [
    {
      code: "RK-SHARED-SECTION",
      message: `${patched.name} changes, but it lies in ${patched.section.name} together with other functions, to which it may jump without a relocation.`,
      hint: "Functions of such sections (noinstr, entry, scheduler text) cannot be replaced yet; fix the defect in a caller instead.",
    },
  ];
}
