/** Which function or variable of the original object is which of the patched one. */
import { isNumbered, nameWithoutNumbers, variableName } from "../object/names.ts";
import { type Piece, pieceBytes, type UnitObject } from "../object/object.ts";
import { Uses } from "./uses.ts";

export interface Correlation {
  patchedOf: ReadonlyMap<Piece, Piece>;
  originalOf: ReadonlyMap<Piece, Piece>;
}

/** Data without identity: only its content counts. */
export function isContentOnly(piece: Piece): boolean {
  if (piece.role === "auxiliaryCode") return true;
  if (piece.role === "readOnlyData") return !piece.named || isNumbered(piece.name);
  // Writable, but with a label that the compiler has thrown away: what the sanitizers note, clang's unnamed data.
  return piece.role === "data" && !piece.named && piece.section.name.includes("..L");
}

/** Of more candidates than this only those in the same place of their lists are compared. */
const maxCandidatePairs = 40_000;

interface Group {
  original: Piece[];
  patched: Piece[];
}

export function correlate(original: UnitObject, patched: UnitObject): Correlation {
  const patchedOf = new Map<Piece, Piece>();
  const originalOf = new Map<Piece, Piece>();
  const pair = (a: Piece, b: Piece) => {
    patchedOf.set(a, b);
    originalOf.set(b, a);
  };
  const uses = { original: new Uses(original, patched), patched: new Uses(patched, original) };
  const shareUser = (a: Piece, b: Piece) => {
    const [users, usersOfA] = [uses.patched.usersOf(b), uses.original.usersOf(a)];
    for (const user of usersOfA) if (users.has(user)) return true;
    return users.size === 0 && usersOfA.size === 0;
  };

  for (const [key, group] of groupsOf(original, patched)) {
    if (group.original.length === 0 || group.patched.length === 0) continue;
    if (key.startsWith("unnamed ")) {
      // Nothing but their order tells them apart.
      if (group.original.length === group.patched.length)
        for (const [index, a] of group.original.entries()) pair(a, group.patched[index]!);
      continue;
    }
    const isFunctions = isFunction(group.original[0]!);
    // The name alone tells what is no static local. clang gives the first one of its name no number.
    const isPlain = ({ name }: Piece) => !isNumbered(name) && (isFunctions || !name.includes("."));
    for (const a of group.original) {
      const b = isPlain(a) ? group.patched.find(({ name }) => name === a.name) : undefined;
      if (b && !originalOf.has(b)) pair(a, b);
    }
    const rest = {
      original: group.original.filter((piece) => !patchedOf.has(piece)).sort(byNumber),
      patched: group.patched.filter((piece) => !originalOf.has(piece)).sort(byNumber),
    };
    if (isFunctions && rest.original.length === 1 && rest.patched.length === 1) {
      pair(rest.original[0]!, rest.patched[0]!);
      continue;
    }
    // A static local of one function is not that of another one, even if both are the only ones of their name.
    const mayBeSame = isFunctions ? () => true : shareUser;
    for (const { a, b } of bestFirst(rest, mayBeSame, uses))
      if (!patchedOf.has(a) && !originalOf.has(b)) pair(a, b);
  }
  pairByOtherNames(original, patched, patchedOf, originalOf, pair);
  return { patchedOf, originalOf };
}

function groupsOf(original: UnitObject, patched: UnitObject): Map<string, Group> {
  const groups = new Map<string, Group>();
  const collect = (pieces: readonly Piece[], side: keyof Group) => {
    for (const piece of pieces) {
      if (isContentOnly(piece)) continue;
      const key = groupKey(piece);
      const group = groups.get(key) ?? { original: [], patched: [] };
      group[side].push(piece);
      groups.set(key, group);
    }
  };
  collect(original.pieces, "original");
  collect(patched.pieces, "patched");
  return groups;
}

function groupKey(piece: Piece): string {
  if (!piece.named) return `unnamed ${piece.role} ${nameWithoutNumbers(piece.section.name)}`;
  return isFunction(piece)
    ? `function ${nameWithoutNumbers(piece.name)}`
    : `data ${variableName(piece.name)}`;
}

/** All pairs that may be the same thing, the likeliest first. */
function bestFirst(
  { original, patched }: Group,
  mayBeSame: (a: Piece, b: Piece) => boolean,
  uses: { original: Uses; patched: Uses },
): { a: Piece; b: Piece }[] {
  const pairs: { a: Piece; b: Piece; score: number }[] = [];
  const everyPair = original.length * patched.length <= maxCandidatePairs;
  for (const [index, a] of original.entries()) {
    const candidates = everyPair ? patched : patched.slice(index, index + 1);
    for (const b of candidates) {
      if (!mayBeSame(a, b)) continue;
      const common = commonShare(uses.original.contextsOf(a), uses.patched.contextsOf(b));
      const sameSize = a.end - a.start === b.end - b.start ? 1 : 0;
      const sameKind = nameWithoutNumbers(a.section.name) === nameWithoutNumbers(b.section.name) ? 1 : 0;
      const sameBytes = sameSize && Buffer.compare(pieceBytes(a), pieceBytes(b)) === 0 ? 1 : 0;
      // Where all else is equal, their order decides.
      const distance = Math.abs(index - patched.indexOf(b)) / (original.length + patched.length);
      const sameName =
        a.name === b.name ? 1 : nameWithoutNumbers(a.name) === nameWithoutNumbers(b.name) ? 0.9 : 0;
      const score = 4 * common + 2 * sameBytes + sameSize + 2 * sameKind + sameName - distance / 2;
      pairs.push({ a, b, score });
    }
  }
  return pairs.sort((x, y) => y.score - x.score);
}

/** Which part of all surroundings both have: 0 to 1. */
function commonShare(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): number {
  let common = 0;
  let all = 0;
  for (const [context, count] of a) {
    all += count;
    common += Math.min(count, b.get(context) ?? 0);
  }
  let allOfB = 0;
  for (const count of b.values()) allOfB += count;
  return all === 0 && allOfB === 0 ? 1 : common / Math.max(all, allOfB);
}

/** What lost or changed its first name may still be known by another one (aliases). */
function pairByOtherNames(
  original: UnitObject,
  patched: UnitObject,
  patchedOf: ReadonlyMap<Piece, Piece>,
  originalOf: ReadonlyMap<Piece, Piece>,
  pair: (a: Piece, b: Piece) => void,
): void {
  for (const a of original.pieces) {
    if (patchedOf.has(a) || isContentOnly(a) || a.symbols.length === 0) continue;
    for (const { name } of a.symbols) {
      const b = isNumbered(name) ? undefined : patched.byName.get(name);
      if (!b || originalOf.has(b) || isContentOnly(b) || isFunction(a) !== isFunction(b)) continue;
      if (!isFunction(a) && name.includes(".")) continue;
      pair(a, b);
      break;
    }
  }
}

function isFunction(piece: Piece): boolean {
  return piece.role === "code" || piece.role === "initCode";
}

/** The order in which the compiler numbered them; none comes first. */
function byNumber(a: Piece, b: Piece): number {
  return lastNumber(a.name) - lastNumber(b.name);
}

function lastNumber(name: string): number {
  return Number(/(\d+)\D*$/.exec(name)?.[1] ?? -1);
}
