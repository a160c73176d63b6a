/** Reads one unit of .debug_info or .debug_types into columns (DWARF 5, sections 7.5.1 to 7.5.6). */
import type { RekernelError } from "../../core/errors.ts";
import { type Abbreviation, readAbbreviations } from "./abbreviations.ts";
import { absent, type Entry, type EntryColumns, flagDeclaration, flagExternal } from "./columns.ts";
import * as dw from "./constants.ts";
import { Cursor } from "./cursor.ts";

/** What a unit's header and its own entry say for all its entries. */
export interface DwarfUnit {
  /** Offset of the header. */
  start: number;
  /** Offset behind the last entry. */
  end: number;
  version: number;
  /** 64-bit DWARF: offsets take 8 bytes. */
  wide: boolean;
  /** The unit's own entry. */
  root: Entry;
  stringOffsetsBase: number;
  addressBase: number;
  rangeListsBase: number;
  /** Of its line table; -1 without one. */
  lineOffset: number;
  /** Where the name of the folder is in which the compiler ran, as names are. */
  directory: number;
}

/** What units refer to by index or offset. */
export interface UnitContext {
  /** .debug_info, and .debug_types behind it. */
  info: Uint8Array;
  /** Length of .debug_info. */
  infoSize: number;
  abbreviations: Uint8Array;
  stringOffsets: Uint8Array;
  addresses: Uint8Array;
  /** What is added to an offset in .debug_str and .debug_line_str to make a name of the columns. */
  stringsAt: number;
  lineStringsAt: number;
  fail(reason: string): RekernelError;
}

/** @throws RekernelError RK-BAD-DWARF */
export function readUnit(
  context: UnitContext,
  start: number,
  columns: EntryColumns,
  index: number,
): DwarfUnit {
  const { info, fail } = context;
  const inTypes = start >= context.infoSize;
  const limit = inTypes ? info.length : context.infoSize;
  const cursor = new Cursor(info, fail, start, limit);
  let length = cursor.u32();
  const wide = length === 0xffffffff;
  if (wide) length = cursor.u64();
  if (!(cursor.at + length <= limit)) throw fail(`the unit at ${start} runs over the end of its section`);
  cursor.end = cursor.at + length;
  const version = cursor.u16();
  if (version < 2 || version > 5) throw fail(`the unit at ${start} has version ${version}`);
  const word = (): number => (wide ? cursor.u64() : cursor.u32());
  const kind = version === 5 ? cursor.u8() : inTypes ? dw.DW_UT_type : 0;
  const addressSize5 = version === 5 ? cursor.u8() : 0;
  const abbreviations = word();
  const addressSize = version === 5 ? addressSize5 : cursor.u8();
  if (addressSize !== 8) throw fail(`the unit at ${start} has addresses of ${addressSize} bytes`);
  if (kind === dw.DW_UT_type || kind === dw.DW_UT_split_type) {
    const at = cursor.skip(8);
    const signature = new DataView(info.buffer, info.byteOffset).getBigUint64(at, true);
    columns.typeUnits.set(signature, start + word());
  } else if (kind === dw.DW_UT_skeleton || kind === dw.DW_UT_split_compile) cursor.skip(8);
  const unit: DwarfUnit = {
    start,
    end: cursor.end,
    version,
    wide,
    root: columns.count,
    // Behind the header of the only contribution, where the unit does not say (DWARF 5, section 7.26).
    stringOffsetsBase: version < 5 ? 0 : wide ? 16 : 8,
    addressBase: version < 5 ? 0 : wide ? 16 : 8,
    rangeListsBase: wide ? 20 : 12,
    lineOffset: absent,
    directory: absent,
  };
  const table = readAbbreviations(context.abbreviations, abbreviations, fail);
  new UnitReader(context, cursor, unit, columns, index).read(table);
  return unit;
}

/** An entry of .debug_addr, as an encoded place. */
export function addressAt(context: UnitContext, unit: DwarfUnit, index: number): number {
  const cursor = new Cursor(context.addresses, context.fail, 0);
  cursor.skip(unit.addressBase + index * 8);
  return cursor.u64();
}

class UnitReader {
  readonly #context: UnitContext;
  readonly #cursor: Cursor;
  readonly #unit: DwarfUnit;
  readonly #columns: EntryColumns;
  readonly #index: number;
  /** Of the last field read: where its block begins, when it is one. */
  #block = 0;
  #blockEnd = 0;
  /** Of the last field read: its bits, when it has 8 bytes. */
  #signature = 0n;
  #wide: bigint | undefined;

  constructor(context: UnitContext, cursor: Cursor, unit: DwarfUnit, columns: EntryColumns, index: number) {
    this.#context = context;
    this.#cursor = cursor;
    this.#unit = unit;
    this.#columns = columns;
    this.#index = index;
  }

  read(table: ReadonlyMap<number, Abbreviation>): void {
    const cursor = this.#cursor;
    const store = this.#columns;
    const open: Entry[] = [];
    let parent: Entry = absent;
    while (cursor.at < cursor.end) {
      const offset = cursor.at;
      const code = cursor.uleb();
      if (code === 0) {
        // Padding may follow behind the last entry.
        if (open.length === 0) break;
        store.columns.ends[open.pop()!] = store.count;
        parent = open.at(-1) ?? absent;
        if (open.length === 0) break;
        continue;
      }
      const abbreviation = table.get(code);
      if (!abbreviation)
        throw this.#context.fail(`the entry at ${offset} has the unknown abbreviation ${code}`);
      const entry = store.add(offset, this.#index, abbreviation.tag, parent);
      if (entry === this.#unit.root) this.#readBases(abbreviation);
      this.#readAttributes(entry, abbreviation);
      if (!abbreviation.hasChildren) {
        if (open.length === 0) break;
        continue;
      }
      open.push(entry);
      parent = entry;
    }
    for (const entry of open) store.columns.ends[entry] = store.count;
  }

  /** Bases may stand behind the attributes that need them. */
  #readBases({ attributes, forms, constants }: Abbreviation): void {
    const start = this.#cursor.at;
    for (let i = 0; i < attributes.length; i++) {
      const attribute = attributes[i]!;
      const form = forms[i]!;
      if (form === dw.DW_FORM_sec_offset) {
        const value = this.#read(form, 0);
        if (attribute === dw.DW_AT_str_offsets_base) this.#unit.stringOffsetsBase = value;
        if (attribute === dw.DW_AT_addr_base) this.#unit.addressBase = value;
        if (attribute === dw.DW_AT_rnglists_base) this.#unit.rangeListsBase = value;
      } else if (isIndexed(form)) this.#readIndex(form);
      else this.#read(form, constants[i]!);
    }
    this.#cursor.at = start;
  }

  #readAttributes(entry: Entry, { attributes, forms, constants }: Abbreviation): void {
    const store = this.#columns;
    const { columns } = store;
    const cursor = this.#cursor;
    for (let i = 0; i < attributes.length; i++) {
      const form = forms[i]!;
      this.#wide = undefined;
      const value = this.#read(form, constants[i]!);
      switch (attributes[i]) {
        case dw.DW_AT_name:
          columns.names[entry] = value;
          break;
        case dw.DW_AT_type:
          if (form === dw.DW_FORM_ref_sig8) store.typeSignatures.set(entry, this.#signature);
          else columns.types[entry] = value;
          break;
        case dw.DW_AT_abstract_origin:
        case dw.DW_AT_specification:
          columns.origins[entry] = value;
          break;
        case dw.DW_AT_signature:
          store.originSignatures.set(entry, this.#signature);
          break;
        case dw.DW_AT_byte_size:
          columns.sizes[entry] = value;
          break;
        case dw.DW_AT_const_value:
        case dw.DW_AT_encoding:
        case dw.DW_AT_count:
          if (isBlock(form)) break;
          columns.constants[entry] = value;
          if (this.#wide !== undefined) store.wideConstants.set(entry, this.#wide);
          break;
        case dw.DW_AT_upper_bound:
          // [0] is written as an upper bound of -1.
          if (!isBlock(form) && !isReference(form)) columns.constants[entry] = elementCount(value, form);
          break;
        case dw.DW_AT_data_member_location:
          columns.positions[entry] = 8 * (isBlock(form) ? this.#memberOffset() : value);
          break;
        case dw.DW_AT_data_bit_offset:
          columns.positions[entry] = value;
          break;
        case dw.DW_AT_bit_offset:
          store.oldBitOffsets.set(entry, value);
          break;
        case dw.DW_AT_bit_size:
          columns.bitSizes[entry] = value;
          break;
        case dw.DW_AT_decl_file:
          columns.files[entry] = Math.min(value, 0x7fffffff);
          break;
        case dw.DW_AT_decl_line:
          columns.lines[entry] = Math.min(value, 0x7fffffff);
          break;
        case dw.DW_AT_declaration:
          if (value !== 0) columns.flags[entry]! |= flagDeclaration;
          break;
        case dw.DW_AT_external:
          if (value !== 0) columns.flags[entry]! |= flagExternal;
          break;
        case dw.DW_AT_low_pc:
          columns.places[entry] = value;
          break;
        case dw.DW_AT_location:
          if (isBlock(form)) columns.places[entry] = this.#staticPlace();
          break;
        case dw.DW_AT_ranges:
          store.ranges.set(entry, { value, isIndex: form === dw.DW_FORM_rnglistx });
          break;
        case dw.DW_AT_stmt_list:
          if (entry === this.#unit.root) this.#unit.lineOffset = value;
          break;
        case dw.DW_AT_comp_dir:
          if (entry === this.#unit.root) this.#unit.directory = value;
          break;
      }
    }
    if (cursor.at > cursor.end) throw this.#context.fail(`the entry ${entry} runs over the end of its unit`);
  }

  /** The place that a location expression names, when that is a fixed one. */
  #staticPlace(): number {
    if (this.#blockEnd - this.#block < 2) return absent;
    const cursor = new Cursor(this.#context.info, this.#context.fail, this.#block, this.#blockEnd);
    switch (cursor.u8()) {
      case dw.DW_OP_addr:
        return cursor.u64();
      case dw.DW_OP_addrx:
      case dw.DW_OP_GNU_addr_index:
        return addressAt(this.#context, this.#unit, cursor.uleb());
      default:
        return absent;
    }
  }

  /** DWARF 2 writes a member's offset as an expression. */
  #memberOffset(): number {
    const cursor = new Cursor(this.#context.info, this.#context.fail, this.#block, this.#blockEnd);
    return this.#blockEnd > this.#block && cursor.u8() === dw.DW_OP_plus_uconst ? cursor.uleb() : 0;
  }

  #readIndex(form: number): number {
    const cursor = this.#cursor;
    switch (form) {
      case dw.DW_FORM_strx1:
      case dw.DW_FORM_addrx1:
        return cursor.u8();
      case dw.DW_FORM_strx2:
      case dw.DW_FORM_addrx2:
        return cursor.u16();
      case dw.DW_FORM_strx3:
      case dw.DW_FORM_addrx3:
        return cursor.u24();
      case dw.DW_FORM_strx4:
      case dw.DW_FORM_addrx4:
        return cursor.u32();
      default:
        return cursor.uleb();
    }
  }

  #string(index: number): number {
    const { stringOffsets, fail, stringsAt } = this.#context;
    const cursor = new Cursor(stringOffsets, fail, 0);
    cursor.skip(this.#unit.stringOffsetsBase + index * (this.#unit.wide ? 8 : 4));
    return stringsAt + (this.#unit.wide ? cursor.u64() : cursor.u32());
  }

  #readBlock(size: number): number {
    this.#block = this.#cursor.skip(size);
    this.#blockEnd = this.#cursor.at;
    return 0;
  }

  /** A field's value: a number, the position of a string, the offset of an entry, or an encoded place. */
  #read(form: number, constant: number): number {
    const cursor = this.#cursor;
    switch (form) {
      case dw.DW_FORM_strp:
        return this.#context.stringsAt + this.#word();
      case dw.DW_FORM_ref4:
        return this.#unit.start + cursor.u32();
      case dw.DW_FORM_data1:
      case dw.DW_FORM_flag:
        return cursor.u8();
      case dw.DW_FORM_data2:
        return cursor.u16();
      case dw.DW_FORM_implicit_const:
        return constant;
      case dw.DW_FORM_flag_present:
        return 1;
      case dw.DW_FORM_addr:
        return cursor.u64();
      case dw.DW_FORM_data4:
        return cursor.u32();
      case dw.DW_FORM_data8: {
        const at = cursor.at;
        const value = cursor.u64();
        if (value > Number.MAX_SAFE_INTEGER) this.#wide = this.#bits(at);
        return value;
      }
      case dw.DW_FORM_sdata:
        return this.#leb(true);
      case dw.DW_FORM_udata:
        return this.#leb(false);
      case dw.DW_FORM_sec_offset:
      case dw.DW_FORM_strp_sup:
      case dw.DW_FORM_GNU_ref_alt:
      case dw.DW_FORM_GNU_strp_alt:
        return this.#word();
      case dw.DW_FORM_line_strp:
        return this.#context.lineStringsAt + this.#word();
      case dw.DW_FORM_string:
        return cursor.skipString();
      case dw.DW_FORM_exprloc:
      case dw.DW_FORM_block:
        return this.#readBlock(cursor.uleb());
      case dw.DW_FORM_block1:
        return this.#readBlock(cursor.u8());
      case dw.DW_FORM_block2:
        return this.#readBlock(cursor.u16());
      case dw.DW_FORM_block4:
        return this.#readBlock(cursor.u32());
      case dw.DW_FORM_ref1:
        return this.#unit.start + cursor.u8();
      case dw.DW_FORM_ref2:
        return this.#unit.start + cursor.u16();
      case dw.DW_FORM_ref8:
        return this.#unit.start + cursor.u64();
      case dw.DW_FORM_ref_udata:
        return this.#unit.start + cursor.uleb();
      case dw.DW_FORM_ref_addr:
        // DWARF 2 gives it the size of an address.
        return this.#unit.version === 2 ? cursor.u64() : this.#word();
      case dw.DW_FORM_ref_sig8:
        this.#signature = this.#bits(cursor.skip(8));
        return absent;
      case dw.DW_FORM_data16:
        return this.#readBlock(16);
      case dw.DW_FORM_strx:
      case dw.DW_FORM_strx1:
      case dw.DW_FORM_strx2:
      case dw.DW_FORM_strx3:
      case dw.DW_FORM_strx4:
      case dw.DW_FORM_GNU_str_index:
        return this.#string(this.#readIndex(form));
      case dw.DW_FORM_addrx:
      case dw.DW_FORM_addrx1:
      case dw.DW_FORM_addrx2:
      case dw.DW_FORM_addrx3:
      case dw.DW_FORM_addrx4:
      case dw.DW_FORM_GNU_addr_index:
        return addressAt(this.#context, this.#unit, this.#readIndex(form));
      case dw.DW_FORM_loclistx:
      case dw.DW_FORM_rnglistx:
        return cursor.uleb();
      case dw.DW_FORM_ref_sup4:
        return cursor.u32();
      case dw.DW_FORM_ref_sup8:
        return cursor.u64();
      case dw.DW_FORM_indirect: {
        const actual = cursor.uleb();
        if (actual === dw.DW_FORM_indirect || actual === dw.DW_FORM_implicit_const)
          throw this.#context.fail(`a field at ${cursor.at} has an indirect form within an indirect form`);
        return this.#read(actual, 0);
      }
      default:
        throw this.#context.fail(`a field at ${cursor.at} has the unknown form 0x${form.toString(16)}`);
    }
  }

  #word(): number {
    return this.#unit.wide ? this.#cursor.u64() : this.#cursor.u32();
  }

  #leb(signed: boolean): number {
    const start = this.#cursor.at;
    const value = signed ? this.#cursor.sleb() : this.#cursor.uleb();
    if (Number.isSafeInteger(value)) return value;
    let wide = 0n;
    let shift = 0n;
    for (let at = start; at < this.#cursor.at; at++, shift += 7n)
      wide |= BigInt(this.#context.info[at]! & 0x7f) << shift;
    this.#wide = signed && this.#context.info[this.#cursor.at - 1]! & 0x40 ? wide - (1n << shift) : wide;
    return value;
  }

  #bits(at: number): bigint {
    const { info } = this.#context;
    return new DataView(info.buffer, info.byteOffset).getBigUint64(at, true);
  }
}

function isBlock(form: number): boolean {
  return (
    form === dw.DW_FORM_exprloc ||
    form === dw.DW_FORM_block ||
    form === dw.DW_FORM_block1 ||
    form === dw.DW_FORM_block2 ||
    form === dw.DW_FORM_block4 ||
    form === dw.DW_FORM_data16
  );
}

function isReference(form: number): boolean {
  return (form >= dw.DW_FORM_ref_addr && form <= dw.DW_FORM_ref_udata) || form === dw.DW_FORM_ref_sig8;
}

function isIndexed(form: number): boolean {
  return (
    form === dw.DW_FORM_strx ||
    form === dw.DW_FORM_addrx ||
    (form >= dw.DW_FORM_strx1 && form <= dw.DW_FORM_addrx4) ||
    form === dw.DW_FORM_GNU_addr_index ||
    form === dw.DW_FORM_GNU_str_index
  );
}

/** The number of elements that an upper bound means; gcc writes [0] as an upper bound of -1, of whatever width. */
function elementCount(bound: number, form: number): number {
  if (form === dw.DW_FORM_data8 && bound >= 2 ** 63) return 0;
  if (form === dw.DW_FORM_data4 && bound === 0xffffffff) return 0;
  return bound + 1;
}
