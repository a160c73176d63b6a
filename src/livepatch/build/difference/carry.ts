/**
 * Functions that livepatch cannot redirect, because they have no ftrace call at their entry (`static inline`
 * functions that the compiler kept, such as the bodies of system calls), are replaced through their callers.
 */
import { STB_LOCAL } from "../../../formats/elf/constants.ts";
import type { Problem } from "../finding.ts";
import { isWithin } from "../module/inclusion.ts";
import { isPieceTarget, type Piece, type UnitObject } from "../object/object.ts";
import { type ChangedFunction, coldParent, type Difference } from "./difference.ts";

/**
 * Livepatch redirects a function at its ftrace call (kernel/livepatch/patch.c): it needs one at its entry. Where objtool
 * or recordmcount has made a NOP of the call already, the list of such places still names it.
 */
export function isHookable(piece: Piece): boolean {
  const { symbol, field, maxOffset } = piece.arch.tracerCall;
  const isAtEntry = (offset: number) => offset >= piece.entry && offset - piece.entry <= maxOffset;
  return (
    piece.references.some(
      ({ target, offset }) => !isPieceTarget(target) && target.symbol === symbol && isAtEntry(offset - field),
    ) ||
    piece.tableEntries.some(({ section, references }) => {
      const place = section.name === "__mcount_loc" ? references[0]?.target : undefined;
      return place !== undefined && isPieceTarget(place) && place.piece === piece && isAtEntry(place.addend);
    })
  );
}

export interface Carried {
  difference: Difference;
  /** Changed functions of the patched object that go into the module for their callers. */
  carried: ReadonlySet<Piece>;
  /** Of those, the ones that other units may call: their callers there have to be replaced as well. */
  outward: readonly ChangedFunction[];
  /** Names of init or exit functions that call a carried function: they are not replaced. */
  initCallers: readonly { caller: string; callee: string }[];
  problems: readonly Problem[];
}

/**
 * Puts the callers of each changed function that cannot be hooked in its place.
 *
 * @param more functions that have to be replaced for reasons outside of this unit
 */
export function carryThroughCallers(
  difference: Difference,
  original: UnitObject,
  patched: UnitObject,
  more: readonly ChangedFunction[] = [],
): Carried {
  const changed = new Map<Piece, ChangedFunction>();
  const carried = new Set<Piece>();
  const outward: ChangedFunction[] = [];
  const initCallers: { caller: string; callee: string }[] = [];
  const problems = new Map<Piece, Problem>();
  const queue = [...difference.changed, ...more];
  for (let change = queue.shift(); change; change = queue.shift()) {
    const { original: before, patched: after } = change;
    if (changed.has(after) || carried.has(after) || problems.has(before)) continue;
    if (isHookable(before)) {
      changed.set(after, change);
      continue;
    }
    const callers = directCallers(before, original);
    const callersAfter = directCallers(after, patched);
    const holder = callers.holder ?? callersAfter.holder;
    const isLocal = before.symbols[0]?.bind === STB_LOCAL;
    if (holder !== undefined) {
      problems.set(
        before,
        notHookable(before, `${holder} holds its address, so that not all its callers are known`),
      );
      continue;
    }
    if (isLocal && callers.functions.length === 0) {
      problems.set(before, notHookable(before, "nothing in its unit calls it"));
      continue;
    }
    carried.add(after);
    if (!isLocal) outward.push(change);
    for (const caller of callers.functions) {
      if (caller.role === "initCode") {
        initCallers.push({ caller: caller.name, callee: before.name });
        continue;
      }
      const now = difference.correlation.patchedOf.get(caller);
      // A caller that is gone, or calls something else now, is changed for that reason already.
      if (now) queue.push({ original: caller, patched: now, reason: callsUnhookable(before.name) });
    }
  }
  const list = [...changed.values()].sort(
    (a, b) => a.patched.section.index - b.patched.section.index || a.patched.start - b.patched.start,
  );
  return {
    difference: { ...difference, changed: list },
    carried,
    outward,
    initCallers,
    problems: [...problems.values()],
  };
}

/** Why a function is replaced that does not change itself. */
export function callsUnhookable(name: string): string {
  return `it calls ${name}, which ftrace cannot hook`;
}

/** The functions whose code or table entries refer to auxiliary code. */
function ownersOf(auxiliary: Piece, object: UnitObject): Piece[] {
  return object.pieces
    .filter((piece) =>
      [piece.references, ...piece.tableEntries.map((entry) => entry.references)]
        .flat()
        .some(({ target }) => isPieceTarget(target) && target.piece === auxiliary),
    )
    .map((piece) => coldParent(piece, object) ?? piece);
}

/** Functions that call or jump to `piece`; `holder` is what takes its address, so that others may call it. */
function directCallers(piece: Piece, object: UnitObject): { functions: Piece[]; holder?: string } {
  const callers = new Set<Piece>();
  for (const other of object.pieces) {
    if (other === piece) continue;
    // A switch table points into the function, not to it.
    const toPiece = other.references.filter(
      ({ target }) =>
        isPieceTarget(target) && target.piece === piece && !isWithin(piece, target.addend, other),
    );
    if (toPiece.length === 0) continue;
    if (other.role === "auxiliaryCode" && toPiece.every(({ branch }) => branch)) {
      // Fixups and replacements of alternatives are parts of the functions that have them.
      for (const owner of ownersOf(other, object)) if (owner !== piece) callers.add(owner);
      continue;
    }
    const parent = coldParent(other, object);
    if (parent === piece) continue;
    const isCode = other.role === "code" || other.role === "initCode";
    if (!isCode || toPiece.some(({ branch }) => !branch))
      return { functions: [], holder: (parent ?? other).name };
    callers.add(parent ?? other);
  }
  return { functions: [...callers] };
}

/** The refusal of a changed function that can neither be replaced nor carried by its callers. */
export function notHookable(piece: Piece, reason: string): Problem {
  return {
    code: "RK-NO-FENTRY",
    message: `${piece.name} changes, but ftrace cannot hook it (notrace, noinstr, or compiled without -mfentry), so livepatch cannot replace it; nor can its callers be replaced instead: ${reason}.`,
    hint: "Fix the defect in the functions that call it.",
    subject: piece.name,
  };
}
