/**
 * The difference between two objects of one translation unit. Pure: objects in, a verdict out.
 *
 * A function counts as changed when its bytes, what its relocations refer to, the entries of the
 * kernel's tables that belong to it, or read-only data that it reads differ.
 */

import type { Caution, Problem } from "../finding.ts";
import { isPieceTarget, type Piece, type UnitObject } from "../object/object.ts";
import { isInitData, isOrdinaryData } from "../object/sections.ts";
import { Comparison } from "./comparison.ts";
import { type Correlation, correlate } from "./correlate.ts";
import { type DataNames, dataFindings } from "./data-changes.ts";

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

/** @param names what debug information of the original says about its data */
export function differenceOf(original: UnitObject, patched: UnitObject, names?: DataNames): Difference {
  const all = correlate(original, patched);
  const correlation = withoutKeptCode(all);
  const comparison = new Comparison(correlation);
  // What ran at the start is done, whichever of the two it called or pointed to.
  const atStart = correlation === all ? comparison : new Comparison(all);
  const changed: ChangedFunction[] = [];
  const newFunctions: Piece[] = [];
  const problems: Problem[] = [];
  const reasons = new Map<Piece, string>();

  for (const piece of patched.pieces) {
    if (piece.role !== "code" && piece.role !== "initCode") continue;
    const before = correlation.originalOf.get(piece);
    if (!before) {
      if (piece.role === "code") newFunctions.push(piece);
      // A name with a dot is the compiler's: a part or a copy of what has another one.
      else if (piece.named && !piece.name.includes(".")) problems.push(newInit(piece));
      continue;
    }
    const reason = (piece.role === "initCode" ? atStart : comparison).functionDifference(before, piece);
    if (reason !== undefined) reasons.set(piece, reason);
  }
  // A .cold part is the tail of its function: whoever replaces the one replaces the other.
  for (const piece of [...reasons.keys(), ...newFunctions]) {
    const parent = coldParent(piece, patched);
    if (parent && correlation.originalOf.has(parent) && !reasons.has(parent))
      reasons.set(parent, `its cold part ${piece.name} changed`);
  }
  const sameContent = (a: Piece, b: Piece) => comparison.sameContent(a, b);
  const isKept = (piece: Piece) => piece.role === "initCode" && all.patchedOf.get(piece)?.role === "code";
  const sameData = (a: Piece, b: Piece) =>
    (isInitData(a.section.name) ? atStart : comparison).sameContent(a, b);
  const data = dataFindings(original, patched, correlation, sameData, names);
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
  problems.push(...data.problems);
  for (const piece of patched.pieces) {
    const { role, section } = piece;
    if (role !== "data" || !isOrdinaryData(section.name) || isInitData(section.name)) continue;
    const before = correlation.originalOf.get(piece);
    if (!before) continue;
    const into = pointsInto(piece, (code) => reasons.has(code));
    if (into) problems.push(labelsOfChanged(piece, into));
    const freed = before.references.find(({ target }) => isPieceTarget(target) && isKept(target.piece));
    if (freed && isPieceTarget(freed.target)) problems.push(leadsToFreed(piece, freed.target.piece));
  }

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

/** Code that is `__init` no longer is new to the running kernel, which has freed the old one. */
function withoutKeptCode(correlation: Correlation): Correlation {
  const kept = [...correlation.patchedOf].filter(([a, b]) => a.role === "initCode" && b.role === "code");
  if (kept.length === 0) return correlation;
  const [patchedOf, originalOf] = [new Map(correlation.patchedOf), new Map(correlation.originalOf)];
  for (const [a, b] of kept) {
    patchedOf.delete(a);
    originalOf.delete(b);
  }
  return { patchedOf, originalOf };
}

/** The function whose unlikely tail `piece` is (gcc: `f.cold`, `f.cold.1`). */
export function coldParent(piece: Piece, object: UnitObject): Piece | undefined {
  const match = /^(.*)\.cold(\.\d+)?$/.exec(piece.name);
  return match?.[1] === undefined ? undefined : object.byName.get(match[1]);
}

/** The function that a datum holds addresses within (&&label, a switch's table), as opposed to its own address. */
export function pointsInto(piece: Piece, isMeant: (code: Piece) => boolean): Piece | undefined {
  for (const { target } of piece.references)
    if (isPieceTarget(target) && target.addend !== target.piece.entry && isMeant(target.piece))
      return target.piece;
  return undefined;
}

function labelsOfChanged(table: Piece, code: Piece): Problem {
  return {
    code: "RK-DATA-CHANGE",
    message: `${table.name} holds addresses of labels within ${code.name}, which changes: the running kernel's ${table.name} leads into the old one.`,
    hint: `Declare ${table.name} const, so that it comes along with the function, or use a switch.`,
    section: table.section.name,
  };
}

function leadsToFreed(holder: Piece, code: Piece): Problem {
  return {
    code: "RK-DATA-CHANGE",
    message: `${holder.name} leads to ${code.name}, which was in ${code.section.name} and no longer is: the running kernel's ${holder.name} holds the address of code that is gone.`,
    hint: `Set the pointer in ${holder.name} from a callback, to a function with a name of its own.`,
    section: holder.section.name,
  };
}

function newInit(piece: Piece): Problem {
  return {
    code: "RK-INIT-CHANGE",
    message: `${piece.name} is new, and lies in ${piece.section.name}: what calls it has run already, or runs only when the module is removed.`,
    hint: "Leave new __init and __exit code out of the live patch, or do its work in a callback.",
    subject: piece.name,
    section: piece.section.name,
  };
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
