/**
 * A relocatable object as the compiler meant it: functions, variables, strings, and the table
 * entries that belong to functions, with every relocation resolved to the piece that it points to.
 */
import { RekernelError } from "../../../core/errors.ts";
import {
  ET_REL,
  SHF_EXECINSTR,
  SHN_LORESERVE,
  SHN_UNDEF,
  STB_WEAK,
  STT_FILE,
  STT_FUNC,
  STT_SECTION,
} from "../../../formats/elf/constants.ts";
import {
  type ElfFile,
  type ElfRelocation,
  type ElfSection,
  type ElfSymbol,
  readElf,
} from "../../../formats/elf/read.ts";
import { type Architecture, architectureOf } from "../arch/architecture.ts";
import { readCode, type SectionCode } from "./code.ts";
import { cutSection } from "./cut.ts";
import { isHintForObjtool, type SectionRole, sectionRole } from "./sections.ts";
import { entrySize } from "./table-entries.ts";

/** A range of a section that is kept or left as a whole. */
export interface Piece {
  arch: Architecture;
  /** The symbol's name; pieces without one are called after their section and offset. */
  name: string;
  role: Exclude<SectionRole, "ignored" | "table">;
  /** False for strings, literal pools and replacements: pieces that are known by their content alone. */
  named: boolean;
  /** Fields of references hold zeros, as if each had a relocation. */
  section: ElfSection;
  /** Range in the section, padding before a function included. */
  start: number;
  end: number;
  /** The symbol that names the piece, and others at the same place. */
  symbols: readonly ElfSymbol[];
  /** Offset of the symbol within the piece: behind the padding that CONFIG_CALL_PADDING asks for. */
  entry: number;
  /** True when the section holds other functions. The assembler solves jumps between them, and sizes them by distance. */
  shared: boolean;
  references: readonly Reference[];
  /** Entries of tables (bug table, jump labels, …) that belong to this function. */
  tableEntries: TableEntry[];
}

/** A relocation of a piece or a table entry, or a jump to another function that the assembler solved by itself. */
export interface Reference {
  /** From the start of the piece or entry. */
  offset: number;
  /** As {@link Architecture.fieldKind} knows it. */
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
  arch: Architecture;
  name: string;
  pieces: readonly Piece[];
  /** Named functions and variables. */
  byName: ReadonlyMap<string, Piece>;
  /** Tables that are present, by name. */
  tables: ReadonlyMap<string, ElfSection>;
}

/**
 * @param entrySizes of tables, by section, as far as the kernel tells; those of others follow from their relocations
 * @throws RekernelError RK-BAD-ELF, RK-BAD-OBJECT (1)
 */
export function readUnitObject(
  bytes: Uint8Array,
  name: string,
  entrySizes: ReadonlyMap<string, number> = new Map(),
): UnitObject {
  return new ObjectReader(readElf(bytes, name), entrySizes).read();
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
  readonly #arch: Architecture;
  readonly #entrySizes: ReadonlyMap<string, number>;
  readonly #symbolsOf = new Map<number, ElfSymbol[]>();
  readonly #piecesOf = new Map<number, Piece[]>();
  readonly #pieceOfSymbol = new Map<ElfSymbol, Piece>();
  readonly #relocations = new Map<number, ElfRelocation[]>();
  readonly #code = new Map<number, SectionCode>();
  readonly #roles: readonly SectionRole[];

  constructor(elf: ElfFile, entrySizes: ReadonlyMap<string, number>) {
    this.#elf = elf;
    this.#entrySizes = entrySizes;
    if (elf.header.type !== ET_REL) throw badObject(elf.name, "it is not a relocatable object");
    const arch = architectureOf(elf.header.machine);
    if (!arch)
      throw badObject(
        elf.name,
        `it is for another architecture (ELF machine ${elf.header.machine}), which rekernel does not compare yet`,
      );
    this.#arch = arch;
    // gcc -flto without -ffat-lto-objects (lto-streamer-out.c): two of them would pass for the same.
    if (elf.symbols.some((symbol) => symbol.name === "__gnu_lto_slim"))
      throw badObject(elf.name, "it holds the compiler's intermediate code (-flto), and no machine code");
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
    const tables = new Map<string, ElfSection>();
    for (const section of this.#elf.sections) {
      const role = this.#roles[section.index]!;
      if (role === "ignored") continue;
      const outside = this.#symbolsOf.get(section.index)?.find(({ value }) => value > BigInt(section.size));
      if (outside) throw badObject(this.#elf.name, `symbol ${outside.name} lies outside its section`);
      this.#relocations.set(section.index, sortedByOffset(this.#elf.relocationsOf(section)));
      if (role === "table") tables.set(section.name, section);
    }
    this.#cut();
    const pieces = [...this.#piecesOf.values()].flat();
    for (const piece of pieces)
      piece.references = this.#references(piece.section, piece.start, piece.end, piece);
    // By name: the order of the sections depends on which function needs one first.
    for (const name of [...tables.keys()].sort()) this.#assignEntries(tables.get(name)!);
    const byName = new Map<string, Piece>();
    for (const piece of pieces)
      if (piece.named) for (const symbol of piece.symbols) byName.set(symbol.name, piece);
    return { arch: this.#arch, name: this.#elf.name, pieces, byName, tables };
  }

  /** Code first: its instructions tell which places data is cut at. */
  #cut(): void {
    const paddingStarts = this.#paddingStarts();
    const cut = (section: ElfSection, pointed: readonly number[]) => {
      const pieces = cutSection({
        arch: this.#arch,
        section,
        role: this.#roles[section.index] as Piece["role"],
        symbols: this.#symbolsOf.get(section.index) ?? [],
        pointed,
        paddingStarts: paddingStarts.get(section.index) ?? [],
        relocated: this.#relocations.get(section.index)!.map(({ offset }) => offset),
      });
      if (pieces.length > 1)
        for (const piece of pieces)
          for (const symbol of piece.symbols) this.#pieceOfSymbol.set(symbol, piece);
      this.#piecesOf.set(section.index, pieces);
      return pieces;
    };
    const isFunctions = (role: SectionRole) => role === "code" || role === "initCode";
    const sections = this.#elf.sections.filter(({ index }) => this.#relocations.has(index));
    const rest: ElfSection[] = [];
    for (const section of sections) {
      const role = this.#roles[section.index]!;
      // In the order of the sections, so that pieces come out in it.
      if (role !== "table") this.#piecesOf.set(section.index, []);
      if (isFunctions(role)) {
        const pieces = cut(section, []);
        const starts = pieces.map(({ start }) => start);
        const code = readCode(this.#arch, section.data, starts, this.#relocations.get(section.index)!);
        this.#code.set(section.index, code);
        if (code.solved.length > 0) {
          const unsolved = withoutSolvedBranches(section, code);
          for (const piece of pieces) piece.section = unsolved;
        }
      } else if (role === "auxiliaryCode") {
        this.#code.set(
          section.index,
          readCode(this.#arch, section.data, [], this.#relocations.get(section.index)!),
        );
        rest.push(section);
      } else if (role !== "table") rest.push(section);
    }
    const pointed = this.#pointedPlaces();
    for (const section of rest) {
      const places = [...(pointed.get(section.index) ?? [])].filter((at) => at >= 0 && at < section.size);
      cut(
        section,
        places.sort((a, b) => a - b),
      );
    }
  }

  /** Where -fpatchable-function-entry has put NOPs in front of functions, by section. */
  #paddingStarts(): Map<number, number[]> {
    const starts = new Map<number, number[]>();
    for (const section of this.#elf.sections) {
      if (section.name !== "__patchable_function_entries") continue;
      for (const { symbol, addend } of this.#elf.relocationsOf(section)) {
        const { shndx, value } = this.#elf.symbols[symbol]!;
        append(starts, shndx, Number(value) + addend);
      }
    }
    return starts;
  }

  /** Offsets that anything points to, of sections that are cut there: auxiliary code and anonymous constants. */
  #pointedPlaces(): Map<number, Set<number>> {
    const places = new Map<number, Set<number>>();
    for (const [index, relocations] of this.#relocations) {
      const section = this.#elf.sections[index]!;
      for (const relocation of relocations) {
        const symbol = this.#elf.symbols[relocation.symbol]!;
        const role = this.#roles[symbol.shndx];
        if (symbol.shndx === SHN_UNDEF || (role !== "auxiliaryCode" && role !== "readOnlyData")) continue;
        // A variable's own name is no place between variables.
        if (role === "readOnlyData" && symbol.type !== STT_SECTION && !symbol.name.startsWith(".L")) continue;
        const known = places.get(symbol.shndx);
        const place = this.#pointedOffset(section, relocation, symbol);
        if (known) known.add(place);
        else places.set(symbol.shndx, new Set([place]));
      }
    }
    return places;
  }

  /** Offset, in the section of `symbol`, of the place that a relocation points to. */
  #pointedOffset(section: ElfSection, relocation: ElfRelocation, symbol: ElfSymbol): number {
    const base = Number(symbol.value) + relocation.addend;
    const code = this.#code.get(section.index);
    if (!code || !this.#arch.relocationKind(relocation.type)?.pcRelative) return base;
    const end = code.fields.get(relocation.offset)?.instructionEnd ?? relocation.offset + 4;
    return base + end - relocation.offset;
  }

  /** @param of the piece whose references they are, undefined for a table entry */
  #references(section: ElfSection, start: number, end: number, of?: Piece): Reference[] {
    const relocations = this.#relocations.get(section.index) ?? [];
    const references: Reference[] = [];
    for (let index = lowerBound(relocations, start); index < relocations.length; index++) {
      const relocation = relocations[index]!;
      if (relocation.offset >= end) break;
      const reference = this.#reference(section, relocation, start);
      if (reference) references.push(reference);
    }
    if (!of?.shared) return references;
    const solved = this.#solvedReferences(of);
    return solved.length === 0 ? references : [...references, ...solved].sort((a, b) => a.offset - b.offset);
  }

  #solvedReferences({ section, start, end }: Piece): Reference[] {
    const branches = this.#code.get(section.index)?.solved ?? [];
    const pieces = this.#piecesOf.get(section.index)!;
    const references: Reference[] = [];
    for (let index = lowerBoundOf(branches, ({ field }) => field < start); index < branches.length; index++) {
      const { field, size, target } = branches[index]!;
      if (field >= end) break;
      const piece = pieceAround(pieces, target);
      references.push({
        offset: field - start,
        type: size === 1 ? this.#arch.shortBranch : this.#arch.nearBranch,
        branch: true,
        target: { piece, addend: target - piece.start - size },
      });
    }
    return references;
  }

  #reference(section: ElfSection, relocation: ElfRelocation, start: number): Reference | undefined {
    const kind = this.#arch.relocationKind(relocation.type);
    if (relocation.type === 0) return undefined;
    if (!kind)
      throw badObject(
        this.#elf.name,
        `section ${section.name} has a relocation of type ${relocation.type}, which the kernel's module loader does not apply`,
      );
    if (relocation.offset + kind.sizeBytes > section.size)
      throw badObject(this.#elf.name, `a relocation runs over the end of ${section.name}`);
    const symbol = this.#elf.symbols[relocation.symbol]!;
    const branch = this.#code.get(section.index)?.fields.get(relocation.offset)?.branch ?? false;
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
    return this.#pieceOfSymbol.get(symbol) ?? pieceAround(pieces, pointed);
  }

  #assignEntries(table: ElfSection): void {
    const relocations = this.#relocations.get(table.index) ?? [];
    if (table.data.length < table.size) throw badObject(this.#elf.name, `${table.name} has no content`);
    const known = this.#entrySizes.get(table.name);
    const stride =
      known !== undefined && table.size % known === 0
        ? known
        : entrySize(table, relocations, ({ symbol }) => {
            const target = this.#elf.sections[this.#elf.symbols[symbol]!.shndx];
            return target !== undefined && (target.flags & SHF_EXECINSTR) !== 0;
          });
    if (stride === undefined && isHintForObjtool(table.name)) return;
    if (stride === undefined)
      throw badObject(this.#elf.name, `the entries of ${table.name} have no regular size`);
    for (let start = 0; start < table.size; start += stride) {
      const all = this.#references(table, start, start + stride);
      const replacesByNothing =
        table.name === ".altinstructions" &&
        this.#arch.isEmptyReplacement(table.data.subarray(start, start + stride));
      const references = replacesByNothing ? all.slice(0, 1) : all;
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

/** The branches' fields as the assembler writes those that have a relocation. */
function withoutSolvedBranches(section: ElfSection, { solved }: SectionCode): ElfSection {
  const data = Uint8Array.from(section.data);
  for (const { field, size } of solved) data.fill(0, field, field + size);
  return { ...section, data };
}

function pieceAround(pieces: readonly Piece[], offset: number): Piece {
  return pieces[Math.max(lowerBoundOf(pieces, ({ start }) => start <= offset) - 1, 0)]!;
}

function sortedByOffset(relocations: ElfRelocation[]): ElfRelocation[] {
  for (let index = 1; index < relocations.length; index++)
    if (relocations[index]!.offset < relocations[index - 1]!.offset)
      return relocations.sort((a, b) => a.offset - b.offset);
  return relocations;
}

function lowerBound(relocations: readonly ElfRelocation[], offset: number): number {
  return lowerBoundOf(relocations, (relocation) => relocation.offset < offset);
}

/** Index of the first element that is not before; those that are come first. */
function lowerBoundOf<T>(list: readonly T[], isBefore: (element: T) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(list[middle]!)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
