/**
 * Carries functions that livepatch cannot redirect through their callers in other units, of vmlinux and of modules.
 * The target itself says who calls them; the sources of those callers are found, compiled, and matched like all others.
 */
import { runStep, type WorkOptions } from "../../../core/progress.ts";
import type { KernelImage } from "../../../kernel/image.ts";
import type { KernelModuleFile } from "../../../kernel/module.ts";
import { type AnalysedUnit, type PlanContext, withMoreChanges } from "../analysis.ts";
import { callsUnhookable, notHookable } from "../difference/carry.ts";
import { type ChangedFunction, coldParent } from "../difference/difference.ts";
import type { Caution, Problem } from "../finding.ts";
import { isPieceTarget, type Piece } from "../object/object.ts";
import { referencesInImage } from "./image-references.ts";
import { referencesInModule, type SoughtFunction } from "./module-references.ts";
import { holderName, type TargetReference } from "./reference.ts";

/** Beyond these a change is too deep in the kernel for a live patch that anybody can review. */
const maxCarried = 20;
const maxUnits = 10;

/** A function of the target that calls a carried one. */
export interface Caller {
  /** "vmlinux" or a module. */
  object: string;
  name: string;
  location: bigint;
}

export interface CallerSources {
  context: PlanContext;
  image: KernelImage;
  moduleFile(name: string): Promise<KernelModuleFile | undefined>;
  /** Modules of the target that import these symbols; undefined when the target's modules are not at hand. */
  importersOf(symbols: readonly string[]): Promise<ReadonlyMap<string, readonly string[]> | undefined>;
  /**
   * Units that may define these functions of one object, compiled and matched, nothing changed in them.
   * Those with a source in `known` are left out.
   */
  unitsDefining(
    object: string,
    names: readonly string[],
    known: ReadonlySet<string>,
  ): Promise<readonly AnalysedUnit[]>;
  /** A unit with its functions found in the target. */
  matched(unit: AnalysedUnit): Promise<AnalysedUnit>;
}

/** A carried function that others may call, and who does. */
interface Pending {
  change: ChangedFunction;
  /** Which unit it belongs to. */
  unit: string;
  object: string;
  location: bigint;
}

/**
 * @returns all units, with those of the callers, and with the reasons why something cannot be carried after all
 */
export async function carryAcrossUnits(
  units: readonly AnalysedUnit[],
  sources: CallerSources,
  options: WorkOptions = {},
): Promise<AnalysedUnit[]> {
  if (units.every(({ outward }) => outward.length === 0)) return [...units];
  return runStep(options, "callers", "Find the callers of what ftrace cannot hook", (update) =>
    new CarryingAcrossUnits(units, sources, update).run(),
  );
}

class CarryingAcrossUnits {
  readonly #units: Map<string, AnalysedUnit>;
  readonly #given: number;
  readonly #sources: CallerSources;
  readonly #update: (detail: string) => void;
  readonly #done = new Set<Piece>();
  readonly #problems = new Map<string, Problem[]>();
  readonly #cautions = new Map<string, Caution[]>();
  /** Names of exported functions that are carried, by unit. */
  readonly #exported = new Map<string, string[]>();
  #modulesUnknown = false;

  constructor(units: readonly AnalysedUnit[], sources: CallerSources, update: (detail: string) => void) {
    this.#units = new Map(units.map((unit) => [identityOf(unit), unit]));
    this.#given = units.length;
    this.#sources = sources;
    this.#update = update;
  }

  async run(): Promise<AnalysedUnit[]> {
    for (let pending = this.#pending(); pending.length > 0; pending = this.#pending()) {
      for (const { change } of pending) this.#done.add(change.original);
      const [first] = pending;
      if (this.#done.size > maxCarried || this.#units.size - this.#given > maxUnits) {
        this.#refuse(
          first!,
          `more than ${maxCarried} functions or ${maxUnits} units would have to come along`,
        );
        break;
      }
      const references = await this.#references(pending);
      for (const one of pending) this.#judge(one, references.get(one) ?? []);
      if (this.#problems.size > 0) break;
      await this.#replaceCallers(pending, references);
      if (this.#problems.size > 0) break;
    }
    this.#refuseNewPointers();
    this.#noteInitCallers();
    for (const [identity, names] of this.#exported)
      append(this.#cautions, identity, foreignCallers(names, this.#modulesUnknown));
    return [...this.#units].map(([identity, unit]) => ({
      ...unit,
      cautions: [...unit.cautions, ...(this.#cautions.get(identity) ?? [])],
      difference: {
        ...unit.difference,
        problems: [...unit.difference.problems, ...(this.#problems.get(identity) ?? [])],
      },
    }));
  }

  #pending(): Pending[] {
    return [...this.#units].flatMap(([identity, unit]) =>
      unit.outward.flatMap((change) => {
        // A function that is not the target's is refused later, for that reason.
        const location = unit.match.functions.get(change.original)?.symbol?.location;
        if (this.#done.has(change.original) || location === undefined) return [];
        return [{ change, unit: identity, object: unit.module?.object ?? "vmlinux", location }];
      }),
    );
  }

  #refuse(pending: Pending, reason: string): void {
    append(this.#problems, pending.unit, notHookable(pending.change.original, reason));
  }

  /** All that leads to these functions, in vmlinux and in modules. */
  async #references(
    pending: readonly Pending[],
  ): Promise<Map<Pending, (TargetReference & { object: string })[]>> {
    const found = new Map<Pending, (TargetReference & { object: string })[]>();
    const add = (object: string, references: readonly TargetReference[], among: readonly Pending[]) => {
      for (const reference of references)
        for (const one of among)
          if (one.location === reference.to) append(found, one, { ...reference, object });
    };
    const inImage = pending.filter(({ object }) => object === "vmlinux");
    if (inImage.length > 0)
      add(
        "vmlinux",
        referencesInImage(
          this.#sources.image,
          inImage.map(({ location }) => location),
        ),
        inImage,
      );
    const inModules = new Map<string, { sought: SoughtFunction[]; among: Pending[] }>();
    const seek = (module: string, one: Pending, how: SoughtFunction) => {
      const entry = inModules.get(module) ?? { sought: [], among: [] };
      inModules.set(module, entry);
      entry.sought.push(how);
      entry.among.push(one);
    };
    for (const one of pending)
      if (one.object !== "vmlinux") seek(one.object, one, { location: one.location });
    const exported = pending.filter((one) => this.#isExported(one));
    if (exported.length > 0) {
      const importers = await this.#sources.importersOf(exported.map(({ change }) => change.original.name));
      for (const one of exported) {
        append(this.#exported, one.unit, one.change.original.name);
        this.#modulesUnknown ||= importers === undefined;
        for (const module of importers?.get(one.change.original.name) ?? [])
          seek(module, one, { symbol: one.change.original.name, to: one.location });
      }
    }
    for (const [module, { sought, among }] of inModules) {
      this.#update(module);
      const file = await this.#sources.moduleFile(module);
      if (file) add(module, referencesInModule(file.elf, sought), among);
      else for (const one of among) this.#refuse(one, `the file of the module ${module} is not at hand`);
    }
    return found;
  }

  #isExported({ change, object }: Pending): boolean {
    const exported = this.#sources.context.exports.get(change.original.name);
    return exported?.module === object;
  }

  #judge(pending: Pending, references: readonly TargetReference[]): void {
    const holders = new Set(references.filter(({ how }) => how === "address").map(holderName));
    if (holders.size === 0) return;
    const some = [...holders].slice(0, 3).join(", ");
    this.#refuse(
      pending,
      `${some} ${holders.size === 1 ? "holds" : "hold"} its address, so that not all its callers are known`,
    );
  }

  async #replaceCallers(
    pending: readonly Pending[],
    references: ReadonlyMap<Pending, readonly (TargetReference & { object: string })[]>,
  ): Promise<void> {
    const wanted = new Map<string, { caller: Caller; reason: string; pending: Pending }>();
    for (const one of pending)
      for (const { from, object, isInit } of references.get(one) ?? []) {
        if (!from) continue;
        if (isInit) {
          // What vmlinux runs while it boots has run.
          if (object !== "vmlinux")
            append(this.#cautions, one.unit, initCaller(from.name, one.change.original.name));
          continue;
        }
        const caller = { object, ...from };
        const reason = callsUnhookable(one.change.original.name);
        wanted.set(`${object} ${from.location}`, { caller, reason, pending: one });
      }
    const byObject = new Map<string, { caller: Caller; reason: string; pending: Pending }[]>();
    for (const entry of wanted.values()) append(byObject, entry.caller.object, entry);
    for (const [object, entries] of byObject) {
      let left = await this.#replaceIn(
        [...this.#units.values()].filter((unit) => (unit.module?.object ?? "vmlinux") === object),
        entries,
      );
      if (left.length === 0) continue;
      const names = left.map(({ caller }) => caller.name);
      this.#update(names.join(", "));
      const known = new Set([...this.#units.values()].map(({ source }) => source));
      const found = await this.#sources.unitsDefining(object, names, known);
      left = await this.#replaceIn(found, left);
      for (const { caller, pending: one } of left)
        this.#refuse(
          one,
          `${caller.name} of ${object} calls it, and no source was found that is that function`,
        );
    }
  }

  /** Marks the callers that these units define as changed; gives back those that none of them defines. */
  async #replaceIn<Entry extends { caller: Caller; reason: string }>(
    units: readonly AnalysedUnit[],
    entries: readonly Entry[],
  ): Promise<Entry[]> {
    let left = [...entries];
    for (const candidate of units) {
      if (left.length === 0) break;
      const names = new Set(left.map(({ caller }) => caller.name));
      if (!candidate.original.pieces.some(({ symbols }) => symbols.some(({ name }) => names.has(name))))
        continue;
      const unit = await this.#sources.matched(candidate);
      const places = new Map(
        [...unit.match.pieces].map(([piece, start]) => [start + BigInt(piece.entry), piece]),
      );
      const here = left.filter(({ caller }) => places.has(caller.location));
      if (here.length === 0) continue;
      left = left.filter((entry) => !here.includes(entry));
      const more = here.flatMap(({ caller, reason }): ChangedFunction[] => {
        const piece = places.get(caller.location)!;
        const original = coldParent(piece, unit.original) ?? piece;
        const patched = unit.difference.correlation.patchedOf.get(original);
        // Where it is gone, whoever called it has changed.
        return patched ? [{ original, patched, reason }] : [];
      });
      this.#units.set(identityOf(unit), withMoreChanges(unit, more));
    }
    return left;
  }

  /** The patch itself may take the address of a carried function: that would be the module's own copy. */
  #refuseNewPointers(): void {
    for (const [identity, unit] of this.#units)
      for (const change of unit.outward) {
        const names = new Set(change.original.symbols.map(({ name }) => name));
        for (const { patched } of this.#units.values())
          for (const piece of patched.pieces)
            if (
              piece.references.some(
                ({ target, branch }) => !branch && !isPieceTarget(target) && names.has(target.symbol),
              )
            )
              append(
                this.#problems,
                identity,
                notHookable(change.original, `${piece.name} takes its address with the patch`),
              );
      }
  }

  #noteInitCallers(): void {
    for (const [identity, unit] of this.#units)
      if (unit.module)
        for (const { caller, callee } of unit.initCallers)
          append(this.#cautions, identity, initCaller(caller, callee));
  }
}

function identityOf({ source, module }: AnalysedUnit): string {
  return `${module?.object ?? "vmlinux"} ${source}`;
}

function foreignCallers(names: readonly string[], modulesUnknown: boolean): Caution {
  const [reached, others] = modulesUnknown
    ? ["vmlinux", "modules"]
    : ["the kernel and its own modules", "out-of-tree modules"];
  const what =
    names.length === 1
      ? `${names[0]} is exported, and ftrace cannot hook it`
      : `${names.join(", ")} are exported, and ftrace cannot hook them`;
  return {
    code: "RK-CAUTION-FOREIGN-CALLERS",
    message: `${what}: callers in ${reached} get the new code, ${others} keep calling the old.`,
    hint: modulesUnknown
      ? "Give the folder with the target's modules, so that their calls are found: --modules /lib/modules/RELEASE."
      : "Look whether a module that is not the kernel's own is loaded and calls it.",
  };
}

function initCaller(caller: string, callee: string): Caution {
  return {
    code: "RK-CAUTION-INIT-CALLER",
    message: `${caller} calls ${callee}, which ftrace cannot hook, while its module is loaded or removed: there the old ${callee} runs.`,
    hint: "Look whether the defect matters there.",
  };
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
