/**
 * A relocatable object as the compiler meant it: functions, variables, strings, and the table
 * entries that belong to functions, with every relocation resolved to the piece that it points to.
 */
import { RekernelError } from "../../core/errors.ts";
import {
  EM_X86_64,
  ET_REL,
  SHF_EXECINSTR,
  SHF_MERGE,
  SHF_STRINGS,
  SHN_LORESERVE,
  SHN_UNDEF,
  STB_LOCAL,
  STB_WEAK,
  STT_FILE,
  STT_FUNC,
  STT_SECTION,
} from "../../formats/elf/constants.ts";
import {
  type ElfFile,
  type ElfRelocation,
  type ElfSection,
  type ElfSymbol,
  readElf,
} from "../../formats/elf/read.ts";
import { bytesFromFieldToNextInstruction, isBranchField, relocationKind } from "./arch/x86_64.ts";
import { isHintForObjtool, type SectionRole, sectionRole } from "./sections.ts";
import { entrySize } from "./table-entries.ts";

/** A range of a section that is kept or left as a whole. */
export interface Piece {
  /** The symbol's name; pieces without one are called after their section and offset. */
  name: string;
  role: Exclude<SectionRole, "ignored" | "table">;
  /** False for strings, literal pools and replacements: pieces that are known by their content alone. */
  named: boolean;
  section: ElfSection;
  /** Range in the section, padding before a function included. */
  start: number;
  end: number;
  /** The symbol that names the piece, and others at the same place. */
  symbols: readonly ElfSymbol[];
  /** Offset of the symbol within the piece: behind the padding that CONFIG_CALL_PADDING asks for. */
  entry: number;
  /** True when the section holds other functions, whose mutual jumps carry no relocation. */
  shared: boolean;
  references: readonly Reference[];
  /** Entries of tables (bug table, jump labels, …) that belong to this function. */
  tableEntries: TableEntry[];
}

/** A relocation of a piece or a table entry. */
export interface Reference {
  /** From the start of the piece or entry. */
  offset: number;
  type: number;
  /** A direct call or jump, as opposed to an address that is taken. */
  branch: boolean;
  target: PieceTarget | SymbolTarget;
}

export interface PieceTarget {
  piece: Piece;
  /** What the relocation adds to the start of the piece (for PC-relative fields this is not the place pointed to). */
  addend: number;
}

export interface SymbolTarget {
  /** Undefined in this object. */
  symbol: string;
  weak: boolean;
  addend: number;
}

export function isPieceTarget(target: PieceTarget | SymbolTarget): target is PieceTarget {
  return "piece" in target;
}

/** One entry of a table such as __bug_table. */
export interface TableEntry {
  section: ElfSection;
  start: number;
  /** Of the last entry this may lie behind the section's end, where the next one would begin. */
  end: number;
  references: readonly Reference[];
}

export interface UnitObject {
  name: string;
  pieces: readonly Piece[];
  /** Named functions and variables. */
  byName: ReadonlyMap<string, Piece>;
  /** Tables that are present, by name. */
  tables: ReadonlyMap<string, ElfSection>;
}

/**
 * @throws RekernelError RK-BAD-ELF, RK-BAD-OBJECT (1)
 */
export function readUnitObject(bytes: Uint8Array, name: string): UnitObject {
  return new ObjectReader(readElf(bytes, name)).read();
}

function badObject(name: string, reason: string): RekernelError {
  return new RekernelError(
    "failed",
    "RK-BAD-OBJECT",
    `${name} is not an object that can be compared: ${reason}.`,
  );
}

class ObjectReader {
  readonly #elf: ElfFile;
  readonly #symbolsOf = new Map<number, ElfSymbol[]>();
  readonly #piecesOf = new Map<number, Piece[]>();
  readonly #relocations = new Map<number, ElfRelocation[]>();
  readonly #roles: readonly SectionRole[];

  constructor(elf: ElfFile) {
    this.#elf = elf;
    if (elf.header.type !== ET_REL) throw badObject(elf.name, "it is not a relocatable object");
    if (elf.header.machine !== EM_X86_64)
      throw badObject(elf.name, `it is for another architecture (ELF machine ${elf.header.machine})`);
    if (elf.symbols.length === 0) throw badObject(elf.name, "it has no symbol table");
    for (const symbol of elf.symbols) {
      if (symbol.type === STT_SECTION || symbol.type === STT_FILE) continue;
      if (symbol.shndx === SHN_UNDEF || symbol.shndx >= SHN_LORESERVE) continue;
      append(this.#symbolsOf, symbol.shndx, symbol);
    }
    this.#roles = elf.sections.map((section) => {
      const role = sectionRole(section);
      // Code that belongs to functions elsewhere: .text..refcount of 4.14 to 4.20, cold parts by old compilers.
      const hasFunctions = this.#symbolsOf.get(section.index)?.some(({ type }) => type === STT_FUNC);
      return role === "code" && !hasFunctions ? "auxiliaryCode" : role;
    });
  }

  read(): UnitObject {
    const pieces: Piece[] = [];
    const tables = new Map<string, ElfSection>();
    for (const section of this.#elf.sections) {
      const role = this.#roles[section.index]!;
      if (role === "ignored") continue;
      this.#relocations.set(section.index, sortedByOffset(this.#elf.relocationsOf(section)));
      if (role === "table") tables.set(section.name, section);
      else this.#piecesOf.set(section.index, this.#split(section, role));
    }
    // Auxiliary code has no symbols: what points into it tells where its pieces begin.
    this.#splitAuxiliaryCode();
    for (const list of this.#piecesOf.values())
      for (const piece of list) {
        piece.references = this.#references(piece.section, piece.start, piece.end);
        pieces.push(piece);
      }
    // By name: the order of the sections depends on which function needs one first.
    for (const name of [...tables.keys()].sort()) this.#assignEntries(tables.get(name)!);
    const byName = new Map<string, Piece>();
    for (const piece of pieces)
      if (piece.named) for (const symbol of piece.symbols) byName.set(symbol.name, piece);
    return { name: this.#elf.name, pieces, byName, tables };
  }

  #split(section: ElfSection, role: Piece["role"]): Piece[] {
    if (role === "auxiliaryCode") return [];
    const isCode = role === "code" || role === "initCode";
    const symbols = (this.#symbolsOf.get(section.index) ?? [])
      .filter((symbol) => (isCode ? symbol.type === STT_FUNC && !this.#isPadding(symbol) : true))
      .sort(
        (a, b) => Number(a.value - b.value) || preference(a) - preference(b) || (a.name < b.name ? -1 : 1),
      );
    if (!isCode && section.flags & SHF_MERGE) return splitMergeable(section, role);

    const starts: { start: number; symbols: ElfSymbol[] }[] = [];
    for (const symbol of symbols) {
      const start = Number(symbol.value);
      if (start > section.size)
        throw badObject(this.#elf.name, `symbol ${symbol.name} lies outside its section`);
      const last = starts.at(-1);
      if (last?.start === start) last.symbols.push(symbol);
      else starts.push({ start, symbols: [symbol] });
    }
    if (starts.length === 0)
      return section.size === 0 ? [] : [newPiece(section, role, 0, section.size, [], 0, false)];
    const only = starts.length === 1 ? starts[0] : undefined;
    if (only) return [newPiece(section, role, 0, section.size, only.symbols, only.start, false)];
    return starts.map(({ start, symbols: group }, index) => {
      const next = starts[index + 1]?.start ?? section.size;
      // Behind a function that shares its section stands the padding of the next one.
      const size = Math.max(...group.map((symbol) => symbol.size));
      const end = isCode && size > 0 ? Math.min(start + size, next) : next;
      return newPiece(section, role, start, end, group, 0, isCode);
    });
  }

  /**
   * Padding in front of a function may have a symbol of its own: `__pfx_` by objtool (CONFIG_PREFIX_SYMBOLS), `__cfi_`
   * by clang (kCFI). It goes along with its function, whose name is the one that counts.
   */
  #isPadding(symbol: ElfSymbol): boolean {
    const owner = /^__(?:pfx|cfi)_(.+)$/.exec(symbol.name)?.[1];
    if (owner === undefined) return false;
    return this.#symbolsOf
      .get(symbol.shndx)!
      .some(({ name, value }) => name === owner && value > symbol.value);
  }

  #splitAuxiliaryCode(): void {
    const cuts = new Map<number, Set<number>>();
    for (const [index, relocations] of this.#relocations) {
      const section = this.#elf.sections[index]!;
      for (const relocation of relocations) {
        const symbol = this.#elf.symbols[relocation.symbol]!;
        const target = this.#elf.sections[symbol.shndx];
        if (
          symbol.shndx === SHN_UNDEF ||
          symbol.shndx >= SHN_LORESERVE ||
          !target ||
          this.#roles[target.index] !== "auxiliaryCode"
        )
          continue;
        const set = cuts.get(target.index) ?? new Set([0]);
        set.add(this.#pointedOffset(section, relocation, symbol));
        cuts.set(target.index, set);
      }
    }
    for (const section of this.#elf.sections) {
      if (this.#roles[section.index] !== "auxiliaryCode" || section.size === 0) continue;
      const starts = [...(cuts.get(section.index) ?? [0])]
        .filter((at) => at >= 0 && at < section.size)
        .sort((a, b) => a - b);
      this.#piecesOf.set(
        section.index,
        starts.map((start, index) =>
          newPiece(section, "auxiliaryCode", start, starts[index + 1] ?? section.size, [], 0, false),
        ),
      );
    }
  }

  /** Offset, in the section of `symbol`, of the place that a relocation points to. */
  #pointedOffset(section: ElfSection, relocation: ElfRelocation, symbol: ElfSymbol): number {
    const base = Number(symbol.value) + relocation.addend;
    const role = this.#roles[section.index];
    const inCode = role === "code" || role === "initCode" || role === "auxiliaryCode";
    if (!inCode || !relocationKind(relocation.type)?.pcRelative) return base;
    return base + bytesFromFieldToNextInstruction(section.data, relocation.offset);
  }

  #references(section: ElfSection, start: number, end: number): Reference[] {
    const relocations = this.#relocations.get(section.index) ?? [];
    const references: Reference[] = [];
    for (let index = lowerBound(relocations, start); index < relocations.length; index++) {
      const relocation = relocations[index]!;
      if (relocation.offset >= end) break;
      const reference = this.#reference(section, relocation, start);
      if (reference) references.push(reference);
    }
    return references;
  }

  #reference(section: ElfSection, relocation: ElfRelocation, start: number): Reference | undefined {
    const kind = relocationKind(relocation.type);
    if (relocation.type === 0) return undefined;
    if (!kind)
      throw badObject(
        this.#elf.name,
        `section ${section.name} has a relocation of type ${relocation.type}, which the kernel's module loader does not apply`,
      );
    if (relocation.offset + kind.sizeBytes > section.size)
      throw badObject(this.#elf.name, `a relocation runs over the end of ${section.name}`);
    const symbol = this.#elf.symbols[relocation.symbol]!;
    const role = this.#roles[section.index];
    const isCode = role === "code" || role === "initCode" || role === "auxiliaryCode";
    const branch = isCode && kind.pcRelative && isBranchField(section.data, relocation.offset);
    const at = { offset: relocation.offset - start, type: relocation.type, branch };
    // The null symbol, absolute and common ones lie in no section either: their name is all there is to know.
    if (symbol.shndx === SHN_UNDEF || symbol.shndx >= SHN_LORESERVE)
      return {
        ...at,
        target: { symbol: symbol.name, weak: symbol.bind === STB_WEAK, addend: relocation.addend },
      };
    const pointed = this.#pointedOffset(section, relocation, symbol);
    const piece = this.#pieceAt(symbol.shndx, symbol, pointed);
    if (!piece) return undefined;
    return { ...at, target: { piece, addend: Number(symbol.value) + relocation.addend - piece.start } };
  }

  /** Undefined for places in sections that mean nothing to a live patch. */
  #pieceAt(sectionIndex: number, symbol: ElfSymbol, pointed: number): Piece | undefined {
    const pieces = this.#piecesOf.get(sectionIndex);
    const first = pieces?.[0];
    if (!pieces || !first) return undefined;
    if (pieces.length === 1) return first;
    // A named symbol says which variable is meant, wherever in or behind it the address lies.
    if (symbol.type !== STT_SECTION) {
      const named = pieces.find((piece) => piece.symbols.includes(symbol));
      if (named) return named;
    }
    let low = 0;
    let high = pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pieces[middle]!.start <= pointed) low = middle;
      else high = middle - 1;
    }
    return pieces[low];
  }

  #assignEntries(table: ElfSection): void {
    const relocations = this.#relocations.get(table.index) ?? [];
    if (table.data.length < table.size) throw badObject(this.#elf.name, `${table.name} has no content`);
    const stride = entrySize(table, relocations, ({ symbol }) => {
      const target = this.#elf.sections[this.#elf.symbols[symbol]!.shndx];
      return target !== undefined && (target.flags & SHF_EXECINSTR) !== 0;
    });
    if (stride === undefined && isHintForObjtool(table.name)) return;
    if (stride === undefined)
      throw badObject(this.#elf.name, `the entries of ${table.name} have no regular size`);
    for (let start = 0; start < table.size; start += stride) {
      const references = this.#references(table, start, start + stride);
      const owner = references
        .map((reference) => reference.target)
        .find((target) => isPieceTarget(target) && isCodeRole(target.piece.role));
      if (owner && isPieceTarget(owner))
        owner.piece.tableEntries.push({ section: table, start, end: start + stride, references });
    }
  }
}

export function isCodeRole(role: SectionRole): boolean {
  return role === "code" || role === "initCode" || role === "auxiliaryCode";
}

/** The bytes of a piece; NOBITS data reads as empty. */
export function pieceBytes(piece: Pick<Piece, "section" | "start" | "end">): Uint8Array {
  return piece.section.data.subarray(piece.start, piece.end);
}

function newPiece(
  section: ElfSection,
  role: Piece["role"],
  start: number,
  end: number,
  symbols: readonly ElfSymbol[],
  entry: number,
  shared: boolean,
): Piece {
  // Assembler-local labels (.LC0, .L12) are the compiler's scratch names.
  const meaningful = symbols.filter((symbol) => !symbol.name.startsWith(".L") && symbol.name !== "");
  const name = meaningful[0]?.name;
  return {
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

/** Strings are pieces by themselves, other mergeable constants by their entry size. */
function splitMergeable(section: ElfSection, role: Piece["role"]): Piece[] {
  const pieces: Piece[] = [];
  if (section.flags & SHF_STRINGS) {
    const step = Math.max(section.entsize, 1);
    let start = 0;
    for (let at = 0; at + step <= section.data.length; at += step) {
      if (section.data.subarray(at, at + step).some((byte) => byte !== 0)) continue;
      pieces.push(newPiece(section, role, start, at + step, [], 0, false));
      start = at + step;
    }
    if (start < section.data.length)
      pieces.push(newPiece(section, role, start, section.data.length, [], 0, false));
    return pieces;
  }
  const step = section.entsize > 0 ? section.entsize : section.size;
  for (let at = 0; at < section.data.length; at += step)
    pieces.push(newPiece(section, role, at, Math.min(at + step, section.data.length), [], 0, false));
  return pieces;
}

/** Global names before local ones, functions and objects before untyped labels. */
function preference(symbol: ElfSymbol): number {
  return (
    (symbol.bind === STB_LOCAL ? 2 : 0) + (symbol.bind === STB_WEAK ? 1 : 0) + (symbol.type === 0 ? 4 : 0)
  );
}

function sortedByOffset(relocations: ElfRelocation[]): ElfRelocation[] {
  for (let index = 1; index < relocations.length; index++)
    if (relocations[index]!.offset < relocations[index - 1]!.offset)
      return relocations.sort((a, b) => a.offset - b.offset);
  return relocations;
}

function lowerBound(relocations: readonly ElfRelocation[], offset: number): number {
  let low = 0;
  let high = relocations.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (relocations[middle]!.offset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
