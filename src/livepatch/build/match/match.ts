/**
 * Compares the original object's functions, byte by byte, with the code that the target really holds
 * (Ksplice's run-pre matching). The comparison proves compiler, configuration and source, and it tells
 * the address of everything that the functions refer to.
 */
import { STT_FUNC } from "../../../formats/elf/constants.ts";
import type { Architecture, RelocationKind } from "../arch/architecture.ts";
import { isContentOnly } from "../difference/correlate.ts";
import {
  isPieceTarget,
  type Piece,
  type PieceTarget,
  pieceBytes,
  type Reference,
  type SymbolTarget,
  type UnitObject,
} from "../object/object.ts";

/** A symbol of the target; `location` is a link-time address in vmlinux, section and offset in a module. */
export interface TargetSymbol {
  name: string;
  location: bigint;
  /** Position among symbols of the same name as livepatch counts: 0 where the name is unique, else from 1. */
  sympos: number;
  /** False for a function or variable that is static in its file. */
  isGlobal: boolean;
}

/** What a relocated field of the target leads to: a place, or a symbol that the module imports. */
export type FieldTarget = { location: bigint } | { symbol: string };

/** The code of vmlinux or of one module, as shipped. */
export interface TargetCode {
  /** "vmlinux", or the module's name. */
  readonly object: string;
  symbolsNamed(name: string): readonly TargetSymbol[];
  symbolsAt(location: bigint): readonly TargetSymbol[];
  read(location: bigint, sizeBytes: number): Uint8Array | undefined;
  /** Solves the relocation formula of a field for S, given A. */
  fieldTarget(location: bigint, kind: RelocationKind, addend: number): FieldTarget | undefined;
}

export type MatchStatus = "identical" | "different" | "absent" | "ambiguous";

export interface FunctionMatch {
  piece: Piece;
  status: MatchStatus;
  /** The function in the target, when identical. */
  symbol?: TargetSymbol;
  /** Identical when compiled by the kernel's own command, without a section for each function. */
  byStockFlags?: boolean;
  /** Why it is not identical. */
  reason?: string;
}

export interface UnitMatch {
  functions: ReadonlyMap<Piece, FunctionMatch>;
  /** Where the pieces that identical functions refer to lie in the target. */
  pieces: ReadonlyMap<Piece, bigint>;
  /** Where the outside symbols that identical functions refer to lie in the target. */
  symbols: ReadonlyMap<string, FieldTarget>;
}

interface Found {
  pieces: Map<Piece, bigint>;
  symbols: Map<string, FieldTarget>;
  /** What functions that are identical have told. */
  known: ReadonlyMap<string, FieldTarget>;
}

export function matchUnit(original: UnitObject, target: TargetCode): UnitMatch {
  const functions = new Map<Piece, FunctionMatch>();
  const all = { pieces: new Map<Piece, bigint>(), symbols: new Map<string, FieldTarget>() };
  const undecided: { piece: Piece; candidates: { symbol: TargetSymbol; found: Found }[] }[] = [];
  const anchors: bigint[] = [];

  const accept = (piece: Piece, symbol: TargetSymbol, found: Found) => {
    functions.set(piece, { piece, status: "identical", symbol });
    all.pieces.set(piece, symbol.location - BigInt(piece.entry));
    for (const [key, value] of found.pieces) all.pieces.set(key, value);
    for (const [key, value] of found.symbols) all.symbols.set(key, value);
  };

  for (const piece of original.pieces) {
    if (piece.role !== "code" || !piece.named || piece.symbols[0]?.type !== STT_FUNC) continue;
    const candidates = target.symbolsNamed(piece.name);
    if (candidates.length === 0) {
      functions.set(piece, { piece, status: "absent", reason: `${target.object} has no ${piece.name}` });
      continue;
    }
    let reason = "";
    const identical: { symbol: TargetSymbol; found: Found }[] = [];
    for (const symbol of candidates) {
      const found: Found = { pieces: new Map(), symbols: new Map(), known: all.symbols };
      const difference = compareFunction(piece, symbol.location, target, found);
      if (difference === undefined) identical.push({ symbol, found });
      else reason = difference;
    }
    const only = identical.length === 1 ? identical[0] : undefined;
    if (only) {
      accept(piece, only.symbol, only.found);
      if (candidates.length === 1) anchors.push(only.symbol.location);
    } else if (identical.length > 1) undecided.push({ piece, candidates: identical });
    else functions.set(piece, { piece, status: "different", reason });
  }

  // The linker keeps a unit together: of several identical twins, the one among its siblings is meant.
  anchors.sort((a, b) => (a < b ? -1 : 1));
  const [first, last] = [anchors[0] ?? 0n, anchors.at(-1) ?? 0n];
  for (const { piece, candidates } of undecided) {
    const near = candidates.filter(({ symbol }) => symbol.location >= first && symbol.location <= last);
    const referredTo = candidates.filter(
      ({ symbol }) => all.pieces.get(piece) === symbol.location - BigInt(piece.entry),
    );
    const chosen = referredTo.length === 1 ? referredTo[0] : near.length === 1 ? near[0] : undefined;
    if (chosen) accept(piece, chosen.symbol, chosen.found);
    else
      functions.set(piece, {
        piece,
        status: "ambiguous",
        reason: `${candidates.length} functions named ${piece.name} are identical to it`,
      });
  }
  return { functions, pieces: all.pieces, symbols: all.symbols };
}

/** Undefined when the target holds the function at `location`; else the first difference. */
function compareFunction(
  piece: Piece,
  location: bigint,
  target: TargetCode,
  found: Found,
): string | undefined {
  const size =
    Math.min(
      piece.end,
      piece.start + piece.entry + piece.symbols.reduce((most, symbol) => Math.max(most, symbol.size), 0),
    ) -
    piece.start -
    piece.entry;
  const code = {
    arch: piece.arch,
    section: piece.section,
    start: piece.start + piece.entry,
    end: piece.start + piece.entry + size,
  };
  const sites = new Set<number>();
  for (const entry of piece.tableEntries) {
    if (entry.section.name !== "__jump_table") continue;
    const site = entry.references[0]?.target;
    if (site && isPieceTarget(site) && site.piece === piece) sites.add(site.addend - piece.entry);
  }
  const references = piece.references.filter(
    (reference) => reference.offset >= piece.entry && reference.offset < piece.entry + size,
  );
  return compareBytes(code, references, piece.entry, location, target, found, sites, new Set());
}

function compareBytes(
  range: Pick<Piece, "arch" | "section" | "start" | "end">,
  references: readonly Reference[],
  /** Subtracted from the references' offsets. */
  bias: number,
  location: bigint,
  target: TargetCode,
  found: Found,
  jumpLabelSites: ReadonlySet<number>,
  visiting: Set<Piece>,
): string | undefined {
  const expected = range.section.data.length === 0 ? new Uint8Array(0) : pieceBytes(range);
  const actual = target.read(location, expected.length);
  if (!actual) return `${target.object} holds nothing at that place`;
  const ignored = new Uint8Array(expected.length);
  const { arch } = range;

  for (const site of jumpLabelSites) {
    const size = arch.jumpLabelSiteSize(expected, site);
    // objtool makes NOPs of the jumps whose label is off (CONFIG_HAVE_JUMP_LABEL_HACK).
    if (size && arch.isJumpLabelNop(actual.subarray(site, site + size))) ignored.fill(1, site, site + size);
  }
  for (const reference of references) {
    const at = reference.offset - bias;
    const kind = arch.fieldKind(reference.type)!;
    if (isTracerCall(reference.target, arch)) {
      const { field, sizeBytes } = arch.tracerCall;
      ignored.fill(1, at - field, at - field + sizeBytes);
      continue;
    }
    if (ignored[at]) continue;
    ignored.fill(1, at, at + kind.sizeBytes);
    const difference = compareTarget(reference, location + BigInt(at), kind, target, found, visiting);
    if (difference) return `${difference} at +0x${at.toString(16)}`;
  }
  for (let index = 0; index < expected.length; index++)
    if (!ignored[index] && expected[index] !== actual[index])
      return `its code differs at +0x${index.toString(16)}`;
  return undefined;
}

function isTracerCall(target: PieceTarget | SymbolTarget, arch: Architecture): boolean {
  return !isPieceTarget(target) && target.symbol === arch.tracerCall.symbol;
}

function compareTarget(
  reference: Reference,
  location: bigint,
  kind: RelocationKind,
  target: TargetCode,
  found: Found,
  visiting: Set<Piece>,
): string | undefined {
  const actual = target.fieldTarget(location, kind, reference.target.addend);
  if (!actual) return "it holds a field that cannot be read back";
  if (!isPieceTarget(reference.target)) {
    const { symbol } = reference.target;
    const same =
      "symbol" in actual
        ? actual.symbol === symbol
        : target.symbolsNamed(symbol).some((known) => known.location === actual.location) ||
          isNameless(symbol, actual.location, target, found);
    if (!same) return `it refers to ${nameOf(actual, target)} where the object refers to ${symbol}`;
    found.symbols.set(symbol, actual);
    return undefined;
  }
  const { piece } = reference.target;
  if ("symbol" in actual) {
    // Exported functions of the same module may be named rather than placed.
    return piece.symbols.some(({ name }) => name === actual.symbol)
      ? undefined
      : `it refers to ${actual.symbol} where the object refers to ${piece.name}`;
  }
  if (isContentOnly(piece)) {
    if (visiting.has(piece)) return undefined;
    visiting.add(piece);
    const difference = compareBytes(
      piece,
      piece.references,
      0,
      actual.location,
      target,
      found,
      new Set(),
      visiting,
    );
    visiting.delete(piece);
    if (difference)
      return `${piece.role === "auxiliaryCode" ? "its alternative instructions differ" : "it reads another constant"}`;
  } else {
    const symbolLocation = actual.location + BigInt(piece.entry);
    const same = piece.symbols.some(({ name }) =>
      target.symbolsNamed(name).some((known) => known.location === symbolLocation),
    );
    if (piece.named && !same)
      return `it refers to ${nameOf({ location: symbolLocation }, target)} where the object refers to ${piece.name}`;
  }
  found.pieces.set(piece, actual.location);
  return undefined;
}

/**
 * The tables that kallsyms itself is made of have no entry in it (is_ignored_symbol() in scripts/kallsyms.c): one of
 * them is where all functions of the unit say that it is, and where nothing else is.
 */
function isNameless(symbol: string, location: bigint, target: TargetCode, found: Found): boolean {
  if (!kallsymsTables.test(symbol) || target.symbolsNamed(symbol).length > 0) return false;
  for (const [name, place] of [...found.known, ...found.symbols])
    if (kallsymsTables.test(name) && "location" in place)
      if ((name === symbol) !== (place.location === location)) return false;
  return target.symbolsAt(location).length === 0;
}

const kallsymsTables =
  /^kallsyms_(addresses|offsets|relative_base|num_syms|names|markers|token_table|token_index|seqs_of_names)$/;

function nameOf(place: FieldTarget, target: TargetCode): string {
  if ("symbol" in place) return place.symbol;
  return target.symbolsAt(place.location)[0]?.name ?? `0x${place.location.toString(16)}`;
}
