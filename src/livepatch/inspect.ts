/** What a live patch module will do, read from its file: works on any module with static klp_object tables. */
import { RekernelError } from "../core/errors.ts";
import { cString } from "../formats/bytes.ts";
import {
  R_X86_64_64,
  SHF_RELA_LIVEPATCH,
  SHN_LIVEPATCH,
  SHN_LORESERVE,
  SHN_UNDEF,
  SHT_RELA,
  STT_FUNC,
} from "../formats/elf/constants.ts";
import type { ElfFile, ElfRelocation, ElfSection } from "../formats/elf/read.ts";
import { KernelModuleFile } from "../kernel/module.ts";

export interface PatchModule {
  name: string;
  release: string;
  vermagic: string;
  description: string | undefined;
  sizeBytes: number;
  objects: {
    /** "vmlinux" or a module. */
    object: string;
    functions: { name: string; sympos: number; newFunction: string; newSizeBytes: number }[];
  }[];
  /** Symbols that livepatch binds by name and position. */
  klpSymbols: { object: string; name: string; sympos: number }[];
  klpRelocations: number;
  /** Exported symbols that it imports. */
  imports: string[];
}

/**
 * @throws RekernelError RK-FILE, RK-BAD-ELF, RK-BAD-MODULE (1); RK-NOT-LIVEPATCH (4)
 */
export async function inspectPatchModule(path: string): Promise<PatchModule> {
  const file = await KernelModuleFile.open(path);
  if (file.modinfo.get("livepatch")?.[0] !== "Y")
    throw new RekernelError(
      "refused",
      "RK-NOT-LIVEPATCH",
      `${path} is a kernel module, but not a live patch.`,
      {
        hint: "Look at other modules with: rekernel image info FILE",
      },
    );
  const { elf } = file;
  const klpSymbols = elf.symbols.flatMap(({ shndx, name }) => {
    const match = shndx === SHN_LIVEPATCH ? /^\.klp\.sym\.([^.]+)\.(.+),(\d+)$/.exec(name) : null;
    return match ? [{ object: match[1]!, name: match[2]!, sympos: Number(match[3]) }] : [];
  });
  const klpRelocations = elf.sections
    .filter((section) => section.type === SHT_RELA && section.flags & SHF_RELA_LIVEPATCH)
    .reduce((count, section) => count + section.size / 24, 0);
  return {
    name: file.name,
    release: file.vermagic.split(" ")[0] ?? "",
    vermagic: file.vermagic.trim(),
    description: file.modinfo.get("description")?.[0],
    sizeBytes: elf.sections.reduce((end, section) => Math.max(end, section.offset + section.data.length), 0),
    objects: patchedObjects(elf),
    klpSymbols,
    klpRelocations,
    imports: elf.symbols
      .filter(({ shndx, name }) => shndx === SHN_UNDEF && name !== "")
      .map(({ name }) => name),
  };
}

interface Place {
  section: ElfSection;
  offset: number;
}

/**
 * Finds the klp_func and klp_object tables by their pointers (include/linux/livepatch.h, both unchanged since 4.0 at
 * their beginning): klp_func starts with `const char *old_name; void *new_func; unsigned long old_sympos`,
 * klp_object with `const char *name; struct klp_func *funcs`.
 */
export function patchedObjects(elf: ElfFile): PatchModule["objects"] {
  const objects: PatchModule["objects"] = [];
  for (const section of elf.sections) {
    if (!/^\.data/.test(section.name)) continue;
    const pointers = new Map<number, Place & { isFunction: boolean; name: string; sizeBytes: number }>();
    for (const relocation of elf.relocationsOf(section)) {
      const place = relocation.type === R_X86_64_64 ? placeOf(elf, relocation) : undefined;
      if (place) pointers.set(relocation.offset, place);
    }
    const functionAt = (offset: number) => {
      const [name, target] = [pointers.get(offset), pointers.get(offset + 8)];
      if (!name || !target?.isFunction || name.isFunction || !/^\.rodata/.test(name.section.name))
        return undefined;
      const view = new DataView(section.data.buffer, section.data.byteOffset, section.data.byteLength);
      const sympos = offset + 24 <= section.data.length ? Number(view.getBigUint64(offset + 16, true)) : 0;
      return {
        name: cString(name.section.data, name.offset),
        sympos,
        newFunction: target.name,
        newSizeBytes: target.sizeBytes,
      };
    };
    const starts = [...pointers.keys()].filter((at) => functionAt(at)).sort((a, b) => a - b);
    const stride = Math.min(...starts.slice(1).map((start, index) => start - starts[index]!));
    const tables = new Set([...pointers.values()].flatMap((to) => (to.section === section ? to.offset : [])));
    for (const [offset, pointer] of [...pointers].sort(([a], [b]) => a - b)) {
      // A pointer to the first klp_func of a table, preceded by a name or by nothing, is a klp_object.
      if (pointer.section !== section || !functionAt(pointer.offset) || pointer.offset === offset) continue;
      const name = pointers.get(offset - 8);
      const functions = [];
      // Where every table has one function only, the stride is longer than a klp_func, and leads to another table.
      for (let at = pointer.offset; at === pointer.offset || !tables.has(at); at += stride) {
        const found = functionAt(at);
        if (!found) break;
        functions.push(found);
      }
      const isNamed = name && !name.isFunction && /^\.rodata/.test(name.section.name);
      objects.push({ object: isNamed ? cString(name.section.data, name.offset) : "vmlinux", functions });
    }
  }
  return objects;
}

function placeOf(elf: ElfFile, relocation: ElfRelocation) {
  const symbol = elf.symbols[relocation.symbol]!;
  const section =
    symbol.shndx === SHN_UNDEF || symbol.shndx >= SHN_LORESERVE ? undefined : elf.sections[symbol.shndx];
  if (!section) return undefined;
  const offset = Number(symbol.value) + relocation.addend;
  const target = elf.symbols.find(
    (other) => other.type === STT_FUNC && other.shndx === symbol.shndx && Number(other.value) === offset,
  );
  return {
    section,
    offset,
    isFunction: target !== undefined,
    name: target?.name ?? symbol.name,
    sizeBytes: target?.size ?? 0,
  };
}
