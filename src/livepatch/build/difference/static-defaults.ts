/**
 * Defaults that the kernel has acted on while it started: a static key's (DEFINE_STATIC_KEY_TRUE and _FALSE), by which
 * code is compiled, and a static call's (DEFINE_STATIC_CALL). Pure.
 */
import { isPieceTarget, type Piece, pieceBytes, type UnitObject } from "../object/object.ts";

/** struct static_key (include/linux/jump_label.h) and those around it are no larger. */
const maxKeySize = 32;
/** STATIC_CALL_KEY_PREFIX (include/linux/static_call_types.h). */
const staticCallKey = "__SCK__";

/** The keys that jump labels of this unit belong to. */
export function staticKeysOf(object: UnitObject): Set<Piece> {
  return new Set(
    object.pieces.flatMap(({ tableEntries }) =>
      tableEntries.flatMap(({ section, references }) => {
        const target = section.name === "__jump_table" ? references.at(-1)?.target : undefined;
        return target && isPieceTarget(target) && isKeySized(target.piece) ? [target.piece] : [];
      }),
    ),
  );
}

function isKeySized({ start, end }: Piece): boolean {
  return end - start <= maxKeySize;
}

/**
 * What a changed default means, and what to do instead.
 *
 * @param type as debug information names it: "struct static_key_false"
 * @param target of a static call, with the patch
 */
export function staticDefaultChange(
  before: Piece,
  after: Piece,
  about: { type: string | undefined; keys: ReadonlySet<Piece>; target: string | undefined },
): { reason: string; hint: string; canAccept: boolean } | undefined {
  const { name } = before;
  if (name.startsWith(staticCallKey)) {
    const call = name.slice(staticCallKey.length);
    return {
      reason:
        "The kernel has made its calls go where the static call pointed to, and may have pointed it elsewhere since",
      hint: `Leave DEFINE_STATIC_CALL as it is. Point it elsewhere from a callback (#include <rekernel/livepatch.h>), and back from a post_unpatch one:\nstatic int set_${call}(struct klp_object *obj) { static_call_update(${call}, ${about.target ?? "…"}); return 0; }\nREKERNEL_PRE_PATCH(set_${call});`,
      canAccept: true,
    };
  }
  if (!about.keys.has(before) && !/^struct static_key(_true|_false)?$/.test(about.type ?? ""))
    return undefined;
  const bytes = pieceBytes(after);
  const isOn = bytes.length >= 4 && bytes.subarray(0, 4).some((byte) => byte !== 0);
  return {
    // jump_label_init_type() in kernel/jump_label.c goes by the kernel's key, the compiler went by the patch's.
    reason:
      "Code that asks a static key is compiled by its default: with another one than the running kernel's key has, the patched code would go the wrong way, and the kernel would stop when it switches the key",
    hint: `Leave DEFINE_STATIC_KEY_… as it is, and switch the key from a callback (#include <rekernel/livepatch.h>):\nstatic int set_${name}(struct klp_object *obj) { static_branch_${isOn ? "enable" : "disable"}(&${name}); return 0; }\nREKERNEL_PRE_PATCH(set_${name});`,
    canAccept: false,
  };
}
