/** What the target's own BTF says about the types and tables of a unit. */
import { Btf } from "../../../formats/btf.ts";
import type { ElfFile } from "../../../formats/elf/read.ts";
import type { Problem } from "../finding.ts";
import { BtfTypes } from "./btf-types.ts";
import { offsetText } from "./compare.ts";
import type { UnitDebugInfo } from "./debug-info.ts";
import { type Field, fieldsOf } from "./layout.ts";
import { type CType, sizeOf } from "./model.ts";

/** The structures that the kernel's tables consist of (include/asm-generic/vmlinux.lds.h, arch/x86/include/asm). */
const tableStructures: ReadonlyMap<string, string> = new Map([
  ["__bug_table", "bug_entry"],
  ["__ex_table", "exception_table_entry"],
  ["__jump_table", "jump_entry"],
  [".altinstructions", "alt_instr"],
  [".static_call_sites", "static_call_site"],
  [".parainstructions", "paravirt_patch_site"],
]);

/**
 * The types of a module: its own and those of vmlinux. Undefined where either has no BTF, and for a module that brings
 * what it needs of vmlinux's along (.BTF.base): it names those types without telling what is in them.
 *
 * @throws RekernelError RK-BAD-BTF (1)
 */
export function moduleTypes(module: ElfFile, vmlinux: Btf | undefined): Btf | undefined {
  const section = module.section(".BTF");
  if (!vmlinux || !section || section.size === 0 || module.section(".BTF.base")) return undefined;
  return new Btf(section.data, module.name, vmlinux);
}

/** Sizes in bytes of the entries of tables, by section, as far as a kernel tells. */
export function tableEntrySizes(btf: Btf): Map<string, number> {
  const sizes = new Map<string, number>();
  const types = new BtfTypes(btf);
  for (const [section, structure] of tableStructures) {
    const found = new Set(types.named("struct", structure).map((type) => sizeOf(type)));
    const [size] = found;
    if (found.size === 1 && size !== undefined && size > 0) sizes.set(section, size);
  }
  return sizes;
}

/**
 * Structures that the unpatched unit lays out otherwise than the target does: source or configuration are not the
 * target's. Names that the target does not know, or has several structures of, of which one is laid out so, are none.
 */
export function layoutMismatches(source: string, unit: UnitDebugInfo, target: Btf): Problem[] {
  const types = new BtfTypes(target);
  const different: string[] = [];
  let first: CType | undefined;
  for (const [key, definitions] of unit.types.definitions) {
    const match = /^(struct|union) (\w+)$/.exec(key);
    if (!match) continue;
    const candidates = types.named(match[1] as "struct" | "union", match[2]!);
    if (candidates.length === 0) continue;
    for (const own of definitions) {
      const reasons = candidates.map((theirs) => shapeDifference(own, theirs));
      if (reasons.includes(undefined)) continue;
      first ??= own;
      different.push(`${key} (${reasons[0]})`);
    }
  }
  if (different.length === 0) return [];
  const more = different.length > 4 ? `; and ${different.length - 4} more` : "";
  return [
    {
      code: "RK-SOURCE-MISMATCH",
      message: `${source}, compiled without the patch, lays out types otherwise than ${target.name} does: ${different.slice(0, 4).join("; ")}${more}.`,
      hint: "Source or configuration are not those the target was built from. Give the exact source of its release.",
      source: first?.place,
    },
  ];
}

/** Sizes and positions only: BTF and DWARF spell the same type differently. */
function shapeDifference(own: CType, theirs: CType): string | undefined {
  const [size, other] = [sizeOf(own), sizeOf(theirs)];
  if (size !== other) return `${size} bytes instead of ${other}`;
  const positions = new Map<string, Field>(fieldsOf(theirs).map((field) => [field.name, field]));
  for (const field of fieldsOf(own)) {
    const there = positions.get(field.name);
    if (!there) return `${field.name} is not in it`;
    if (there.bitOffset !== field.bitOffset)
      return `${field.name} at ${offsetText(field)} instead of ${offsetText(there)}`;
    if (there.bitSize !== field.bitSize)
      return `${field.name} of ${field.bitSize} bits instead of ${there.bitSize}`;
  }
  return undefined;
}
