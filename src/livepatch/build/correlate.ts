/** Which function or variable of the original object is which of the patched one. */
import { isPieceTarget, type Piece, pieceBytes, type UnitObject } from "./object.ts";

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

  const originalUsers = usersOf(original, patched);
  const patchedUsers = usersOf(patched, original);
  const shareUser = (a: Piece, b: Piece) => {
    const users = patchedUsers.get(b)?.indirect;
    return [...(originalUsers.get(a)?.indirect ?? [])].some((user) => users?.has(user));
  };
  for (const group of groups.values()) {
    const [firstOriginal, firstPatched] = [group.original[0], group.patched[0]];
    if (!firstOriginal || !firstPatched) continue;
    if (group.original.length === 1 && group.patched.length === 1) {
      // A static local of one function is not that of another one, even if both are the only ones of their name.
      const isStaticLocal = !isFunction(firstOriginal) && isNumbered(firstOriginal.name);
      if (!isStaticLocal || shareUser(firstOriginal, firstPatched)) pair(firstOriginal, firstPatched);
      continue;
    }
    const rounds: ((a: Piece, b: Piece) => boolean)[] = [
      // The same functions refer to it in the same way, and it is the same thing.
      (a, b) =>
        sameUsers(a, b, originalUsers, patchedUsers) &&
        sameSection(a, b) &&
        Buffer.compare(pieceBytes(a), pieceBytes(b)) === 0,
      (a, b) => sameUsers(a, b, originalUsers, patchedUsers) && a.end - a.start === b.end - b.start,
      (a, b) => shareUser(a, b) && sameSection(a, b) && a.end - a.start === b.end - b.start,
      (a, b) => isFunction(a) && a.name === b.name,
    ];
    for (const matches of rounds)
      for (const a of group.original) {
        if (patchedOf.has(a)) continue;
        const b = group.patched.find((candidate) => !originalOf.has(candidate) && matches(a, candidate));
        if (b) pair(a, b);
      }
  }
  return { patchedOf, originalOf };
}

function isFunction(piece: Piece): boolean {
  return piece.role === "code" || piece.role === "initCode";
}

interface Users {
  /** Names without numbers, in the order of their references. */
  direct: string[];
  /** The same as a set; where a user exists in one of the objects only, the functions that refer to it stand in. */
  indirect: Set<string>;
}

function usersOf(object: UnitObject, other: UnitObject): Map<Piece, Users> {
  const referrers = new Map<Piece, Piece[]>();
  for (const piece of object.pieces) {
    const references = [piece.references, ...piece.tableEntries.map((entry) => entry.references)].flat();
    for (const { target } of references) {
      if (!isPieceTarget(target) || target.piece === piece) continue;
      const list = referrers.get(target.piece);
      if (list) list.push(piece);
      else referrers.set(target.piece, [piece]);
    }
  }
  const inOther = new Set(other.pieces.map((piece) => nameWithoutNumbers(piece.name)));
  const users = new Map<Piece, Users>();
  for (const [piece, list] of referrers) {
    if (piece.role !== "data") continue;
    const indirect = new Set<string>();
    const seen = new Set<Piece>();
    const add = (user: Piece) => {
      if (seen.has(user)) return;
      seen.add(user);
      const name = nameWithoutNumbers(user.name);
      indirect.add(name);
      // A function split off another one, or inlined into it, is that other one as far as its variables go.
      if (!inOther.has(name)) for (const caller of referrers.get(user) ?? []) add(caller);
    };
    for (const user of list) add(user);
    users.set(piece, { direct: list.map((user) => nameWithoutNumbers(user.name)), indirect });
  }
  return users;
}

function sameUsers(
  a: Piece,
  b: Piece,
  usersOfA: ReadonlyMap<Piece, Users>,
  usersOfB: ReadonlyMap<Piece, Users>,
): boolean {
  return usersOfA.get(a)?.direct.join(" ") === usersOfB.get(b)?.direct.join(" ");
}

function sameSection(a: Piece, b: Piece): boolean {
  return nameWithoutNumbers(a.section.name) === nameWithoutNumbers(b.section.name);
}
