/**
 * From a source patch to an audited live patch module, in the order in which the data flows:
 * target, trees, units, objects, difference, match, module, audit. There is no other way through.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import { writeFileAtomic } from "../../core/files.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { KernelImage } from "../../kernel/image.ts";
import { moduleName } from "../../kernel/modules-folder.ts";
import { readSymvers } from "../../kernel/symvers.ts";
import type { TargetKernel } from "../../kernel/target.ts";
import { analyseCompiled } from "./analyse-compiled.ts";
import type { AnalysedUnit, PlanContext } from "./analysis.ts";
import { callerSources } from "./callers/caller-units.ts";
import { carryAcrossUnits } from "./callers/carry-across-units.ts";
import { withSourceFindings } from "./cautions/source-findings.ts";
import type { Caution } from "./finding.ts";
import { vmlinuxCode } from "./match/target-code.ts";
import { TargetModules } from "./match/target-modules.ts";
import { auditModule } from "./module/audit.ts";
import { glueSource } from "./module/glue.ts";
import { withKlpRelocations } from "./module/klp-relocations.ts";
import { linkModule } from "./module/link.ts";
import type { ExportedSymbol } from "./module/resolve.ts";
import { type ModulePlan, planModule } from "./plan.ts";
import { withModuleSources } from "./source/module-source.ts";
import { inBuildFolders, moduleFilesOf } from "./source/out-of-tree.ts";
import type { SourcePatch } from "./source/patch.ts";
import { applyPatches, makePatchedTree, type TouchedFile } from "./source/patched-tree.ts";
import { sourceDigest } from "./source/source-digest.ts";
import { type KernelTrees, prepareTrees } from "./source/trees.ts";
import { withTypeFindings } from "./types/judge-units.ts";
import { withMembersPlaced } from "./types/place-members.ts";
import { targetBtf } from "./types/target-btf.ts";
import { tableEntrySizes } from "./types/target-types.ts";
import { type CompiledUnit, compileUnits } from "./units/compile.ts";
import { unitsOfPatch } from "./units/reach.ts";

export interface BuildOptions extends WorkOptions {
  target: TargetKernel;
  patches: readonly SourcePatch[];
  /** Sources of out-of-tree modules; see {@link withModuleSources}. Each patch may be against any of them. */
  moduleSources?: readonly string[] | undefined;
  /** Files of out-of-tree modules as the target loads them, where they are not found by themselves. */
  moduleFiles?: readonly string[] | undefined;
  /** Variables for the makefiles of the out-of-tree modules: `CONFIG_GADGET=m`. */
  moduleMake?: readonly string[] | undefined;
  /** Module name; made from the first patch's file name when left out. */
  name?: string | undefined;
  /** Where the module goes: a .ko file. NAME.ko in the current folder when left out. */
  output?: string | undefined;
  /** Atomic replace: loading it takes back all live patches that are loaded before. */
  replace?: boolean | undefined;
}

export interface BuildReport {
  name: string;
  release: string;
  output: string;
  sizeBytes: number;
  sha256: string;
  /** "vmlinux" and the modules that the patch is for. */
  objects: string[];
  /** Functions that the module replaces; each one's original is byte for byte in the target. */
  functions: ModulePlan["functions"];
  /** What the module brings besides. */
  included: ModulePlan["included"];
  units: { source: string; object: string; changed: number }[];
  /** Sources of out-of-tree modules that were given. */
  moduleSources: readonly { name: string; folder: string; sha256: string }[];
  /** Files of out-of-tree modules that it was held against: those patched, and those that these need. */
  moduleFiles: readonly { name: string; path: string }[];
  /** Sources that the patch touches and the target's configuration leaves out. */
  notBuilt: readonly string[];
  match: { identicalFunctions: number; comparedFunctions: number };
  audit: { klpSymbols: number; klpRelocations: number; importedSymbols: number };
  /** Functions that the patch changes and the compiler inlines: all that carry a copy, by unit. */
  inlined: { source: string; name: string; into: string[] }[];
  /** What the author has to judge. */
  cautions: readonly Caution[];
  /** What kbuild and objtool warned of. */
  warnings: readonly string[];
  inputs: { name: string; sha256: string }[];
  /** Wall-clock milliseconds; `own` is what neither the compiler nor kbuild took. */
  timesMs: { trees: number; compile: number; link: number; own: number; total: number };
}

/**
 * @throws RekernelError RK-PATCH-… (1, 3, 4), RK-COMPILE-ERROR (1), RK-NO-FUNCTIONAL-CHANGE (3),
 *   refusals of the difference and the match (4: RK-SOURCE-MISMATCH, RK-DATA-CHANGE, RK-INIT-CHANGE …),
 *   RK-LINK, RK-AUDIT (1), RK-DISK-FULL (1)
 */
export async function buildLivePatch(options: BuildOptions): Promise<BuildReport> {
  const { target } = options;
  const name =
    options.name === undefined ? defaultModuleName(options.patches) : checkedModuleName(options.name);
  const output = options.output ?? `${name}.ko`;
  const started = performance.now();
  // The image takes half a second to unpack: while others work, nobody waits for it.
  const imagePending = KernelImage.open(target.image);
  imagePending.catch(() => {});
  const symversPending = readSymvers(target.symvers);
  symversPending.catch(() => {});

  const trees = await withModuleSources(await prepareTrees(target, options), options.moduleSources ?? [], {
    ...options,
    make: options.moduleMake,
  });
  const treesMs = performance.now() - started;
  const touched = await applyPatches(trees, options.patches);
  const build = { options, name, output, started, treesMs, imagePending, symversPending, trees };
  return buildTouched(build, touched);
}

/** What a build has once its sources are prepared. */
interface PreparedBuild {
  options: BuildOptions;
  name: string;
  output: string;
  started: number;
  treesMs: number;
  imagePending: Promise<KernelImage>;
  symversPending: ReturnType<typeof readSymvers>;
  trees: KernelTrees;
}

/** @param earlier cautions about how `touched` came to differ from what the patches make */
async function buildTouched(
  build: PreparedBuild,
  touched: readonly TouchedFile[],
  earlier: readonly Caution[] = [],
): Promise<BuildReport> {
  const { options, name, output, started, treesMs, imagePending, symversPending, trees } = build;
  const { target } = options;
  const compileStarted = performance.now();
  const reached = await unitsOfPatch(trees, touched, options);
  const moduleFiles = moduleFilesOf(target, trees, options.moduleFiles);
  const built = reached.filter((unit) => unit.enabled);
  const enabled = await inBuildFolders(built, trees, moduleFiles);
  const notBuilt = reached.filter((unit) => !unit.enabled).map((unit) => unit.source);
  if (enabled.length === 0) throw nothingBuilt(target, notBuilt);
  // After kbuild was asked about the units: it generates headers then, and the patched tree must have them.
  const tree = await makePatchedTree(trees, touched);
  try {
    const units = await compileUnits(trees, tree, enabled, options);
    const compileMs = performance.now() - compileStarted;
    const image = await imagePending;
    checkRelease(image, target);
    const modules = new TargetModules(moduleFiles);
    for (const { owner } of units) if (owner.kind === "module") await modules.open(owner.name);
    const exports = new Map([...modules.exports(), ...exportedSymbols(await symversPending, image)]);
    const context: PlanContext = {
      vmlinux: vmlinuxCode(image),
      exports,
      moduleNamed: (wanted) => modules.get(wanted),
      entrySizes: image.btf && tableEntrySizes(image.btf),
      moduleNeeds: (module, other) => modules.needs(module, other),
    };
    const { units: compared, placements } = await runStep(
      options,
      "difference",
      "Compare the objects with each other and with the target",
      async () =>
        withTypeFindings(
          await analyse(units, context, options),
          units,
          trees.pristine,
          targetBtf(image, modules),
        ),
    );
    const placed =
      earlier.length === 0 && placements && areOnlyProblems(compared)
        ? withMembersPlaced(touched, placements)
        : undefined;
    if (placed) return await buildTouched(build, placed.touched, placed.cautions);
    const carried = await carryAcrossUnits(
      compared,
      callerSources({ trees, target, image, modules, context, units }, options),
      options,
    );
    const told = await withSourceFindings(carried, units, touched, trees.pristine);
    const plan = planModule(told.units, context);

    const linkStarted = performance.now();
    const linked = await runStep(options, "module", `Link ${name}.ko`, () =>
      linkModule({
        tree: trees.kernel,
        makeArgs: trees.makeArgs,
        name,
        glue: glueSource(plan.objects, {
          description: `Live patch for ${target.release}: ${options.patches.map((patch) => basename(patch.name)).join(", ")}`,
          replace: options.replace ?? false,
          states: plan.states,
          namespaces: plan.namespaces,
          quotedNamespaces: atLeast(target.release, 6, 13),
        }),
        units: plan.units,
        folder: tree.folder,
        signal: options.signal,
      }),
    );
    const linkMs = performance.now() - linkStarted;

    const bytes = withKlpRelocations(linked.bytes, plan.names.bindings, plan.aliases);
    const stock = await modules.stock();
    const audit = await runStep(options, "audit", "Audit the module against the target", () =>
      auditModule(bytes, {
        release: target.release,
        stockModule: stock,
        exports,
        code: (object) => (object === "vmlinux" ? context.vmlinux : modules.get(object)),
        planned: plan,
      }),
    );
    options.signal?.throwIfAborted();
    await writeFileAtomic(output, bytes);

    const foreign = modules.foreign();
    const total = performance.now() - started;
    return {
      name,
      release: target.release,
      output,
      sizeBytes: bytes.length,
      sha256: sha256(bytes),
      objects: plan.objects.map(({ module }) => module ?? "vmlinux"),
      functions: plan.functions,
      included: plan.included,
      units: told.units.map((unit) => ({
        source: unit.source,
        object: unit.module?.object ?? "vmlinux",
        changed: unit.difference.changed.length,
      })),
      moduleSources: trees.modules.map(({ name, folder, sha256 }) => ({ name, folder, sha256 })),
      moduleFiles: foreign,
      notBuilt,
      match: { identicalFunctions: plan.identicalFunctions, comparedFunctions: plan.comparedFunctions },
      audit,
      inlined: told.inlined,
      cautions: [...earlier, ...plan.cautions, ...told.cautions],
      warnings: linked.warnings,
      inputs: await inputs(options, trees, modules),
      timesMs: {
        trees: treesMs,
        compile: compileMs,
        link: linkMs,
        own: total - treesMs - compileMs - linkMs,
        total,
      },
    };
  } finally {
    await tree.remove();
  }
}

/** Whether nothing but changed layouts is in the way, which the author does not vouch for. */
function areOnlyProblems(units: readonly AnalysedUnit[]): boolean {
  const isLayout = ({ code }: { code: string }) => code === "RK-TYPE-CHANGE";
  return units.every(
    ({ difference, directives }) =>
      difference.problems.every(isLayout) &&
      !directives.some((directive) => directive.kind === "accept" && isLayout(directive)),
  );
}

function nothingBuilt(target: TargetKernel, sources: readonly string[]): RekernelError {
  return new RekernelError(
    "nothingToDo",
    "RK-NOT-BUILT",
    `${target.release} is built without ${sources.join(", ")}: its configuration leaves that code out.`,
    { hint: "Nothing of this patch concerns that kernel." },
  );
}

async function analyse(
  units: readonly CompiledUnit[],
  context: PlanContext,
  options: WorkOptions,
): Promise<AnalysedUnit[]> {
  const analysed: AnalysedUnit[] = [];
  for (const unit of units) {
    options.signal?.throwIfAborted();
    const result = await analyseCompiled(unit, context);
    // Nothing changes in a module that the target does not have.
    if (unit.owner.kind === "module" && !result.module) continue;
    analysed.push(result);
  }
  return analysed;
}

/** @throws RekernelError RK-SYMVERS-MISMATCH (4) */
export function exportedSymbols(
  symvers: Awaited<ReturnType<typeof readSymvers>>,
  image: KernelImage,
): Map<string, ExportedSymbol> {
  const exports = new Map<string, ExportedSymbol>();
  const wrong: string[] = [];
  for (const [name, { crc, module, namespace }] of symvers) {
    const inImage = module === "vmlinux" ? image.exports.get(name) : undefined;
    if (module === "vmlinux" && (!inImage || (inImage.crc !== undefined && inImage.crc !== crc)))
      wrong.push(name);
    exports.set(name, { module: moduleName(module), crc, namespace });
  }
  if (wrong.length > 0)
    throw new RekernelError(
      "refused",
      "RK-SYMVERS-MISMATCH",
      `Module.symvers is not of the target's build: ${wrong.length} exports of vmlinux differ, ${wrong.slice(0, 3).join(", ")} among them.`,
      {
        hint: "Take Module.symvers from the headers package of exactly the target's version.",
      },
    );
  return exports;
}

function checkRelease(image: KernelImage, target: TargetKernel): void {
  if (image.release === target.release) return;
  throw new RekernelError(
    "refused",
    "RK-IMAGE-MISMATCH",
    `${target.image} is the kernel ${image.release}, not ${target.release}.`,
    {
      hint: "Give image, configuration and Module.symvers of the same build.",
    },
  );
}

function defaultModuleName(patches: readonly SourcePatch[]): string {
  const stem = basename(patches[0]?.name ?? "patch").replace(/\.(patch|diff)$/i, "");
  const name = `livepatch_${stem
    .replace(/[^A-Za-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "")
    .toLowerCase()}`;
  return name.slice(0, maxModuleName);
}

/** MODULE_NAME_LEN (include/linux/moduleparam.h) on 64-bit machines, less the terminating NUL. */
const maxModuleName = 55;

function checkedModuleName(name: string): string {
  if (/^[A-Za-z][A-Za-z0-9_]*$/.test(name) && name.length <= maxModuleName) return name;
  throw new RekernelError("usage", "RK-BAD-NAME", `"${name}" cannot be a module's name.`, {
    hint: `Use letters, digits and underscores, at most ${maxModuleName}.`,
  });
}

function atLeast(release: string, major: number, minor: number): boolean {
  const [, a = "0", b = "0"] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return Number(a) > major || (Number(a) === major && Number(b) >= minor);
}

async function inputs(
  { patches, target, signal }: BuildOptions,
  trees: KernelTrees,
  modules: TargetModules,
): Promise<BuildReport["inputs"]> {
  const files = [target.image, target.config, target.symvers, ...modules.paths()];
  const source = await sourceDigest(target, trees, signal);
  return [
    ...patches.map((patch) => ({ name: patch.name, sha256: patch.sha256 })),
    ...(await Promise.all(files.map(async (path) => ({ name: path, sha256: sha256(await readFile(path)) })))),
    ...(source === undefined ? [] : [source]),
  ];
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
