/** Checks a finished module against the target: nothing is taken on trust from the steps before. */
import { RekernelError } from "../../../core/errors.ts";
import {
  SHF_RELA_LIVEPATCH,
  SHN_LIVEPATCH,
  SHN_UNDEF,
  SHT_RELA,
  STB_WEAK,
} from "../../../formats/elf/constants.ts";
import { type ElfFile, readElf } from "../../../formats/elf/read.ts";
import { parseModinfo } from "../../../formats/modinfo.ts";
import { readModversions } from "../../../formats/modversions.ts";
import { architectureOf } from "../arch/architecture.ts";
import type { TargetCode } from "../match/match.ts";
import { auditTables, type PlannedModule } from "./audit-tables.ts";
import type { ExportedSymbol } from "./resolve.ts";

export interface AuditContext {
  release: string;
  /** A module of the target as shipped, where one is at hand; otherwise only the release is compared. */
  stockModule: { vermagic: string; elf: ElfFile } | undefined;
  exports: ReadonlyMap<string, ExportedSymbol>;
  /** vmlinux or a module of the target, by name. */
  code(object: string): TargetCode | undefined;
  planned: PlannedModule;
}

export interface AuditSummary {
  klpSymbols: number;
  klpRelocations: number;
  importedSymbols: number;
}

/** Tables that the kernel works through before livepatch binds what belongs to a module. */
const earlyTables =
  /^(__jump_table|\.altinstructions|\.altinstr_replacement|\.static_call_sites|\.parainstructions|\.retpoline_sites|\.return_sites|\.call_sites)$/;

/** `.klp.sym.<object>.<name>,<sympos>` within the limits of kernel/livepatch/core.c (MODULE_NAME_LEN, KSYM_NAME_LEN). */
const klpSymbolPattern = /^\.klp\.sym\.([^.]{1,55})\.([^,]{1,511}),(\d+)$/;
const klpSectionPattern = /^\.klp\.rela\.([^.]{1,55})\.(.+)$/;

/**
 * @throws RekernelError RK-AUDIT (1) listing everything that is wrong
 */
export function auditModule(bytes: Uint8Array, context: AuditContext): AuditSummary {
  const elf = readElf(bytes, "The finished module");
  const findings: string[] = [];
  auditModinfo(elf, context, findings);
  auditModuleStructure(elf, context, findings);
  const importedSymbols = auditImports(elf, context, findings);
  const klpSymbols = auditKlpSymbols(elf, context, findings);
  const klpRelocations = auditRelocations(elf, findings);
  findings.push(...auditTables(elf, context.planned));
  if (findings.length > 0)
    throw new RekernelError(
      "failed",
      "RK-AUDIT",
      "The finished module does not fit the target and was thrown away.",
      {
        details: findings.join("\n"),
        hint: "This is a defect of rekernel: please report it with the patch and the target's release.",
      },
    );
  return { klpSymbols, klpRelocations, importedSymbols };
}

function auditModinfo(elf: ElfFile, context: AuditContext, findings: string[]): void {
  const section = elf.section(".modinfo");
  const info = section ? parseModinfo(section.data) : new Map<string, readonly string[]>();
  if (info.get("livepatch")?.[0] !== "Y") findings.push("it is not marked as a live patch");
  const vermagic = info.get("vermagic")?.[0] ?? "";
  if (!vermagic.startsWith(`${context.release} `))
    findings.push(`its vermagic "${vermagic}" is not that of ${context.release}`);
  else if (context.stockModule && vermagic.trim() !== context.stockModule.vermagic.trim())
    findings.push(
      `its vermagic "${vermagic}" is not that of the target's modules, "${context.stockModule.vermagic}"`,
    );
}

/** struct module is laid out by the configuration: where its init and exit pointers lie shows a wrong one. */
function auditModuleStructure(elf: ElfFile, context: AuditContext, findings: string[]): void {
  const layout = (file: ElfFile) => {
    const section = file.section(".gnu.linkonce.this_module");
    if (!section) return undefined;
    const pointers = file
      .relocationsOf(section)
      .map(({ offset, symbol }) => `${file.symbols[symbol]?.name} at ${offset}`);
    return { size: section.size, pointers };
  };
  const own = layout(elf);
  const stock = context.stockModule && layout(context.stockModule.elf);
  if (!own) findings.push("it has no struct module");
  else if (
    stock &&
    (own.size !== stock.size || stock.pointers.some((pointer) => !own.pointers.includes(pointer)))
  )
    findings.push(
      `its struct module (${own.size} bytes, ${own.pointers.sort().join(", ")}) is not the target's (${stock.size} bytes, ${stock.pointers.sort().join(", ")})`,
    );
}

function auditImports(elf: ElfFile, context: AuditContext, findings: string[]): number {
  const versions = readModversions(elf);
  let count = 0;
  for (const symbol of elf.symbols) {
    if (symbol.index === 0 || symbol.shndx !== SHN_UNDEF || symbol.name === "") continue;
    count++;
    const exported = context.exports.get(symbol.name);
    if (exported?.module !== "vmlinux") {
      if (symbol.bind !== STB_WEAK) findings.push(`it needs ${symbol.name}, which vmlinux does not export`);
      continue;
    }
    const crc = versions.get(symbol.name);
    if (versions.size > 0 && crc !== exported.crc)
      findings.push(`it needs ${symbol.name} with CRC ${hex(crc)}, the target has ${hex(exported.crc)}`);
  }
  return count;
}

function auditKlpSymbols(elf: ElfFile, context: AuditContext, findings: string[]): number {
  let count = 0;
  for (const symbol of elf.symbols) {
    if (symbol.shndx !== SHN_LIVEPATCH) continue;
    count++;
    const match = klpSymbolPattern.exec(symbol.name);
    if (!match) {
      findings.push(`${symbol.name} is not a name that livepatch can read`);
      continue;
    }
    const [, object = "", name = "", sympos = ""] = match;
    const known = context.code(object)?.symbolsNamed(name) ?? [];
    const position = Number(sympos);
    if (position === 0 ? known.length !== 1 : known.length < position)
      findings.push(
        `it refers to ${name} number ${position} of ${object}, which has ${known.length} of that name`,
      );
  }
  return count;
}

function auditRelocations(elf: ElfFile, findings: string[]): number {
  let count = 0;
  for (const rela of elf.sections) {
    if (rela.type !== SHT_RELA) continue;
    const target = elf.sections[rela.info];
    if (!target) {
      findings.push(`${rela.name} applies to no section`);
      continue;
    }
    const isKlp = (rela.flags & SHF_RELA_LIVEPATCH) !== 0;
    const object = klpSectionPattern.exec(rela.name)?.[1];
    if (isKlp !== (object !== undefined)) findings.push(`${rela.name} is marked wrongly`);
    if (isKlp && object !== "vmlinux" && earlyTables.test(target.name))
      findings.push(`${rela.name} would be applied too late for ${target.name}`);
    for (const relocation of elf.relocationsIn(rela, target)) {
      const symbol = elf.symbols[relocation.symbol]!;
      const kind = architectureOf(elf.header.machine)?.relocationKind(relocation.type);
      // Debug information is not loaded.
      if (!kind) {
        if (target.flags & 2) findings.push(`${rela.name} has a relocation of type ${relocation.type}`);
        continue;
      }
      if (isKlp) {
        count++;
        if (symbol.shndx !== SHN_LIVEPATCH)
          findings.push(`${rela.name} refers to ${symbol.name}, which is not livepatch's`);
        const isVmlinuxSymbol = symbol.name.startsWith(".klp.sym.vmlinux.");
        if ((object === "vmlinux") !== isVmlinuxSymbol)
          findings.push(`${rela.name} refers to ${symbol.name} of another object`);
      } else if (symbol.shndx === SHN_LIVEPATCH)
        findings.push(`${rela.name} refers to ${symbol.name} without livepatch`);
      const field = target.data.subarray(relocation.offset, relocation.offset + kind.sizeBytes);
      // apply_relocate_add() refuses fields that are not zero (arch/x86/kernel/module.c).
      if (target.data.length > 0 && field.some((byte) => byte !== 0))
        findings.push(
          `${rela.name} applies to a field that is not zero, at 0x${relocation.offset.toString(16)}`,
        );
    }
  }
  return count;
}

function hex(value: number | undefined): string {
  return value === undefined ? "none" : `0x${value.toString(16).padStart(8, "0")}`;
}
