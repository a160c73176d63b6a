/** Where one entry of a kernel table ends and the next one begins, in objects that come without a kernel. */
import type { ElfRelocation, ElfSection } from "../../formats/elf/read.ts";

/**
 * Pointers that every entry of a table has at least, in each kernel since 4.0: struct exception_table_entry (insn,
 * fixup), jump_entry (code, target, key), alt_instr (instr, repl), static_call_site (addr, key). Without it two
 * pointers of one kind would pass for two entries, as in the absolute jump_entry of kernels before 4.20.
 */
const pointersPerEntry: ReadonlyMap<string, number> = new Map([
  ["__ex_table", 2],
  ["__jump_table", 3],
  [".altinstructions", 2],
  [".static_call_sites", 2],
]);

/** No entry of a known table has more. */
const maxPointersPerEntry = 4;
/** The last entry may end with its last field, the others where the next one is aligned (.parainstructions). */
const maxMissingBytes = 8;

/**
 * Size of a table's entries in bytes: what the section header says, else the shortest period in which its relocations
 * repeat, by offset, type and whether they point to code.
 *
 * @param relocations of the table, by offset
 * @returns undefined when the relocations have no period. The last entry may be shorter.
 */
export function entrySize(
  table: Pick<ElfSection, "name" | "size" | "entsize">,
  relocations: readonly ElfRelocation[],
  pointsToCode: (relocation: ElfRelocation) => boolean,
): number | undefined {
  if (table.entsize > 1 && table.size % table.entsize === 0) return table.entsize;
  if (table.size === 0) return 1;
  if (relocations.length === 0) return table.size;
  const isCode = relocations.map(pointsToCode);
  const fewest = pointersPerEntry.get(table.name) ?? 1;
  for (let perEntry = fewest; perEntry <= Math.max(fewest, maxPointersPerEntry); perEntry++) {
    if (relocations.length % perEntry !== 0) continue;
    const count = relocations.length / perEntry;
    const size = count === 1 ? table.size : relocations[perEntry]!.offset - relocations[0]!.offset;
    const missing = count * size - table.size;
    if (missing < 0 || missing >= Math.min(size, maxMissingBytes)) continue;
    const isRegular = relocations.every(({ offset, type }, index) => {
      const entry = Math.floor(index / perEntry);
      const model = index % perEntry;
      return (
        offset - entry * size === relocations[model]!.offset &&
        type === relocations[model]!.type &&
        isCode[index] === isCode[model]
      );
    });
    if (isRegular) return size;
  }
  return undefined;
}
