/** Where the callers of a function come from: the sources of the target's units and modules. */
import { dirname } from "node:path";
import { RekernelError } from "../../../core/errors.ts";
import type { WorkOptions } from "../../../core/progress.ts";
import type { KernelImage } from "../../../kernel/image.ts";
import { listedModules } from "../../../kernel/modules-folder.ts";
import type { TargetKernel } from "../../../kernel/target.ts";
import { analyseCompiled, withStockFlags } from "../analyse-compiled.ts";
import { type AnalysedUnit, type PlanContext, withMatch } from "../analysis.ts";
import type { TargetModules } from "../match/target-modules.ts";
import type { KernelTrees } from "../source/trees.ts";
import { type CompiledUnit, compileOriginals } from "../units/compile.ts";
import { builtFolders, describeUnits, type Unit } from "../units/units.ts";
import type { CallerSources } from "./carry-across-units.ts";
import { filesDefining } from "./definitions.ts";
import { modulesImporting } from "./module-imports.ts";

/** More files that define a function of such a name are no help. */
const maxCandidates = 24;

export function callerSources(
  {
    trees,
    target,
    image,
    modules,
    context,
    units,
  }: {
    trees: KernelTrees;
    target: TargetKernel;
    image: KernelImage;
    modules: TargetModules;
    context: PlanContext;
    /** Units that the patch reaches. */
    units: readonly CompiledUnit[];
  },
  options: WorkOptions,
): CallerSources {
  const compiled = new Map(units.map((unit) => [`${ownerName(unit)} ${unit.source}`, unit]));
  return {
    context,
    image,
    moduleFile: (name) => modules.open(name),
    importersOf: async (symbols) =>
      target.modules === undefined
        ? undefined
        : modulesImporting(target.modules, trees.store, symbols, options),
    async unitsDefining(object, names, known) {
      const sources = await candidates(trees, await foldersOf(object, target, units), names, options);
      const described = await describeEach(
        trees,
        sources.filter((source) => !known.has(source)),
        options,
      );
      const own = described.filter((unit) => unit.enabled && ownerName(unit) === object);
      const found: AnalysedUnit[] = [];
      for (const unit of await compileOriginals(trees, own, options)) {
        compiled.set(`${object} ${unit.source}`, unit);
        found.push(await analyseCompiled(unit, context));
      }
      return found;
    },
    async matched(unit) {
      const known = compiled.get(`${unit.module?.object ?? "vmlinux"} ${unit.source}`);
      const matched = withMatch(unit, context);
      return known ? withStockFlags(matched, known, context) : matched;
    },
  };
}

function ownerName({ owner }: Pick<Unit, "owner">): string {
  return owner.kind === "module" ? owner.name : "vmlinux";
}

/** A module's units lie where it is built, as a rule, or beside those of its units that are known. */
async function foldersOf(
  object: string,
  target: TargetKernel,
  units: readonly CompiledUnit[],
): Promise<string[]> {
  if (object === "vmlinux") return [...builtFolders, "init", "ipc", "virt"];
  const known = units.filter((unit) => ownerName(unit) === object).map(({ source }) => dirname(source));
  const listed =
    target.modules === undefined
      ? undefined
      : (await listedModules(target.modules, "modules.order")).get(object);
  if (listed !== undefined) known.push(dirname(listed).replace(/^kernel\//, ""));
  return [...new Set(known)];
}

async function candidates(
  trees: KernelTrees,
  folders: readonly string[],
  names: readonly string[],
  options: WorkOptions,
): Promise<string[]> {
  if (folders.length === 0) return [];
  const found = await filesDefining(trees.pristine, folders, names, options);
  return found.length > maxCandidates ? [] : found;
}

/** One file that kbuild knows nothing of must not hide the others. */
async function describeEach(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<Unit[]> {
  if (sources.length === 0) return [];
  try {
    return await describeUnits(trees, sources, options);
  } catch (error) {
    if (!(error instanceof RekernelError) || error.code !== "RK-UNIT" || sources.length === 1) {
      if (error instanceof RekernelError && error.code === "RK-UNIT") return [];
      throw error;
    }
    const units: Unit[] = [];
    for (const source of sources) units.push(...(await describeEach(trees, [source], options)));
    return units;
  }
}
