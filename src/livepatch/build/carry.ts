/**
 * Functions that livepatch cannot redirect, because they have no ftrace call at their entry (`static inline`
 * functions that the compiler kept, such as the bodies of system calls), are replaced through their callers.
 */
import { STB_LOCAL } from "../../formats/elf/constants.ts";
import { fentrySymbol, maxFentryOffset } from "./arch/x86_64.ts";
import { type ChangedFunction, coldParent, type Difference } from "./difference.ts";
import type { Problem } from "./finding.ts";
import { isPieceTarget, type Piece, type UnitObject } from "./object.ts";

/**
 * Livepatch redirects a function at its ftrace call (kernel/livepatch/patch.c): it needs one at its entry. Where objtool
 * or recordmcount has made a NOP of the call already, the list of such places still names it.
 */
export function isHookable(piece: Piece): boolean {
  const isAtEntry = (offset: number) => offset >= piece.entry && offset - piece.entry <= maxFentryOffset;
  return (
    piece.references.some(
      ({ target, offset }) =>
        !isPieceTarget(target) && target.symbol === fentrySymbol && isAtEntry(offset - 1),
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
  problems: readonly Problem[];
}

/** Puts the callers of each changed function that cannot be hooked in its place. */
export function carryThroughCallers(
  difference: Difference,
  original: UnitObject,
  patched: UnitObject,
): Carried {
  const changed = new Map<Piece, ChangedFunction>();
  const carried = new Set<Piece>();
  const problems: Problem[] = [];
  const queue = [...difference.changed];
  for (let change = queue.shift(); change; change = queue.shift()) {
    const { original: before, patched: after } = change;
    if (changed.has(after) || carried.has(after)) continue;
    if (isHookable(before)) {
      changed.set(after, change);
      continue;
    }
    const callers = directCallers(before, original);
    const callersAfter = directCallers(after, patched);
    if (before.symbols[0]?.bind !== STB_LOCAL || !callers || !callersAfter || callers.length === 0) {
      problems.push(notHookable(before, callers === undefined));
      continue;
    }
    carried.add(after);
    for (const caller of callers) {
      const now = difference.correlation.patchedOf.get(caller);
      // A caller that is gone, or calls something else now, is changed for that reason already.
      if (now)
        queue.push({
          original: caller,
          patched: now,
          reason: `it calls ${before.name}, which ftrace cannot hook`,
        });
    }
  }
  const list = [...changed.values()].sort(
    (a, b) => a.patched.section.index - b.patched.section.index || a.patched.start - b.patched.start,
  );
  return { difference: { ...difference, changed: list }, carried, problems };
}

/** Functions that call or jump to `piece`; undefined when its address is taken, so that others may call it. */
function directCallers(piece: Piece, object: UnitObject): Piece[] | undefined {
  const callers: Piece[] = [];
  for (const other of object.pieces) {
    if (other === piece) continue;
    const toPiece = other.references.filter(({ target }) => isPieceTarget(target) && target.piece === piece);
    if (toPiece.length === 0) continue;
    if (coldParent(other, object) === piece) continue;
    if (other.role !== "code" || toPiece.some(({ branch }) => !branch)) return undefined;
    callers.push(coldParent(other, object) ?? other);
  }
  return [...new Set(callers)];
}

function notHookable(piece: Piece, addressTaken: boolean): Problem {
  return {
    code: "RK-NO-FENTRY",
    message: `${piece.name} changes, but ftrace cannot hook it (notrace, noinstr, or compiled without -mfentry), so livepatch cannot replace it${addressTaken ? ", and its address is taken, so that not all its callers are known" : ""}.`,
    hint: "Fix the defect in the functions that call it.",
  };
}
