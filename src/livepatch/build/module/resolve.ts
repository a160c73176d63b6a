/** Decides how each outside reference of the module is bound: by the module loader, or by livepatch. */

import type { Problem } from "../finding.ts";
import type { FieldTarget, TargetCode, TargetSymbol, UnitMatch } from "../match/match.ts";
import { isBookkeeping } from "../object/names.ts";
import type { Piece, TableEntry } from "../object/object.ts";
import type { Destination } from "./inclusion.ts";

/** An exported symbol: a plain undefined symbol with a CRC. */
export interface ExportBinding {
  kind: "export";
  name: string;
  namespace: string;
}

/** A symbol that livepatch finds by name and position (Documentation/livepatch/module-elf-format.rst). */
export interface KlpBinding {
  kind: "klp";
  /** The object whose loading makes the reference possible: names the `.klp.rela.` section. */
  relocatedFor: string;
  /** The object that defines the symbol. */
  object: string;
  name: string;
  sympos: number;
}

/** A weak symbol that nothing defines. */
export interface AbsentBinding {
  kind: "absent";
  name: string;
}

export type Binding = ExportBinding | KlpBinding | AbsentBinding;

export interface ExportedSymbol {
  /** "vmlinux", or a module's name with underscores. */
  module: string;
  crc: number;
  namespace: string;
}

export interface ResolveContext {
  vmlinux: TargetCode;
  /** The module that the unit belongs to, or undefined for vmlinux. */
  module: TargetCode | undefined;
  match: UnitMatch;
  exports: ReadonlyMap<string, ExportedSymbol>;
  /** Another module's symbols, by module name, for what it exports. */
  moduleNamed(name: string): TargetCode | undefined;
  /** Whether a module depends on another, directly or through others. */
  moduleNeeds(module: string, other: string): boolean;
  /** Global symbols that other units of this patch define anew. */
  newGlobals: ReadonlyMap<string, string /* the object that brings them */>;
}

/** Thrown as a value: the reason why a reference cannot be bound. */
export interface Unresolved {
  kind: "unresolved";
  problem: Problem;
}

export function resolveDestination(
  destination: Exclude<Destination, { kind: "included" }>,
  context: ResolveContext,
): Binding | Unresolved {
  return destination.kind === "original"
    ? resolveOriginal(destination.piece, context)
    : resolveSymbol(destination.symbol, destination.weak, context);
}

/** A function or variable that the unit itself defines. */
function resolveOriginal(piece: Piece, context: ResolveContext): Binding | Unresolved {
  const own = context.module ?? context.vmlinux;
  const start = context.match.pieces.get(piece);
  const location = start === undefined ? undefined : start + BigInt(piece.entry);
  const names = piece.symbols.map((symbol) => symbol.name);
  if (location !== undefined) {
    const symbols = own.symbolsAt(location);
    const symbol = symbols.find(({ name }) => names.includes(name));
    if (symbol) return bindPlaced(symbol, own, context);
  }
  const candidates = own.symbolsNamed(piece.name);
  if (candidates.length === 1) return bindPlaced(candidates[0]!, own, context);
  return unresolved(piece.name, own.object, candidates.length);
}

function resolveSymbol(name: string, weak: boolean, context: ResolveContext): Binding | Unresolved {
  const bringer = context.newGlobals.get(name);
  if (bringer !== undefined)
    return bringer === "vmlinux" || isThereWith(bringer, context)
      ? { kind: "export", name, namespace: "" }
      : ofStranger(name, bringer, context.module?.object);
  const matched = context.match.symbols.get(name);
  if (context.module) {
    // The linker takes the module's own before the kernel's.
    const own = context.module.symbolsNamed(name).filter(({ isGlobal }) => isGlobal);
    if (own.length > 0)
      return own.length === 1
        ? bindPlaced(own[0]!, context.module, context)
        : pick(name, own, matched, context.module, context);
  }
  const exported = context.exports.get(name);
  if (exported && exported.module === "vmlinux" && isImportable(name, context)) {
    const place = locationOf(matched, context);
    const known = context.vmlinux.symbolsNamed(name);
    if (place === undefined || context.module || known.some((symbol) => symbol.location === place))
      return { kind: "export", name, namespace: exported.namespace };
  }
  if (exported && exported.module !== "vmlinux") {
    const other = isThereWith(exported.module, context) ? context.moduleNamed(exported.module) : undefined;
    const symbol = other?.symbolsNamed(name).find(({ isGlobal }) => isGlobal);
    if (!context.module || !symbol) return ofStranger(name, exported.module, context.module?.object);
    // Whatever the module depends on is loaded when the module is: the kernel finds the symbol there.
    return {
      kind: "klp",
      relocatedFor: context.module.object,
      object: exported.module,
      name,
      sympos: symbol.sympos,
    };
  }
  // Another file's static function of that name is not what the linker would take.
  const candidates = context.vmlinux.symbolsNamed(name).filter(({ isGlobal }) => isGlobal);
  if (candidates.length === 1) return bindPlaced(candidates[0]!, context.vmlinux, context);
  if (candidates.length > 1 && !context.module)
    return pick(name, candidates, matched, context.vmlinux, context);
  if (candidates.length === 0 && weak) return { kind: "absent", name };
  return unresolved(
    name,
    context.module ? `${context.module.object} or vmlinux` : "vmlinux",
    candidates.length,
  );
}

function locationOf(matched: FieldTarget | undefined, context: ResolveContext): bigint | undefined {
  return matched && "location" in matched && !context.module ? matched.location : undefined;
}

function pick(
  name: string,
  candidates: readonly TargetSymbol[],
  matched: FieldTarget | undefined,
  code: TargetCode,
  context: ResolveContext,
): Binding | Unresolved {
  const chosen =
    matched && "location" in matched
      ? candidates.find((symbol) => symbol.location === matched.location)
      : undefined;
  return chosen ? bindPlaced(chosen, code, context) : unresolved(name, code.object, candidates.length);
}

function bindPlaced(symbol: TargetSymbol, code: TargetCode, context: ResolveContext): Binding {
  const exported = context.exports.get(symbol.name);
  // Only vmlinux is certain to be there when the module loads; what modules export is bound when they come.
  if (
    code.object === "vmlinux" &&
    exported?.module === "vmlinux" &&
    isImportable(symbol.name, context) &&
    symbol.sympos === 0
  )
    return { kind: "export", name: symbol.name, namespace: exported.namespace };
  return {
    kind: "klp",
    relocatedFor: code.object,
    object: code.object,
    name: symbol.name,
    sympos: symbol.sympos,
  };
}

/** Whether it is exported, any module may import it, and the kernel makes of it what it would of the kernel's own use. */
function isImportable(name: string, { exports }: ResolveContext): boolean {
  // Since 6.16 a namespace "module:a,b" names the modules that may.
  if (exports.get(name)?.namespace.startsWith("module:") !== false) return false;
  // Of a call by this name objtool makes a site, whose key the kernel looks up by the trampoline: it finds only keys
  // that are not exported themselves (tramp_key_lookup in kernel/static_call_inline.c), and refuses the module.
  return !(name.startsWith("__SCT__") && exports.has(name.replace("__SCT__", "__SCK__")));
}

/** Whether a module is always loaded, and its references bound, when the code that is patched runs. */
function isThereWith(module: string, context: ResolveContext): boolean {
  const own = context.module?.object;
  return own !== undefined && (own === module || context.moduleNeeds(own, module));
}

function ofStranger(name: string, exporter: string, module: string | undefined): Unresolved {
  const user = module ?? "vmlinux";
  return {
    kind: "unresolved",
    problem: {
      code: "RK-SYMBOL-OF-MODULE",
      message: `The patched code of ${user} refers to ${name} of the module ${exporter}: nothing makes sure that ${exporter} is loaded when ${user} runs.`,
      hint: `Reach it with symbol_get(${name}), which gives NULL while ${exporter} is not loaded, and symbol_put().`,
    },
  };
}

function unresolved(name: string, where: string, candidates: number): Unresolved {
  const problem: Problem =
    candidates === 0
      ? {
          code: "RK-SYMBOL-UNKNOWN",
          message: `The patched code refers to ${name}, which ${where} does not have.`,
          hint: "Check that the source is the target's, and that the configuration builds what the patch uses.",
        }
      : {
          code: "RK-SYMBOL-AMBIGUOUS",
          message: `The patched code newly refers to ${name}, of which ${where} has ${candidates}, and no unchanged function tells which one is meant.`,
          hint: "Refer to it from a function that used it before, or reach the data another way.",
        };
  return { kind: "unresolved", problem };
}

/**
 * Table entries that must not go into the module as they are: the kernel works through these tables when the
 * live patch loads, before livepatch has bound what belongs to another module (kernel/module/livepatch.c).
 *
 * @returns "default" where the site may stay for ever as it is compiled, which is off for tracepoints and dynamic
 *          debug; a problem otherwise; undefined when the entry is fine
 */
export function moduleKeyProblem(
  entry: TableEntry,
  functionName: string,
  bindingOfKey: (index: number) => Binding | Unresolved | undefined,
): "default" | Problem | undefined {
  if (entry.section.name !== "__jump_table") return undefined;
  const binding = bindingOfKey(entry.references.length - 1);
  if (binding?.kind !== "klp" || binding.relocatedFor === "vmlinux") return undefined;
  if (isBookkeeping(binding.name) || binding.name.startsWith("__tracepoint_")) return "default";
  return {
    code: "RK-KEY-OF-MODULE",
    message: `${functionName} uses the static key ${binding.name}, which belongs to the module ${binding.object}: the kernel cannot bind it in time.`,
    hint: "Use static_key_enabled() on the key instead of static_branch_likely() or static_branch_unlikely() in the patched function.",
  };
}
