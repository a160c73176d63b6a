/** Holds the kernel's tables in a finished module, and its list of functions, against what the plan put into them. */
import { SHF_ALLOC, SHF_EXECINSTR, SHN_LORESERVE, SHN_UNDEF } from "../../../formats/elf/constants.ts";
import { type ElfFile, type ElfRelocation, type ElfSection, readElf } from "../../../formats/elf/read.ts";
import { patchedObjects } from "../../inspect.ts";
import { entrySize } from "../object/table-entries.ts";

export interface PlannedModule {
  /** The units' objects, as they went to the linker. */
  units: readonly Uint8Array[];
  /** What it replaces: "vmlinux" or a module (undefined is vmlinux, too), and the functions in it. */
  objects: readonly {
    module: string | undefined;
    functions: readonly { oldName: string; sympos: number }[];
  }[];
}

/** Tables that only the units fill: neither the module's own glue nor objtool adds to them. */
const plannedTables = [
  "__bug_table",
  "__ex_table",
  "__jump_table",
  ".altinstructions",
  ".kcfi_traps",
  ".parainstructions",
  ".smp_locks",
];

/** @returns what is wrong, in words */
export function auditTables(elf: ElfFile, planned: PlannedModule): string[] {
  const units = planned.units.map((bytes, index) => readElf(bytes, `unit ${index}`));
  return [
    ...plannedTables.flatMap((name) => auditTable(elf, units, name)),
    ...auditFunctions(elf, planned.objects),
  ];
}

function auditTable(elf: ElfFile, units: readonly ElfFile[], name: string): string[] {
  const wanted = units.reduce((sum, unit) => sum + (entriesOf(unit, unit.section(name))?.count ?? 0), 0);
  const table = elf.section(name);
  const entries = entriesOf(elf, table);
  if (!entries) return [`${name} has entries of no regular size`];
  const findings: string[] = [];
  if (entries.count !== wanted) findings.push(`${name} has ${entries.count} entries instead of ${wanted}`);
  const places = new Map(entries.relocations.map((relocation) => [relocation.offset, relocation]));
  for (let index = 0; index < entries.count; index++) {
    const place = places.get(index * entries.size);
    if (!place || !pointsToOwnCode(elf, place))
      findings.push(`entry ${index} of ${name} belongs to no code of the module`);
  }
  return findings;
}

interface Entries {
  count: number;
  size: number;
  relocations: readonly ElfRelocation[];
}

function entriesOf(elf: ElfFile, table: ElfSection | undefined): Entries | undefined {
  if (!table || table.size === 0) return { count: 0, size: 1, relocations: [] };
  const relocations = elf.relocationsOf(table).toSorted((a, b) => a.offset - b.offset);
  const size = entrySize(table, relocations, (relocation) => pointsToOwnCode(elf, relocation));
  return size === undefined ? undefined : { count: Math.ceil(table.size / size), size, relocations };
}

function pointsToOwnCode(elf: ElfFile, relocation: ElfRelocation): boolean {
  const { shndx } = elf.symbols[relocation.symbol]!;
  if (shndx === SHN_UNDEF || shndx >= SHN_LORESERVE) return false;
  const wanted = SHF_ALLOC | SHF_EXECINSTR;
  return ((elf.sections[shndx]?.flags ?? 0) & wanted) === wanted;
}

function auditFunctions(elf: ElfFile, planned: PlannedModule["objects"]): string[] {
  const keys = (object: string, functions: readonly { name: string; sympos: number }[]) =>
    functions.map(({ name, sympos }) => `${object}:${name},${sympos}`);
  const wanted = planned.flatMap(({ module, functions }) =>
    keys(
      module ?? "vmlinux",
      functions.map(({ oldName, sympos }) => ({ name: oldName, sympos })),
    ),
  );
  const found = patchedObjects(elf).flatMap(({ object, functions }) => keys(object, functions));
  return [
    ...difference(wanted, found).map((key) => `it does not replace ${key}`),
    ...difference(found, wanted).map((key) => `it replaces ${key}, which was not planned`),
  ];
}

function difference(from: readonly string[], without: readonly string[]): string[] {
  const known = new Set(without);
  return from.filter((key) => !known.has(key));
}
