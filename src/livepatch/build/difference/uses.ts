/** Who refers to each piece of an object, and from where: what tells static locals of one name apart. */
import { functionName, nameWithoutNumbers, variableName } from "../object/names.ts";
import {
  isPieceTarget,
  type Piece,
  type PieceTarget,
  pieceBytes,
  type SymbolTarget,
  type UnitObject,
} from "../object/object.ts";

interface Use {
  from: Piece;
  /** Index in the references of `from`; undefined in an entry of a table. */
  index: number | undefined;
}

/** Bytes in front of a field that tell one instruction from another. */
const opcodeBytes = 3;
const maxText = 32;

export class Uses {
  readonly #uses = new Map<Piece, Use[]>();
  readonly #isInOther: (name: string) => boolean;
  readonly #users = new Map<Piece, ReadonlySet<string>>();
  readonly #contexts = new Map<Piece, ReadonlyMap<string, number>>();

  /** @param other the other object of the comparison */
  constructor(object: UnitObject, other: UnitObject) {
    const add = (piece: Piece, use: Use) => {
      const list = this.#uses.get(piece);
      if (list) list.push(use);
      else this.#uses.set(piece, [use]);
    };
    for (const from of object.pieces) {
      for (const [index, { target }] of from.references.entries())
        if (isPieceTarget(target) && target.piece !== from) add(target.piece, { from, index });
      for (const { references } of from.tableEntries)
        for (const { target } of references)
          if (isPieceTarget(target) && target.piece !== from) add(target.piece, { from, index: undefined });
    }
    const names = new Set(other.pieces.map(userName));
    this.#isInOther = (name) => names.has(name);
  }

  /**
   * The functions and data that refer to a piece, by the names that the source gives them. Where one exists in this
   * object only, those that refer to it stand in: a function split off another one, or inlined into it, is that other
   * one as far as its variables go.
   */
  usersOf(piece: Piece): ReadonlySet<string> {
    const known = this.#users.get(piece);
    if (known) return known;
    const users = new Set<string>();
    const seen = new Set<Piece>([piece]);
    const queue = (this.#uses.get(piece) ?? []).map(({ from }) => from);
    for (let user = queue.pop(); user; user = queue.pop()) {
      if (seen.has(user)) continue;
      seen.add(user);
      const name = userName(user);
      users.add(name);
      if (!this.#isInOther(name)) for (const { from } of this.#uses.get(user) ?? []) queue.push(from);
    }
    this.#users.set(piece, users);
    return users;
  }

  /** The surroundings of each reference to a piece, and how often they occur. */
  contextsOf(piece: Piece): ReadonlyMap<string, number> {
    const known = this.#contexts.get(piece);
    if (known) return known;
    const contexts = new Map<string, number>();
    for (const use of this.#uses.get(piece) ?? []) {
      const context = contextOf(use);
      contexts.set(context, (contexts.get(context) ?? 0) + 1);
    }
    this.#contexts.set(piece, contexts);
    return contexts;
  }
}

function userName(piece: Piece): string {
  if (!piece.named) return nameWithoutNumbers(piece.section.name);
  return piece.role === "code" || piece.role === "initCode"
    ? nameWithoutNumbers(functionName(piece.name))
    : variableName(piece.name);
}

function contextOf({ from, index }: Use): string {
  if (index === undefined) return `${userName(from)} table`;
  const { offset, target } = from.references[index]!;
  const before = Buffer.from(pieceBytes(from).subarray(Math.max(offset - opcodeBytes, 0), offset));
  return [
    userName(from),
    before.toString("hex"),
    isPieceTarget(target) ? target.addend - target.piece.entry : target.addend,
    targetText(from.references[index - 1]?.target),
    targetText(from.references[index + 1]?.target),
  ].join(" ");
}

function targetText(target: PieceTarget | SymbolTarget | undefined): string {
  if (!target) return "";
  if (!isPieceTarget(target)) return target.symbol;
  if (target.piece.named) return variableName(target.piece.name);
  const bytes = pieceBytes(target.piece);
  return Buffer.from(bytes.subarray(0, maxText)).toString("latin1");
}
