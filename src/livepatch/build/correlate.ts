/** Which function or variable of the original object is which of the patched one. */
import { isPieceTarget, type Piece, type UnitObject } from "./object.ts";

export interface Correlation {
  patchedOf: ReadonlyMap<Piece, Piece>;
  originalOf: ReadonlyMap<Piece, Piece>;
}

/**
 * Name without the parts that the compiler numbers: `count.12` -> `count.`, `f.constprop.1.cold` ->
 * `f.constprop.#.cold`, `__UNIQUE_ID_ddebug842.5` -> `__UNIQUE_ID_ddebug#`.
 */
export function nameWithoutNumbers(name: string): string {
  return name.replace(/^(__UNIQUE_ID_\D*).*$/, "$1#").replace(/\.\d+(?=\.|$)/g, ".#");
}

/** True when the compiler numbers the name, so that the same name may mean another thing in the patched object. */
export function isNumbered(name: string): boolean {
  return nameWithoutNumbers(name) !== name;
}

/** Read-only data that has no identity: only its content counts. */
export function isContentOnly(piece: Piece): boolean {
  return (
    piece.role === "auxiliaryCode" ||
    (piece.role === "readOnlyData" && (!piece.named || isNumbered(piece.name)))
  );
}

export function correlate(original: UnitObject, patched: UnitObject): Correlation {
  const patchedOf = new Map<Piece, Piece>();
  const originalOf = new Map<Piece, Piece>();
  const pair = (a: Piece, b: Piece) => {
    patchedOf.set(a, b);
    originalOf.set(b, a);
  };
  const groups = new Map<string, { original: Piece[]; patched: Piece[] }>();
  const collect = (pieces: readonly Piece[], side: "original" | "patched") => {
    for (const piece of pieces) {
      if (isContentOnly(piece) || !piece.named) continue;
      const key = `${isFunction(piece) ? "function" : "data"} ${nameWithoutNumbers(piece.name)}`;
      const group = groups.get(key) ?? { original: [], patched: [] };
      group[side].push(piece);
      groups.set(key, group);
    }
  };
  collect(original.pieces, "original");
  collect(patched.pieces, "patched");

  const originalUsers = usersOf(original);
  const patchedUsers = usersOf(patched);
  for (const group of groups.values()) {
    const [firstOriginal, firstPatched] = [group.original[0], group.patched[0]];
    if (!firstOriginal || !firstPatched) continue;
    if (group.original.length === 1 && group.patched.length === 1) {
      pair(firstOriginal, firstPatched);
      continue;
    }
    const rounds: ((piece: Piece, users: ReadonlyMap<Piece, string[]>) => string)[] = [
      // The same functions refer to it, and it is the same thing.
      (piece, users) =>
        `${users.get(piece)?.join(" ")}|${piece.end - piece.start}|${piece.section.name.replace(/\d+/g, "#")}|${Buffer.from(piece.section.data.subarray(piece.start, piece.end)).toString("latin1")}`,
      (piece, users) => `${users.get(piece)?.join(" ")}|${piece.end - piece.start}`,
      (piece) => piece.name,
    ];
    for (const keyOf of rounds) {
      const waiting = new Map<string, Piece[]>();
      for (const piece of group.original) {
        if (patchedOf.has(piece)) continue;
        const key = keyOf(piece, originalUsers);
        waiting.set(key, [...(waiting.get(key) ?? []), piece]);
      }
      for (const piece of group.patched) {
        if (originalOf.has(piece)) continue;
        const match = waiting.get(keyOf(piece, patchedUsers))?.shift();
        if (match) pair(match, piece);
      }
    }
  }
  return { patchedOf, originalOf };
}

function isFunction(piece: Piece): boolean {
  return piece.role === "code" || piece.role === "initCode";
}

/** For each piece the functions that refer to it, by name without numbers, in the order of their references. */
function usersOf(object: UnitObject): Map<Piece, string[]> {
  const users = new Map<Piece, string[]>();
  for (const piece of object.pieces) {
    const references = [piece.references, ...piece.tableEntries.map((entry) => entry.references)].flat();
    for (const { target } of references) {
      if (!isPieceTarget(target) || target.piece === piece) continue;
      const list = users.get(target.piece) ?? [];
      list.push(nameWithoutNumbers(piece.name));
      users.set(target.piece, list);
    }
  }
  return users;
}
