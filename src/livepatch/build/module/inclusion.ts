/**
 * What a live patch module has to hold: the changed functions, and all that they need and that the
 * running kernel does not have.
 */
import { isContentOnly } from "../difference/correlate.ts";
import { coldParent, type Difference, pointsInto } from "../difference/difference.ts";
import {
  isCodeRole,
  isPieceTarget,
  type Piece,
  type PieceTarget,
  pieceBytes,
  type Reference,
  type SymbolTarget,
  type TableEntry,
  type UnitObject,
} from "../object/object.ts";
import { withNearJumps } from "../object/short-branches.ts";

/** Where a reference of an included piece leads. */
export type Destination =
  /** Into the module itself. */
  | { kind: "included"; piece: Piece; addend: number }
  /** To a function or variable of the target that this unit defines (a piece of the original object). */
  | { kind: "original"; piece: Piece; addend: number }
  /** To a symbol of another unit. */
  | { kind: "symbol"; symbol: string; weak: boolean; addend: number };

export interface IncludedReference extends Reference {
  destination: Destination;
}

export interface IncludedPiece {
  piece: Piece;
  /** The piece's bytes; empty for NOBITS data. */
  bytes: Uint8Array;
  /** Why it is there: "changed", "new", "needed by tcp_ack". */
  reason: string;
  references: readonly IncludedReference[];
  tableEntries: readonly IncludedTableEntry[];
}

export interface IncludedTableEntry extends TableEntry {
  references: readonly IncludedReference[];
}

/**
 * @param isReachable whether the running kernel's copy of unchanged read-only data can be referred to;
 *                    where not, the module gets a copy
 * @param roots what the module holds besides, with the reason: what other units refer to, callbacks
 * @param carried changed functions that cannot be replaced themselves, all of whose callers are
 */
export function includedPieces(
  difference: Difference,
  patched: UnitObject,
  isReachable: (original: Piece) => boolean,
  roots: ReadonlyMap<Piece, string> = new Map(),
  carried: ReadonlySet<Piece> = new Set(),
): IncludedPiece[] {
  const { originalOf } = difference.correlation;
  const replaced = new Set(difference.changed.map((change) => change.patched));
  const reasons = new Map<Piece, string>();
  const queue: Piece[] = [];
  const include = (piece: Piece, reason: string) => {
    if (reasons.has(piece)) return;
    reasons.set(piece, reason);
    queue.push(piece);
  };
  for (const piece of replaced) include(piece, "changed");
  for (const [piece, reason] of roots) include(piece, reason);

  const belongsToIncluded = (piece: Piece) => {
    const parent = coldParent(piece, patched);
    return parent !== undefined && (replaced.has(parent) || carried.has(parent) || !originalOf.has(parent));
  };

  const isReplaced = (piece: Piece) =>
    replaced.has(piece) || carried.has(piece) || (piece.role === "code" && belongsToIncluded(piece));

  const isPartOf = (from: Piece, whole: Piece) => from === whole || coldParent(from, patched) === whole;

  const destination = (
    target: PieceTarget | SymbolTarget,
    branch: boolean,
    from: Piece,
    inTable: boolean,
  ): Destination => {
    if (!isPieceTarget(target)) return { kind: "symbol", ...target };
    const { piece, addend } = target;
    const local: Destination = { kind: "included", piece, addend };
    const before = originalOf.get(piece);
    const elsewhere = (original: Piece): Destination => ({
      kind: "original",
      piece: original,
      addend: addend - piece.entry + original.entry,
    });
    if (isContentOnly(piece) || !before || belongsToIncluded(piece) || carried.has(piece)) return local;
    switch (piece.role) {
      case "code":
      case "initCode":
        if (!replaced.has(piece)) return elsewhere(before);
        // A pointer to a replaced function must outlive the patch, and compare equal with the kernel's own.
        // A switch table points into it, not to it.
        return branch || inTable || isPartOf(from, piece) || isWithin(piece, addend, from)
          ? local
          : elsewhere(before);
      case "data":
        return elsewhere(before);
      default: {
        const isOwn = !difference.sameContent(before, piece) || pointsInto(piece, isReplaced) !== undefined;
        return isOwn || !isReachable(before) ? local : elsewhere(before);
      }
    }
  };

  const included: IncludedPiece[] = [];
  for (let piece = queue.shift(); piece; piece = queue.shift()) {
    const current = piece;
    const resolve = (references: readonly Reference[], inTable: boolean) =>
      references.map((reference): IncludedReference => {
        const to = destination(reference.target, reference.branch, current, inTable);
        if (to.kind === "included")
          include(
            to.piece,
            `${carried.has(to.piece) ? "changed" : originalOf.has(to.piece) ? "copied" : "new"}, needed by ${current.name}`,
          );
        return { ...reference, destination: to };
      });
    included.push(
      withNearJumps({
        piece: current,
        bytes: pieceBytes(current),
        reason: reasons.get(current)!,
        references: resolve(current.references, false),
        tableEntries: current.tableEntries.map((entry) => ({
          ...entry,
          references: resolve(entry.references, true),
        })),
      }),
    );
  }
  return included.sort(
    (a, b) => a.piece.section.index - b.piece.section.index || a.piece.start - b.piece.start,
  );
}

/** True for a place inside of a function, as opposed to the function itself, that data refers to. */
export function isWithin(piece: Piece, addend: number, from: Piece): boolean {
  return !isCodeRole(from.role) && addend !== piece.entry;
}
