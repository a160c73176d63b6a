import type { Difference } from "../difference/difference.ts";
import type { Caution } from "../finding.ts";
import type { IncludedPiece } from "../module/inclusion.ts";
import type { Piece, UnitObject } from "../object/object.ts";
import { pointerCautions } from "./kept-pointers.ts";
import { stackCautions } from "./stays-on-stack.ts";

/**
 * What the author of a patch has to judge about one unit's changes. Pure.
 *
 * @param included all that the module holds of the unit
 * @param callbacks the patch's own functions that livepatch calls
 */
export function changeCautions(
  difference: Difference,
  original: UnitObject,
  included: readonly IncludedPiece[],
  callbacks: readonly Piece[],
): Caution[] {
  return [
    ...stackCautions(difference.changed, original),
    ...pointerCautions(difference, included, new Set(callbacks)),
  ];
}
