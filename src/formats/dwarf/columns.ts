/** Index of an entry (DIE); entries are in the order of their sections, parents before their children. */
export type Entry = number;

/** Where an attribute is absent. */
export const absent = -1;

export const flagDeclaration = 1;
export const flagExternal = 2;

const numbers = [
  /** Where the entry begins, in .debug_info with .debug_types behind it. */
  "offsets",
  /** Where the name begins, in the texts of {@link DwarfText}. */
  "names",
  "types",
  /** DW_AT_abstract_origin, DW_AT_specification: offset of the entry that tells the rest. */
  "origins",
  "sizes",
  /** DW_AT_const_value, DW_AT_encoding, number of elements; NaN where absent. */
  "constants",
  /** Of a member, in bits. */
  "positions",
  "bitSizes",
  /** Encoded place of code or of a variable. */
  "places",
] as const;

const integers = ["parents", "ends", "unitIndexes", "lines", "files"] as const;

type Columns = Record<(typeof numbers)[number], Float64Array> &
  Record<(typeof integers)[number], Int32Array> & { tags: Uint16Array; flags: Uint8Array };

/**
 * The attributes of all entries that anybody asks for, as columns of numbers: an object of the kernel has tens of
 * thousands of entries, of which few are looked at.
 */
export class EntryColumns {
  count = 0;
  columns: Columns;
  #capacity: number;
  /** Constants that a number cannot hold exactly. */
  readonly wideConstants = new Map<Entry, bigint>();
  /** DW_AT_bit_offset, which DWARF 2 and 3 count from the most significant bit of the storage unit. */
  readonly oldBitOffsets = new Map<Entry, number>();
  readonly ranges = new Map<Entry, { value: number; isIndex: boolean }>();
  /** DW_AT_type and DW_AT_signature where they name a type unit. */
  readonly typeSignatures = new Map<Entry, bigint>();
  readonly originSignatures = new Map<Entry, bigint>();
  /** Offset of the entry that a type unit is about, by its signature. */
  readonly typeUnits = new Map<bigint, number>();

  constructor(capacity: number) {
    this.#capacity = Math.max(capacity, 16);
    this.columns = emptyColumns(this.#capacity);
  }

  add(offset: number, unitIndex: number, tag: number, parent: Entry): Entry {
    if (this.count === this.#capacity) this.#grow();
    const entry = this.count++;
    const { columns } = this;
    columns.offsets[entry] = offset;
    columns.unitIndexes[entry] = unitIndex;
    columns.tags[entry] = tag;
    columns.parents[entry] = parent;
    columns.ends[entry] = entry + 1;
    columns.constants[entry] = Number.NaN;
    columns.names[entry] = absent;
    columns.types[entry] = absent;
    columns.origins[entry] = absent;
    columns.sizes[entry] = absent;
    columns.positions[entry] = absent;
    columns.bitSizes[entry] = absent;
    columns.places[entry] = absent;
    columns.lines[entry] = absent;
    columns.files[entry] = absent;
    return entry;
  }

  #grow(): void {
    this.#capacity *= 2;
    const grown = emptyColumns(this.#capacity);
    for (const [name, column] of Object.entries(this.columns)) grown[name as keyof Columns].set(column);
    this.columns = grown;
  }
}

function emptyColumns(capacity: number): Columns {
  const columns: Partial<Columns> = { tags: new Uint16Array(capacity), flags: new Uint8Array(capacity) };
  for (const name of numbers) columns[name] = new Float64Array(capacity);
  for (const name of integers) columns[name] = new Int32Array(capacity);
  return columns as Columns;
}
