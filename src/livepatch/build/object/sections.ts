/**
 * What the sections of a kernel object mean to a live patch, by the kernel's own names
 * (include/asm-generic/vmlinux.lds.h, arch/x86/kernel/vmlinux.lds.S, tools/objtool).
 */
import { SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE } from "../../../formats/elf/constants.ts";
import type { ElfSection } from "../../../formats/elf/read.ts";

export type SectionRole =
  /** Functions. */
  | "code"
  /** Code that only tables refer to: replacements of alternatives, fixups. */
  | "auxiliaryCode"
  /** Tables of entries that each belong to a place in a function. */
  | "table"
  /** Functions that are gone, or not yet there, when a live patch is applied. */
  | "initCode"
  | "readOnlyData"
  | "data"
  /** Of no consequence for a running kernel, or made anew when the module is linked. */
  | "ignored";

const tables = new Set([
  "__bug_table",
  "__ex_table",
  "__jump_table",
  "__mcount_loc",
  ".altinstructions",
  ".kcfi_traps",
  ".parainstructions",
  ".printk_index",
  ".smp_locks",
]);

/** objtool makes these on the linked module; what an object brings along would be there twice. */
const remadeByObjtool = new Set([
  ".call_sites",
  ".cfi_sites",
  ".ibt_endbr_seal",
  ".orc_header",
  ".orc_unwind",
  ".orc_unwind_ip",
  ".retpoline_sites",
  ".return_sites",
  ".static_call_sites",
]);

const auxiliaryCode = new Set([".altinstr_aux", ".altinstr_replacement", ".fixup"]);

/** Places whose immediate operand the kernel writes while it boots (arch/x86/include/asm/runtime-const.h). */
const runtimeConstants = /^runtime_(ptr|shift)_/;

const ignored = [
  // Lists of functions by their address, read once at boot.
  /^_kprobe_blacklist$|^_error_injection_whitelist$/,
  /^\.discard(_|$)|^\.discard\.(addressable|ksym|sym)/,
  /^\.(comment|note|debug|stab|gnu|llvm|symtab|strtab|shstrtab|rela|modinfo|export_symbol)/,
  /^__patchable_function_entries$/,
  /^__(ksymtab|kcrctab)/,
  /^___?kentry/,
  /^__versions$|^___k(symtab|crctab)/,
];

export function sectionRole(section: Pick<ElfSection, "name" | "flags">): SectionRole {
  const { name, flags } = section;
  if (remadeByObjtool.has(name) || ignored.some((pattern) => pattern.test(name))) return "ignored";
  if (tables.has(name) || isHintForObjtool(name) || runtimeConstants.test(name)) return "table";
  if (!(flags & SHF_ALLOC)) return "ignored";
  if (auxiliaryCode.has(name)) return "auxiliaryCode";
  if (flags & SHF_EXECINSTR) return /^\.(init|exit|head)\.text/.test(name) ? "initCode" : "code";
  if (/^\.(data\.)?rel\.ro|^\.data\.rel\.ro/.test(name)) return "readOnlyData";
  return flags & SHF_WRITE ? "data" : "readOnlyData";
}

/** Tables that objtool reads and the linker drops: they say nothing that the code itself does not. */
export function isHintForObjtool(name: string): boolean {
  return name.startsWith(".discard.");
}

/** Data that exists only while the kernel boots or a module initialises. */
export function isInitData(name: string): boolean {
  return (
    /^\.(init|exit)\.|^\.initcall|^\.con_initcall|^__param$|^__dyndbg|^\.init_array|^__initcall/.test(name) &&
    name !== "__dyndbg"
  );
}

/** Sections of ordinary data, in which an address within a function is a switch table and no more. */
export function isOrdinaryData(name: string): boolean {
  return /^\.(ro)?data(\.|$)|^\.bss(\.|$)|^\.(init|exit)\./.test(name);
}
