/**
 * Who holds the address of a read-only datum. What holds it goes on with the datum that the running kernel has,
 * whatever a live patch brings along.
 */
import { STB_LOCAL } from "../../../formats/elf/constants.ts";
import type { AddressSource, AddressUse } from "../arch/address-flow.ts";
import { isPieceTarget, type Piece, pieceBytes, type Reference, type UnitObject } from "../object/object.ts";

export type Holder =
  /** Data of the unit; `offset` is where in it the address stands. */
  | { kind: "data"; piece: Piece; offset: number }
  /** An object that a function writes it to, `offset` bytes from where it points. */
  | { kind: "object"; function: Piece; offset: number }
  /** A function that gets it as an argument; undefined where it is called through a pointer. */
  | { kind: "callee"; function: Piece; callee: string | undefined }
  /** Whoever calls a function that returns it. */
  | { kind: "caller"; function: Piece }
  /** Code that cannot be followed. */
  | { kind: "code"; function: Piece }
  /** Other units, which know its name. */
  | { kind: "others"; name: string };

/** Functions that are done with what they are given when they return. */
const readers =
  /^_*(mem(cpy|move|cmp|chr|scan|dup)|k(mem|str)n?dup(_const|_array)?|kmemdup_noprof|str\w+|match_(string|token)|sysfs_(match_string|streq|emit)|s?n?printf|scnprintf|printk|dev_(printk|err|warn|info)|dynamic_\w+|print_hex_dump\w*|seq_(printf|puts|write)|copy_to_user|copy_from_kernel\w*|crc\w+|sort|bsearch|bitmap_\w+|find_\w*bit|hweight\w*|fortify_panic|trace_print_\w+|dmi_check_system|raw_(spin|read|write)_\w+|mutex_\w+|stack_chk_fail)$/;

export function isReader(callee: string | undefined): boolean {
  return callee !== undefined && readers.test(callee);
}

/** Functions that return a part of what they are given, and are done with it otherwise. */
const selectors =
  /^(dmi_first_match|x86_match_cpu|(pci|usb|i2c|spi|of)_match_(id|device|node)|acpi_match_device)$/;

/** Functions of the kernel that, by their names, keep what they are given. */
const keepers =
  /(^|_)(un)?register(ed|_|$)|(^|_)(add|attach|install|create|alloc|init|setup|new|mkdir|insert)(_|$)|^__platform_|_probe(_|$)/;

export function isKeeper(callee: string | undefined): boolean {
  return callee !== undefined && keepers.test(callee);
}

/** Aliases of MODULE_DEVICE_TABLE (include/linux/module.h). */
const deviceTableAlias = /^__mod_/;
/** The same, and those of module_init() and module_exit(). */
const alias = /^__mod_|^(init|cleanup)_module$/;

/** The name that the source gives to a datum or function. */
export function sourceName(piece: Piece): string {
  const own = piece.symbols.find(({ name }) => !alias.test(name));
  return (own?.name ?? piece.name).replace(/\.\d+$/, "");
}

/** Finds holders in one object. */
export class HolderSearch {
  readonly #object: UnitObject;
  #referrers: Map<Piece, { from: Piece; reference: Reference }[]> | undefined;
  /** By function and source of the address; empty while it is being followed, so that circles end. */
  readonly #followed = new Map<string, Holder[]>();

  constructor(object: UnitObject) {
    this.#object = object;
  }

  referrersOf(piece: Piece): readonly { from: Piece; reference: Reference }[] {
    if (!this.#referrers) {
      this.#referrers = new Map();
      for (const from of this.#object.pieces)
        for (const reference of from.references) {
          if (!isPieceTarget(reference.target) || reference.target.piece === from) continue;
          const list = this.#referrers.get(reference.target.piece);
          if (list) list.push({ from, reference });
          else this.#referrers.set(reference.target.piece, [{ from, reference }]);
        }
    }
    return this.#referrers.get(piece) ?? [];
  }

  /** All holders of a datum, each once. Functions that only read it are none. */
  holdersOf(data: Piece): Holder[] {
    const holders: Holder[] = [];
    for (const { name, bind } of data.symbols)
      if (bind !== STB_LOCAL && !deviceTableAlias.test(name)) holders.push({ kind: "others", name });
    for (const { from, reference } of this.referrersOf(data)) {
      if (from.role === "code" || from.role === "initCode")
        holders.push(...this.#inFunction(from, { field: reference.offset }));
      else if (from.role === "auxiliaryCode") holders.push({ kind: "code", function: from });
      else holders.push({ kind: "data", piece: from, offset: reference.offset });
    }
    return distinct(holders);
  }

  #inFunction(piece: Piece, source: AddressSource, depth = 0): Holder[] {
    const key = `${piece.section.index} ${piece.start} ${JSON.stringify(source)}`;
    const known = this.#followed.get(key);
    if (known) return known;
    this.#followed.set(key, []);
    const fields = new Map(piece.references.map((reference) => [reference.offset, reference]));
    const uses = piece.arch.addressUses(pieceBytes(piece), source, {
      entry: piece.entry,
      targetAt: (field) => targetName(fields.get(field)),
    });
    const holders: Holder[] = uses
      ? distinct(uses.flatMap((use) => this.#holdersBy(use, piece, fields, depth)))
      : [{ kind: "code", function: piece }];
    this.#followed.set(key, holders);
    return holders;
  }

  /** A static function hands what it returns to the functions that call it, and to nobody else. */
  #fromCallers(piece: Piece, depth: number): Holder[] {
    const referrers = this.referrersOf(piece);
    const isLocal = piece.symbols.every(({ bind }) => bind === STB_LOCAL);
    const allCalls = referrers.every(({ from, reference }) => from.role === "code" && reference.branch);
    if (!isLocal || !allCalls || depth >= 4) return [{ kind: "caller", function: piece }];
    return referrers.flatMap(({ from, reference }) =>
      this.#inFunction(from, { call: reference.offset }, depth + 1),
    );
  }

  #holdersBy(use: AddressUse, piece: Piece, fields: ReadonlyMap<number, Reference>, depth: number): Holder[] {
    switch (use.kind) {
      case "reads":
        return [];
      case "stored":
        return [{ kind: "object", function: piece, offset: use.offset }];
      case "onStack":
        return [{ kind: "callee", function: piece, callee: undefined }];
      case "returned":
        return this.#fromCallers(piece, depth);
      case "passed": {
        const reference = use.field === undefined ? undefined : fields.get(use.field);
        const target = reference?.target;
        const isOwn = target && isPieceTarget(target) && target.piece.role === "code";
        if (isOwn && depth < 4) return this.#inFunction(target.piece, use, depth + 1);
        const callee = targetName(reference);
        if (callee !== undefined && use.field !== undefined && selectors.test(callee))
          return this.#inFunction(piece, { call: use.field }, depth);
        return isReader(callee) ? [] : [{ kind: "callee", function: piece, callee }];
      }
    }
  }
}

function targetName(reference: Reference | undefined): string | undefined {
  if (!reference) return undefined;
  return isPieceTarget(reference.target) ? reference.target.piece.name : reference.target.symbol;
}

function distinct(holders: readonly Holder[]): Holder[] {
  const seen = new Map<string, Holder>();
  for (const holder of holders) {
    const { kind } = holder;
    const about =
      kind === "data"
        ? `${holder.piece.name} ${holder.offset}`
        : kind === "others"
          ? holder.name
          : `${holder.function.name} ${kind === "callee" ? holder.callee : kind === "object" ? holder.offset : ""}`;
    seen.set(`${kind} ${about}`, holder);
  }
  return [...seen.values()];
}
