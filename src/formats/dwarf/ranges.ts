import type { RekernelError } from "../../core/errors.ts";
import { Cursor } from "./cursor.ts";

export interface RangeSections {
  /** .debug_ranges, DWARF 3 and 4. */
  ranges: Uint8Array;
  /** .debug_rnglists, DWARF 5. */
  lists: Uint8Array;
}

/** Enough to come to the first range of any real list. */
const maxEntries = 1000;

/**
 * Where the first range of a list begins, as an encoded place: for a function in several parts, its entry.
 * DWARF 4, section 2.17.3; DWARF 5, section 7.25.
 */
export function firstRange(
  sections: RangeSections,
  list: { value: number; isIndex: boolean },
  unit: {
    version: number;
    wide: boolean;
    rangeListsBase: number;
    /** An entry of .debug_addr. */
    address(index: number): number;
    fail(reason: string): RekernelError;
  },
): number | undefined {
  if (unit.version < 5) {
    const cursor = new Cursor(sections.ranges, unit.fail, list.value);
    for (let count = 0; count < maxEntries; count++) {
      const begin = cursor.u64();
      const end = cursor.u64();
      if (begin === 0 && end === 0) return undefined;
      // All bits set: what follows is a base address, 0 in a relocatable object of several sections.
      if (begin < 2 ** 63 && begin !== end) return begin;
    }
    return undefined;
  }
  let offset = list.value;
  if (list.isIndex) {
    const index = new Cursor(sections.lists, unit.fail, 0);
    index.skip(unit.rangeListsBase + list.value * (unit.wide ? 8 : 4));
    offset = unit.rangeListsBase + (unit.wide ? index.u64() : index.u32());
  }
  const cursor = new Cursor(sections.lists, unit.fail, offset);
  let base = 0;
  for (let count = 0; count < maxEntries; count++) {
    switch (cursor.u8()) {
      case 1: // DW_RLE_base_addressx
        base = unit.address(cursor.uleb());
        break;
      case 2: // DW_RLE_startx_endx
      case 3: // DW_RLE_startx_length
        return unit.address(cursor.uleb());
      case 4: // DW_RLE_offset_pair
        return base + cursor.uleb();
      case 5: // DW_RLE_base_address
        base = cursor.u64();
        break;
      case 6: // DW_RLE_start_end
      case 7: // DW_RLE_start_length
        return cursor.u64();
      default: // DW_RLE_end_of_list, or unknown
        return undefined;
    }
  }
  return undefined;
}
