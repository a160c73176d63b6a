/**
 * Addresses of functions that exist only in the live patch. Whoever keeps one (a timer, a work item, a notifier, a table
 * of operations that an open file refers to) has it still when the module is gone. Pure.
 */
import type { AddressUse } from "../arch/address-flow.ts";
import type { Difference } from "../difference/difference.ts";
import type { Caution } from "../finding.ts";
import type { IncludedPiece } from "../module/inclusion.ts";
import { isPieceTarget, type Piece, type Reference } from "../object/object.ts";

/** Functions that call what they are given before they return: nothing keeps the address. */
const callsAtOnce =
  /sort|bsearch|for_each|foreach|_walk|walk_|iterate|_find|find_|_match|lookup|on_each_cpu|on_cpu|smp_call_function|stop_machine|_scan|traverse|wait_on_bit|iget5|sget/;

/**
 * @param included all that the module holds of one unit
 * @param ignored new functions that the kernel calls by other means: callbacks
 */
export function pointerCautions(
  difference: Difference,
  included: readonly IncludedPiece[],
  ignored: ReadonlySet<Piece>,
): Caution[] {
  const { originalOf } = difference.correlation;
  const keepers = new Map<Piece, Set<string>>();
  for (const { piece, references } of included)
    for (const reference of references) {
      const { destination, branch, target } = reference;
      if (branch || destination.kind !== "included" || !isPieceTarget(target)) continue;
      const { piece: taken } = target;
      if (taken === piece || taken.role !== "code" || !taken.named) continue;
      if (originalOf.has(taken) || ignored.has(taken)) continue;
      const keeper = keeperOf(piece, reference);
      if (keeper === undefined) continue;
      const known = keepers.get(taken) ?? new Set();
      keepers.set(taken, known.add(keeper));
    }
  return [...keepers].map(([{ name }, by]) => ({
    code: "RK-CAUTION-POINTER-KEPT",
    message: `The address of ${name}, a new function, goes into ${[...by].join(", ")}. Whoever keeps it calls into nothing once the live patch is removed.`,
    hint: "See to it that nothing refers to the function any more when the live patch is taken back (a timer, a work item, an open file …): in a post_unpatch callback, or never remove the module.",
  }));
}

/** In words, or undefined when nothing keeps the address. */
function keeperOf(piece: Piece, reference: Reference): string | undefined {
  if (piece.role !== "code") return piece.name;
  const targets = new Map(piece.references.map(({ offset, target }) => [offset, target]));
  const targetAt = (field: number) => {
    const target = targets.get(field);
    return target && (isPieceTarget(target) ? target.piece.name : target.symbol);
  };
  const uses = piece.arch.addressUses(
    piece.section.data.subarray(piece.start, piece.end),
    { field: reference.offset },
    { entry: piece.entry, targetAt },
  );
  if (!uses) return `what ${piece.name} does with it`;
  const kept = (use: AddressUse): string | undefined => {
    if (use.kind === "stored") return `memory that ${piece.name} writes to`;
    if (use.kind === "returned") return `what ${piece.name} returns`;
    if (use.kind !== "passed") return undefined;
    const callee = use.field === undefined ? undefined : targetAt(use.field);
    if (callee === undefined) return `a call in ${piece.name}`;
    return callsAtOnce.test(callee) ? undefined : `${callee}() (called by ${piece.name})`;
  };
  return uses.map(kept).find((keeper) => keeper !== undefined);
}
