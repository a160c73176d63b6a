/**
 * Callbacks that the author of a patch writes (Documentation/livepatch/callbacks.rst): functions that the kernel calls
 * before and after an object's functions are replaced or given back. This is where live data is put right.
 */
import { isPieceTarget, type Piece, type UnitObject } from "./object.ts";

export const callbackKinds = ["pre_patch", "post_patch", "pre_unpatch", "post_unpatch"] as const;
export type CallbackKind = (typeof callbackKinds)[number];

export interface Callback {
  kind: CallbackKind;
  function: Piece;
}

/** Where {@link authorHeader} is found: `#include <rekernel/livepatch.h>`. */
export const authorHeaderPath = "rekernel/livepatch.h";

/** What authors of patches include. Shadow variables are the kernel's own: klp_shadow_alloc() and its siblings. */
export const authorHeader = `/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _REKERNEL_LIVEPATCH_H
#define _REKERNEL_LIVEPATCH_H

#include <linux/livepatch.h>

#define __REKERNEL_CALLBACK(kind, type, function) \\
	static type (*const __rekernel_##kind)(struct klp_object *obj) \\
	__used __section(".rekernel.callbacks") = (function)

/* int function(struct klp_object *obj): an error keeps the patch from being loaded. */
#define REKERNEL_PRE_PATCH(function) __REKERNEL_CALLBACK(pre_patch, int, function)
/* void function(struct klp_object *obj) */
#define REKERNEL_POST_PATCH(function) __REKERNEL_CALLBACK(post_patch, void, function)
#define REKERNEL_PRE_UNPATCH(function) __REKERNEL_CALLBACK(pre_unpatch, void, function)
#define REKERNEL_POST_UNPATCH(function) __REKERNEL_CALLBACK(post_unpatch, void, function)

#endif
`;

/** The callbacks that a unit declares, in the order of their kinds. */
export function callbacksOf(patched: UnitObject): Callback[] {
  return callbackKinds.flatMap((kind) => {
    const target = patched.byName.get(`__rekernel_${kind}`)?.references[0]?.target;
    return target && isPieceTarget(target) ? [{ kind, function: target.piece }] : [];
  });
}
