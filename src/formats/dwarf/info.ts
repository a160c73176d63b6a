/** The entries of .debug_info and .debug_types of an object, DWARF 2 to 5. */
import { latin1 } from "../bytes.ts";
import type { ElfFile } from "../elf/read.ts";
import { absent, type Entry, EntryColumns, flagDeclaration, flagExternal } from "./columns.ts";
import { maxStringBytes } from "./cursor.ts";
import { lineFiles } from "./line-files.ts";
import { firstRange } from "./ranges.ts";
import { badDwarf, debugSection } from "./sections.ts";
import { addressAt, type DwarfUnit, readUnit, type UnitContext } from "./unit.ts";

export type { Entry } from "./columns.ts";

/** Whether an object has debug information at all. */
export function hasDebugInfo(elf: ElfFile): boolean {
  return (elf.section(".debug_info")?.size ?? 0) > 0 && elf.section(".debug_abbrev") !== undefined;
}

export class DwarfInfo {
  readonly name: string;
  readonly units: readonly Readonly<DwarfUnit>[];
  readonly #elf: ElfFile;
  readonly #context: UnitContext;
  readonly #entries: EntryColumns;
  readonly #texts: readonly { start: number; bytes: Uint8Array; text?: string }[];
  readonly #names = new Map<number, string>();
  readonly #files = new Map<number, readonly (string | undefined)[]>();

  /** @throws RekernelError RK-BAD-DWARF, RK-BAD-ELF (1) */
  constructor(elf: ElfFile) {
    this.name = elf.name;
    this.#elf = elf;
    const main = debugSection(elf, ".debug_info");
    const types = debugSection(elf, ".debug_types");
    const info = types.length === 0 ? main : Buffer.concat([main, types]);
    const strings = debugSection(elf, ".debug_str");
    const lineStrings = debugSection(elf, ".debug_line_str");
    this.#texts = [
      { start: info.length + strings.length, bytes: lineStrings },
      { start: info.length, bytes: strings },
      { start: 0, bytes: info },
    ];
    this.#context = {
      info,
      infoSize: main.length,
      abbreviations: debugSection(elf, ".debug_abbrev"),
      stringOffsets: debugSection(elf, ".debug_str_offsets"),
      addresses: debugSection(elf, ".debug_addr"),
      stringsAt: info.length,
      lineStringsAt: info.length + strings.length,
      fail: (reason) => badDwarf(elf.name, reason),
    };
    // An entry takes eight bytes or more on average.
    this.#entries = new EntryColumns(info.length >> 3);
    const units: DwarfUnit[] = [];
    for (let at = 0; at < info.length; ) {
      const unit = readUnit(this.#context, at, this.#entries, units.length);
      units.push(unit);
      at = unit.end;
    }
    this.units = units;
  }

  /** Number of entries. */
  get count(): number {
    return this.#entries.count;
  }

  /** DW_TAG_… */
  tagOf(entry: Entry): number {
    return this.#entries.columns.tags[entry]!;
  }

  /** The entry that this one is a child of; -1 for a unit's own. */
  parentOf(entry: Entry): Entry {
    return this.#entries.columns.parents[entry]!;
  }

  /** The entry behind this one's last descendant. */
  endOf(entry: Entry): Entry {
    return this.#entries.columns.ends[entry]!;
  }

  childrenOf(entry: Entry): Entry[] {
    const children: Entry[] = [];
    const end = this.endOf(entry);
    for (let child = entry + 1; child < end; child = this.endOf(child)) children.push(child);
    return children;
  }

  /** DW_AT_name; "" without one. */
  nameOf(entry: Entry): string {
    return this.#text(this.#entries.columns.names[entry]!);
  }

  /**
   * DW_AT_type; undefined for void.
   *
   * @throws RekernelError RK-BAD-DWARF when no entry begins where it refers to
   */
  typeOf(entry: Entry): Entry | undefined {
    const signature = this.#entries.typeSignatures.get(entry);
    if (signature !== undefined) return this.#typeUnit(signature);
    return this.#entryAt(this.#entries.columns.types[entry]!);
  }

  /** The entry that says what this one leaves out: DW_AT_abstract_origin, DW_AT_specification or DW_AT_signature. */
  originOf(entry: Entry): Entry | undefined {
    const signature = this.#entries.originSignatures.get(entry);
    if (signature !== undefined) return this.#typeUnit(signature);
    return this.#entryAt(this.#entries.columns.origins[entry]!);
  }

  /** DW_AT_byte_size. */
  sizeOf(entry: Entry): number | undefined {
    return present(this.#entries.columns.sizes[entry]!);
  }

  /** DW_AT_const_value of an enumerator, DW_AT_encoding of a base type. */
  constantOf(entry: Entry): bigint | undefined {
    const wide = this.#entries.wideConstants.get(entry);
    if (wide !== undefined) return wide;
    const value = this.#entries.columns.constants[entry]!;
    return Number.isNaN(value) ? undefined : BigInt(value);
  }

  /** Elements of a DW_TAG_subrange_type; undefined where there is no telling: a flexible or variable array. */
  elementsOf(entry: Entry): number | undefined {
    const value = this.#entries.columns.constants[entry]!;
    return value >= 0 ? value : undefined;
  }

  /** Where a member begins, in bits from the start of its structure (little-endian), and the bits of a bit-field. */
  memberPosition(entry: Entry): { bitOffset: number; bitSize: number | undefined } {
    const position = Math.max(this.#entries.columns.positions[entry]!, 0);
    const bitSize = present(this.#entries.columns.bitSizes[entry]!);
    const old = this.#entries.oldBitOffsets.get(entry);
    if (old === undefined || bitSize === undefined) return { bitOffset: position, bitSize };
    return { bitOffset: position + this.#storageBytes(entry) * 8 - old - bitSize, bitSize };
  }

  /** True for a type that is only named, and for an `extern` variable or function. */
  isDeclaration(entry: Entry): boolean {
    return (this.#entries.columns.flags[entry]! & flagDeclaration) !== 0;
  }

  isExternal(entry: Entry): boolean {
    return (this.#entries.columns.flags[entry]! & flagExternal) !== 0;
  }

  /**
   * Whether an entry of another object says the same in its own attributes: tag, name, size, position, constants. What
   * it refers to and where it is declared is left aside.
   */
  saysTheSame(entry: Entry, other: DwarfInfo, otherEntry: Entry): boolean {
    const [a, b] = [this.#entries.columns, other.#entries.columns];
    return (
      a.tags[entry] === b.tags[otherEntry] &&
      a.flags[entry] === b.flags[otherEntry] &&
      a.sizes[entry] === b.sizes[otherEntry] &&
      a.positions[entry] === b.positions[otherEntry] &&
      a.bitSizes[entry] === b.bitSizes[otherEntry] &&
      // Numbers that are missing are NaN.
      Object.is(a.constants[entry], b.constants[otherEntry]) &&
      this.#entries.wideConstants.get(entry) === other.#entries.wideConstants.get(otherEntry) &&
      this.#entries.oldBitOffsets.get(entry) === other.#entries.oldBitOffsets.get(otherEntry) &&
      this.nameOf(entry) === other.nameOf(otherEntry)
    );
  }

  /** Whether types lie in units of their own, known by signatures. */
  get hasTypeUnits(): boolean {
    return this.#entries.typeUnits.size > 0;
  }

  /**
   * The fixed place of a variable, or of a function's first instruction, as encodePlace() writes it. Undefined for
   * what lies on the stack or was optimised away.
   */
  placeOf(entry: Entry): number | undefined {
    const place = present(this.#entries.columns.places[entry]!);
    const ranges = this.#entries.ranges.get(entry);
    if (place !== undefined || !ranges) return place;
    const unit = this.unitOf(entry);
    return firstRange(
      { ranges: this.#section(".debug_ranges"), lists: this.#section(".debug_rnglists") },
      ranges,
      { ...unit, address: (index) => addressAt(this.#context, unit, index), fail: this.#context.fail },
    );
  }

  /** DW_AT_decl_file and DW_AT_decl_line: a path as the compiler was given it, mostly relative to directoryOf(). */
  declaredAt(entry: Entry): { path: string; line: number } | undefined {
    const line = this.#entries.columns.lines[entry]!;
    const { lineOffset } = this.unitOf(entry);
    if (line === absent || lineOffset === absent) return undefined;
    let files = this.#files.get(lineOffset);
    if (!files) {
      files = lineFiles(
        {
          line: this.#section(".debug_line"),
          strings: this.#texts[1]!.bytes,
          lineStrings: this.#texts[0]!.bytes,
        },
        lineOffset,
        this.#context.fail,
      );
      this.#files.set(lineOffset, files);
    }
    const path = files[this.#entries.columns.files[entry]!];
    return path === undefined ? undefined : { path, line };
  }

  unitOf(entry: Entry): Readonly<DwarfUnit> {
    return this.units[this.#entries.columns.unitIndexes[entry]!]!;
  }

  /** DW_AT_comp_dir: the folder that the compiler ran in. */
  directoryOf(entry: Entry): string {
    return this.#text(this.unitOf(entry).directory);
  }

  readonly #sections = new Map<string, Uint8Array>();

  #section(name: string): Uint8Array {
    const known = this.#sections.get(name) ?? debugSection(this.#elf, name);
    this.#sections.set(name, known);
    return known;
  }

  #text(at: number): string {
    if (at === absent) return "";
    let text = this.#names.get(at);
    if (text === undefined) {
      const source = this.#texts.find((candidate) => at >= candidate.start)!;
      // As one text: thousands of names are cut out of it.
      source.text ??= latin1(source.bytes);
      const from = at - source.start;
      const end = source.text.indexOf("\0", from);
      text = source.text.slice(from, Math.min(end < 0 ? source.text.length : end, from + maxStringBytes));
      this.#names.set(at, text);
    }
    return text;
  }

  #typeUnit(signature: bigint): Entry | undefined {
    return this.#entryAt(this.#entries.typeUnits.get(signature) ?? absent);
  }

  #storageBytes(member: Entry): number {
    let type: Entry | undefined = member;
    for (let steps = 0; type !== undefined && steps < 100; steps++) {
      const size = this.sizeOf(type);
      if (size !== undefined) return size;
      type = this.typeOf(type);
    }
    return 0;
  }

  #entryAt(offset: number): Entry | undefined {
    if (offset === absent) return undefined;
    const { offsets } = this.#entries.columns;
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (offsets[middle]! < offset) low = middle + 1;
      else high = middle;
    }
    if (this.count > 0 && offsets[low] === offset) return low;
    throw this.#context.fail(`an entry refers to offset 0x${offset.toString(16)}, where none begins`);
  }
}

function present(value: number): number | undefined {
  return value === absent ? undefined : value;
}
