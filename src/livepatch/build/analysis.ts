/** One unit of a patch: what changes in it, and whether its functions are the target's. Pure. */
import { STB_WEAK } from "../../formats/elf/constants.ts";
import { type Callback, callbacksOf } from "./author/callbacks.ts";
import { type Directive, directivesOf, withoutIgnored } from "./author/directives.ts";
import { type Carried, carryThroughCallers } from "./difference/carry.ts";
import type { DataNames } from "./difference/data-changes.ts";
import { type ChangedFunction, type Difference, differenceOf } from "./difference/difference.ts";
import type { Caution } from "./finding.ts";
import { type FunctionMatch, matchUnit, type TargetCode, type UnitMatch } from "./match/match.ts";
import type { ExportedSymbol } from "./module/resolve.ts";
import type { Piece, UnitObject } from "./object/object.ts";

export interface PlanUnit {
  source: string;
  /** Undefined for vmlinux, else the module's code. */
  module: TargetCode | undefined;
  original: UnitObject;
  patched: UnitObject;
  /** What debug information says about the original's data. */
  names?: DataNames;
}

export interface PlanContext {
  vmlinux: TargetCode;
  exports: ReadonlyMap<string, ExportedSymbol>;
  moduleNamed(name: string): TargetCode | undefined;
  /** Sizes in bytes of the entries of tables, by section, as far as the target's BTF tells. */
  entrySizes?: ReadonlyMap<string, number> | undefined;
  /** Whether a module depends on another, directly or through others. */
  moduleNeeds(module: string, other: string): boolean;
}

export interface AnalysedUnit extends PlanUnit {
  /** The difference by itself, before anything is carried. */
  plain: Difference;
  difference: Difference;
  /** Changed functions that their callers bring along. */
  carried: ReadonlySet<Piece>;
  /** Of those, the ones that other units may call. */
  outward: Carried["outward"];
  initCallers: Carried["initCallers"];
  callbacks: readonly Callback[];
  /** What the patch's author decided about differences, and what of that applied already, as texts. */
  directives: readonly Directive[];
  used: ReadonlySet<string>;
  cautions: readonly Caution[];
  match: UnitMatch;
}

const noMatch: UnitMatch = { functions: new Map(), pieces: new Map(), symbols: new Map() };

export function analyseUnit(unit: PlanUnit, context: PlanContext): AnalysedUnit {
  const directives = directivesOf(unit.patched);
  const answered = withoutIgnored(differenceOf(unit.original, unit.patched, unit.names), directives);
  const { difference: plain, used, cautions } = answered;
  const carrying = carryThroughCallers(plain, unit.original, unit.patched);
  const { difference, carried, outward, initCallers, problems } = carrying;
  const callbacks = callbacksOf(unit.patched);
  const bringsSomething =
    difference.changed.length > 0 ||
    carried.size > 0 ||
    difference.newFunctions.length > 0 ||
    callbacks.length > 0;
  return {
    ...unit,
    plain,
    difference: { ...difference, problems: [...difference.problems, ...problems] },
    carried,
    outward,
    initCallers,
    callbacks,
    directives,
    used,
    cautions,
    // Most units that a header reaches come out unchanged: nothing of theirs has to be found in the target.
    match: bringsSomething ? matchUnit(unit.original, unit.module ?? context.vmlinux) : noMatch,
  };
}

/** The unit with more of its functions replaced, for reasons outside of it. */
export function withMoreChanges(unit: AnalysedUnit, more: readonly ChangedFunction[]): AnalysedUnit {
  const before = [...unit.difference.changed, ...unit.outward];
  const { difference, carried, outward, initCallers, problems } = carryThroughCallers(
    unit.plain,
    unit.original,
    unit.patched,
    [...before, ...more],
  );
  return {
    ...unit,
    difference: { ...difference, problems: [...unit.plain.problems, ...problems] },
    carried,
    outward,
    initCallers,
  };
}

/** The unit with its functions found in the target, also where nothing of it changes by itself. */
export function withMatch(unit: AnalysedUnit, context: PlanContext): AnalysedUnit {
  return unit.match === noMatch
    ? { ...unit, match: matchUnit(unit.original, unit.module ?? context.vmlinux) }
    : unit;
}

/**
 * Functions of the unit that are not the target's, weak ones that another object overrides aside.
 *
 * @param replaced original functions that are replaced besides the changed ones
 */
export function mismatches(unit: AnalysedUnit, replaced: readonly Piece[] = []): FunctionMatch[] {
  const changed = new Set([
    ...[...unit.difference.changed, ...unit.outward].map((change) => change.original),
    ...replaced,
  ]);
  return [...unit.match.functions.values()].filter(
    ({ status, piece }) =>
      status !== "identical" &&
      (changed.has(piece) || (status !== "ambiguous" && piece.symbols[0]?.bind !== STB_WEAK)),
  );
}

/** Takes a function as identical when the kernel's exact compile command makes what the target holds. */
export function withStockMatch(unit: AnalysedUnit, stock: UnitObject, context: PlanContext): AnalysedUnit {
  const stockMatch = matchUnit(stock, unit.module ?? context.vmlinux);
  const byName = new Map([...stockMatch.functions.values()].map((match) => [match.piece.name, match]));
  const functions = new Map(unit.match.functions);
  const pieces = new Map(unit.match.pieces);
  for (const [piece, match] of functions) {
    const other = byName.get(piece.name);
    if (match.status === "identical" || other?.status !== "identical" || !other.symbol) continue;
    functions.set(piece, { piece, status: "identical", symbol: other.symbol, byStockFlags: true });
    pieces.set(piece, other.symbol.location - BigInt(piece.entry));
  }
  for (const [piece, location] of stockMatch.pieces) {
    const own = piece.named ? unit.original.byName.get(piece.name) : undefined;
    if (own && !pieces.has(own)) pieces.set(own, location + BigInt(piece.entry - own.entry));
  }
  return {
    ...unit,
    match: { functions, pieces, symbols: new Map([...stockMatch.symbols, ...unit.match.symbols]) },
  };
}
