/**
 * Callbacks that the author of a patch writes (Documentation/livepatch/callbacks.rst): functions that the kernel calls
 * before and after an object's functions are replaced or given back. This is where live data is put right.
 */
import { isPieceTarget, type Piece, type UnitObject } from "../object/object.ts";

export const callbackKinds = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"] as const;
export type CallbackKind = (typeof callbackKinds)[number];

export interface Callback {
  kind: CallbackKind;
  function: Piece;
}

/** The callbacks that a unit declares, in the order of their kinds. */
export function callbacksOf(patched: UnitObject): Callback[] {
  return callbackKinds.flatMap((kind) => {
    const target = patched.byName.get(`__rekernel_${kind}`)?.references[0]?.target;
    return target && isPieceTarget(target) ? [{ kind, function: target.piece }] : [];
  });
}
