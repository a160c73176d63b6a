import * as dw from "../../../formats/dwarf/constants.ts";
import type { DwarfInfo, Entry } from "../../../formats/dwarf/info.ts";

const typeTags: ReadonlySet<number> = new Set([
  dw.DW_TAG_array_type,
  dw.DW_TAG_atomic_type,
  dw.DW_TAG_base_type,
  dw.DW_TAG_const_type,
  dw.DW_TAG_enumeration_type,
  dw.DW_TAG_enumerator,
  dw.DW_TAG_member,
  dw.DW_TAG_pointer_type,
  dw.DW_TAG_restrict_type,
  dw.DW_TAG_structure_type,
  dw.DW_TAG_subrange_type,
  dw.DW_TAG_subroutine_type,
  dw.DW_TAG_typedef,
  dw.DW_TAG_union_type,
  dw.DW_TAG_unspecified_parameters,
  dw.DW_TAG_volatile_type,
]);

/**
 * Whether two objects describe the same types in the same order, as they do for most patches: then there is nothing to
 * compare. False does not mean that any type changed.
 */
export function describeTheSameTypes(a: DwarfInfo, b: DwarfInfo): boolean {
  if (a.hasTypeUnits || b.hasTypeUnits) return false;
  const [before, after] = [typeEntries(a), typeEntries(b)];
  if (before.list.length !== after.list.length) return false;
  return before.list.every((entry, i) => {
    const other = after.list[i]!;
    if (!a.saysTheSame(entry, b, other)) return false;
    const [parent, otherParent] = [a.parentOf(entry), b.parentOf(other)];
    if (numberOf(before, parent) !== numberOf(after, otherParent)) return false;
    return numberOf(before, a.typeOf(entry)) === numberOf(after, b.typeOf(other));
  });
}

interface TypeEntries {
  list: Entry[];
  /** Position in the list, of each entry; -1 for those that are no types. */
  numbers: Int32Array;
}

function typeEntries(dwarf: DwarfInfo): TypeEntries {
  const list: Entry[] = [];
  const numbers = new Int32Array(dwarf.count).fill(-1);
  for (let entry = 0; entry < dwarf.count; entry++) {
    const tag = dwarf.tagOf(entry);
    const isParameter =
      tag === dw.DW_TAG_formal_parameter && dwarf.tagOf(dwarf.parentOf(entry)) === dw.DW_TAG_subroutine_type;
    if (!isParameter && !typeTags.has(tag)) continue;
    numbers[entry] = list.length;
    list.push(entry);
  }
  return { list, numbers };
}

/** -2 for none. */
function numberOf({ numbers }: TypeEntries, entry: Entry | undefined): number {
  return entry === undefined || entry < 0 ? -2 : numbers[entry]!;
}
