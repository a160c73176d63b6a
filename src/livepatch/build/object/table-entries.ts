/** Where one entry of a kernel table ends and the next one begins, in objects that come without a kernel. */
import type { ElfRelocation, ElfSection } from "../../../formats/elf/read.ts";

/**
 * Tables whose entries begin with two places in code: struct exception_table_entry (insn, fixup) and jump_entry (code,
 * target), in each kernel since 4.0. Without it two such pointers in a row would pass for two entries.
 */
const placesPerEntry: ReadonlyMap<string, number> = new Map([
  ["__ex_table", 2],
  ["__jump_table", 2],
]);

/** No entry of a known table has more pointers. */
const maxPointersPerEntry = 4;
/** The last entry may end with its last field, the others where the next one is aligned (.parainstructions). */
const maxMissingBytes = 8;

interface Place {
  offset: number;
  type: number;
  isCode: boolean;
}

/**
 * Size of a table's entries in bytes: what the section header says; else the distance in which places in code recur,
 * with which each entry of nearly every table begins; else the period of the relocations.
 *
 * @param relocations of the table, by offset
 * @returns undefined when nothing recurs. The last entry may be shorter.
 */
export function entrySize(
  table: Pick<ElfSection, "name" | "size" | "entsize">,
  relocations: readonly ElfRelocation[],
  pointsToCode: (relocation: ElfRelocation) => boolean,
): number | undefined {
  if (table.entsize > 1 && table.size % table.entsize === 0) return table.entsize;
  if (table.size === 0) return 1;
  if (relocations.length === 0) return table.size;
  const places = relocations.map((relocation) => ({
    offset: relocation.offset,
    type: relocation.type,
    isCode: pointsToCode(relocation),
  }));
  return distanceOfPlaces(table, places) ?? periodOf(table, places);
}

/** Fields may be missing in some entries: an alternative without a replacement has no pointer to one. */
function distanceOfPlaces({ name, size }: Pick<ElfSection, "name" | "size">, places: readonly Place[]) {
  const fewest = placesPerEntry.get(name) ?? 1;
  const offsets = new Set(places.filter(({ isCode }) => isCode).map(({ offset }) => offset));
  const candidates = [...offsets].filter((offset) => offset > 0).slice(0, 2 * maxPointersPerEntry);
  for (const distance of [...candidates, size]) {
    const count = Math.ceil(size / distance);
    if (count * distance - size >= Math.min(distance, maxMissingBytes)) continue;
    const typeOfField = new Map<number, number>();
    const isRegular = places.every(({ offset, type }) => {
      const field = offset % distance;
      const known = typeOfField.get(field) ?? type;
      typeOfField.set(field, known);
      return known === type;
    });
    if (!isRegular || typeOfField.size < fewest || typeOfField.size > maxPointersPerEntry) continue;
    let entry = 0;
    while (entry < count && offsets.has(entry * distance)) entry++;
    if (entry === count) return distance;
  }
  return undefined;
}

/** The shortest period in which the relocations repeat. */
function periodOf({ size }: Pick<ElfSection, "size">, places: readonly Place[]): number | undefined {
  for (let perEntry = 1; perEntry <= maxPointersPerEntry; perEntry++) {
    if (places.length % perEntry !== 0) continue;
    const count = places.length / perEntry;
    const period = count === 1 ? size : places[perEntry]!.offset - places[0]!.offset;
    const missing = count * period - size;
    if (missing < 0 || missing >= Math.min(period, maxMissingBytes)) continue;
    const isRegular = places.every(({ offset, type }, index) => {
      const model = places[index % perEntry]!;
      return offset - Math.floor(index / perEntry) * period === model.offset && type === model.type;
    });
    if (isRegular) return period;
  }
  return undefined;
}
