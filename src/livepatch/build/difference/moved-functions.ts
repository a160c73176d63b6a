/**
 * Functions that a patch takes out of one file and puts into another. The kernel's callers, in units that the patch
 * does not reach, go on calling the old one: it is replaced like any other.
 */
import { STB_GLOBAL } from "../../../formats/elf/constants.ts";
import type { AnalysedUnit } from "../analysis.ts";
import type { Problem } from "../finding.ts";
import type { Piece } from "../object/object.ts";
import { isHookable, notHookable } from "./carry.ts";
import { Comparison } from "./comparison.ts";

export interface MovedFunction {
  from: AnalysedUnit;
  original: Piece;
  to: AnalysedUnit;
  patched: Piece;
}

/** Global functions that move within vmlinux or within one module, and change on the way. */
export function movedFunctions(units: readonly AnalysedUnit[]): {
  moved: MovedFunction[];
  problems: Problem[];
} {
  const moved: MovedFunction[] = [];
  const problems: Problem[] = [];
  const added = new Map<string, { unit: AnalysedUnit; piece: Piece }[]>();
  for (const unit of units)
    for (const piece of unit.difference.newFunctions)
      if (isGlobal(piece)) added.set(piece.name, [...(added.get(piece.name) ?? []), { unit, piece }]);
  for (const from of units)
    for (const original of from.difference.removedFunctions) {
      if (!isGlobal(original)) continue;
      const target = added
        .get(original.name)
        ?.find(({ unit }) => unit !== from && unit.module?.object === from.module?.object);
      if (!target) continue;
      const comparison = new Comparison({
        patchedOf: new Map([[original, target.piece]]),
        originalOf: new Map([[target.piece, original]]),
      });
      if (comparison.functionDifference(original, target.piece) === undefined) continue;
      if (!isHookable(original))
        problems.push({
          ...notHookable(original, `it moves to ${target.unit.source} as well`),
          source: from.source,
        });
      moved.push({ from, original, to: target.unit, patched: target.piece });
    }
  return { moved, problems };
}

function isGlobal(piece: Piece): boolean {
  return piece.named && piece.symbols[0]?.bind === STB_GLOBAL;
}
