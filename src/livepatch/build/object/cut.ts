/** Cuts a section into pieces, by its symbols and by what points into it. */
import { SHF_MERGE, SHF_STRINGS, STB_LOCAL, STB_WEAK, STT_FUNC } from "../../../formats/elf/constants.ts";
import type { ElfSection, ElfSymbol } from "../../../formats/elf/read.ts";
import type { Architecture } from "../arch/architecture.ts";
import type { Piece } from "./object.ts";

export interface SectionToCut {
  arch: Architecture;
  section: ElfSection;
  role: Piece["role"];
  /** All symbols that lie in the section, its own aside. */
  symbols: readonly ElfSymbol[];
  /** Offsets that relocations anywhere point to, ascending. */
  pointed: readonly number[];
  /** Where NOPs before functions begin, by __patchable_function_entries. */
  paddingStarts: readonly number[];
  /** Offsets of the section's own relocations, ascending. */
  relocated: readonly number[];
}

/** Symbols at one place of a section. */
interface Group {
  start: number;
  end: number;
  symbols: ElfSymbol[];
}

/** @returns the pieces, by where they start. A section may have bytes in none of them: padding. */
export function cutSection(cut: SectionToCut): Piece[] {
  const { section, role } = cut;
  if (section.size === 0 && cut.symbols.length === 0) return [];
  if (role === "auxiliaryCode") return anonymousPieces(cut, 0, section.size, false);
  if (role === "code" || role === "initCode") return cutCode(cut);
  if (section.flags & SHF_MERGE) return cutMergeable(cut);
  return cutData(cut);
}

function cutCode(cut: SectionToCut): Piece[] {
  const { section, paddingStarts } = cut;
  const isPadding = paddingSymbols(cut.symbols);
  const groups = groupsOf(
    cut.symbols.filter((symbol) => symbol.type === STT_FUNC && !isPadding(symbol)),
    section,
  );
  const only = groups[0];
  if (!only) return [newPiece(cut, 0, section.size, [], 0, false)];
  if (groups.length === 1) return [newPiece(cut, 0, section.size, only.symbols, only.start, false)];
  const beginnings = [
    ...paddingStarts,
    ...cut.symbols.filter(isPadding).map((symbol) => Number(symbol.value)),
  ].sort((a, b) => a - b);
  let previousEnd = 0;
  return groups.map(({ start, end, symbols }) => {
    const from = Math.min(beginnings[lowerBound(beginnings, previousEnd)] ?? start, start);
    previousEnd = end;
    return newPiece(cut, from, end, symbols, start - from, true);
  });
}

/**
 * Padding in front of a function may have a symbol of its own: `__pfx_` by objtool (CONFIG_PREFIX_SYMBOLS), `__cfi_`
 * by clang (kCFI). It goes along with its function, whose name is the one that counts.
 */
function paddingSymbols(symbols: readonly ElfSymbol[]): (symbol: ElfSymbol) => boolean {
  const places = new Map<string, bigint>();
  for (const { name, value } of symbols) places.set(name, value);
  return ({ name, value }) => {
    const owner = /^__(?:pfx|cfi)_(.+)$/.exec(name)?.[1];
    const start = owner === undefined ? undefined : places.get(owner);
    return start !== undefined && start > value;
  };
}

function cutData(cut: SectionToCut): Piece[] {
  const { section, role, pointed } = cut;
  const groups = groupsOf(cut.symbols.filter(isMeaningful), section);
  const only = groups[0];
  // Of data that can be written only symbols tell where a variable ends, and copies of it would be of no use.
  if (role === "data") {
    if (groups.length < 2 || !only)
      return [newPiece(cut, 0, section.size, only?.symbols ?? [], only?.start ?? 0, false)];
    return groups.map(({ start, end, symbols }, index) => {
      const next = groups[index + 1]?.start ?? section.size;
      return newPiece(cut, start, isBlank(cut, end, next) ? end : next, symbols, 0, false);
    });
  }
  const pieces: Piece[] = [];
  let covered = 0;
  for (const [index, { start, end, symbols }] of groups.entries()) {
    pieces.push(...anonymousPieces(cut, covered, start, index > 0));
    // What lies behind a variable and is not padding is its own (flexible arrays), up to where something points to.
    const next = groups[index + 1]?.start ?? section.size;
    const place = isBlank(cut, end, next) ? end : (pointed[lowerBound(pointed, end)] ?? next);
    covered = isBlank(cut, end, place) ? end : Math.min(place, next);
    pieces.push(newPiece(cut, start, covered, symbols, 0, false));
  }
  pieces.push(...anonymousPieces(cut, covered, section.size, groups.length > 0));
  return pieces;
}

/**
 * Switch tables and constants between variables.
 *
 * @param behindVariable an address at `from` is then the end of that variable, unless something lies there
 */
function anonymousPieces(cut: SectionToCut, from: number, to: number, behindVariable: boolean): Piece[] {
  if (from >= to) return [];
  const places = cut.pointed.slice(lowerBound(cut.pointed, from), lowerBound(cut.pointed, to));
  if (behindVariable && places[0] === from && isBlank(cut, from, to)) places.shift();
  const first = places[0];
  if (first === undefined) return behindVariable && isBlank(cut, from, to) ? [] : [anonymous(cut, from, to)];
  if (first > from && !isBlank(cut, from, first)) places.unshift(from);
  return places.map((start, index) => anonymous(cut, start, places[index + 1] ?? to));
}

function anonymous(cut: SectionToCut, start: number, end: number): Piece {
  return newPiece(cut, start, end, [], 0, false);
}

/** True for padding: zeros without relocations. */
function isBlank({ section, relocated }: SectionToCut, from: number, to: number): boolean {
  const at = relocated[lowerBound(relocated, from)];
  return (at === undefined || at >= to) && section.data.subarray(from, to).every((byte) => byte === 0);
}

/** Index of the first of ascending numbers that is not below `least`. */
function lowerBound(numbers: readonly number[], least: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Strings are pieces by themselves, other mergeable constants by their entry size. */
function cutMergeable(cut: SectionToCut): Piece[] {
  const { section } = cut;
  const pieces: Piece[] = [];
  const piece = (start: number, end: number) => pieces.push(newPiece(cut, start, end, [], 0, false));
  if (section.flags & SHF_STRINGS) {
    const step = Math.max(section.entsize, 1);
    let start = 0;
    for (let at = 0; at + step <= section.data.length; at += step) {
      if (section.data.subarray(at, at + step).some((byte) => byte !== 0)) continue;
      piece(start, at + step);
      start = at + step;
    }
    if (start < section.data.length) piece(start, section.data.length);
    return pieces;
  }
  const step = section.entsize > 0 ? section.entsize : section.size;
  for (let at = 0; at < section.data.length; at += step) piece(at, Math.min(at + step, section.data.length));
  return pieces;
}

function groupsOf(symbols: readonly ElfSymbol[], section: ElfSection): Group[] {
  const groups: Group[] = [];
  const sorted = [...symbols].sort(
    (a, b) =>
      Number(a.value - b.value) ||
      preference(a, section) - preference(b, section) ||
      // Compilers and linkers write a function before its aliases.
      a.index - b.index,
  );
  for (const symbol of sorted) {
    const start = Number(symbol.value);
    const last = groups.at(-1);
    if (last?.start === start) last.symbols.push(symbol);
    else groups.push({ start, end: start, symbols: [symbol] });
  }
  for (const [index, group] of groups.entries()) {
    const next = groups[index + 1]?.start ?? section.size;
    const size = group.symbols.reduce((most, symbol) => Math.max(most, symbol.size), 0);
    group.end = size > 0 ? Math.min(group.start + size, next) : next;
  }
  return groups;
}

/**
 * Global names before local ones, functions and objects before untyped labels, and before all that the one that the
 * compiler named the section after: others are aliases.
 */
function preference(symbol: ElfSymbol, section: ElfSection): number {
  const isAlias = !section.name.endsWith(`.${symbol.name}`);
  return (
    // An empty structure (a lock class without lockdep) lies where something else does.
    (symbol.size === 0 ? 16 : 0) +
    (isAlias ? 8 : 0) +
    (symbol.bind === STB_LOCAL ? 2 : 0) +
    (symbol.bind === STB_WEAK ? 1 : 0) +
    (symbol.type === 0 ? 4 : 0)
  );
}

/** Assembler-local labels (.LC0, .L12) are the compiler's scratch names. */
function isMeaningful({ name }: ElfSymbol): boolean {
  return name !== "" && !name.startsWith(".L");
}

function newPiece(
  { arch, section, role }: SectionToCut,
  start: number,
  end: number,
  symbols: readonly ElfSymbol[],
  entry: number,
  shared: boolean,
): Piece {
  const meaningful = symbols.filter(isMeaningful);
  const name = meaningful[0]?.name;
  return {
    arch,
    name: name ?? `${section.name}+0x${start.toString(16)}`,
    role,
    named: name !== undefined,
    section,
    start,
    end,
    symbols: meaningful,
    entry,
    shared,
    references: [],
    tableEntries: [],
  };
}
