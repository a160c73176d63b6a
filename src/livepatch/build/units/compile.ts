import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { RekernelError } from "../../../core/errors.ts";
import { writeFileAtomic } from "../../../core/files.ts";
import { runStep, type WorkOptions } from "../../../core/progress.ts";
import type { PatchedTree } from "../source/patched-tree.ts";
import type { KernelTrees } from "../source/trees.ts";
import { inPatchedTree, keyOf, runCompiler } from "./gcc.ts";
import { headerNames, patchReaches, unitsInQuestion } from "./preprocess.ts";
import { headerChange } from "./reach.ts";
import type { Unit, UnitOwner } from "./units.ts";

/** A unit compiled from both trees, with one section for each function and each datum. */
export interface CompiledUnit {
  source: string;
  owner: UnitOwner;
  unit: Unit;
  /** Path of the object made from the pristine source. Kept in the cache. */
  original: string;
  /** Path of the object made from the patched source. Gone with the patched tree's folder. */
  patched: string;
  /** The pristine unit compiled with kbuild's very flags, without sections of their own. Path of the object. */
  stockFlags(): Promise<string>;
}

const separateSections = ["-ffunction-sections", "-fdata-sections"];

/**
 * Types, places and what was inlined where. gcc makes the same code with it, and takes no longer without the pass that
 * follows variables from register to register.
 */
function debugInformation(unit: Unit): string[] {
  const isClang = unit.command.slice(0, 2).some((word) => /(^|\/)clang[^/]*$/.test(word));
  // Kbuild makes clang fail over options that it does not know.
  return isClang ? ["-g"] : ["-g", "-fno-var-tracking"];
}

/** More units than this are not compiled for one header. */
const maximumUnits = 200;

/**
 * Compiles each unit from both trees, as many at a time as the machine has processors. Objects of pristine
 * units are kept, so that a second build runs the compiler once for each unit. Nothing but the compiler runs:
 * no objtool, no modversions; both objects are as gcc leaves them.
 *
 * @returns the units whose code the patch may change: those it touches, and of those that a header reaches the ones
 *   where something that makes code uses what changes
 * @throws RekernelError RK-COMPILE-ERROR (1), RK-HEADER-CHANGE (4)
 */
export async function compileUnits(
  trees: KernelTrees,
  tree: PatchedTree,
  units: readonly Unit[],
  options: WorkOptions = {},
): Promise<CompiledUnit[]> {
  const title = units.length === 1 ? `Compile ${units[0]!.source}` : `Compile ${units.length} units`;
  return runStep(options, "units", title, async (update) => {
    await tree.makeReal(units.map((unit) => unit.input));
    const width = Math.max(2, availableParallelism());
    const touched = new Set(tree.touched.map(({ path }) => path));
    // A unit of several modules is compiled once.
    const distinct = [...new Map(units.map((unit) => [unit.source, unit])).values()];
    const names = await headerNames(trees, tree.touched, options);
    const others = distinct.filter((unit) => !touched.has(unit.source));
    if (others.length > 0) update(`which of ${others.length} units use what changes?`);
    const inQuestion = await unitsInQuestion(
      trees,
      tree,
      others,
      names,
      (jobs) => runPool(jobs, width),
      options,
    );
    let changing = 0;
    let compared = 0;
    const differ = await runPool(
      distinct.map((unit) => async () => {
        if (touched.has(unit.source)) return true;
        if (!inQuestion.has(unit)) return false;
        update(`${unit.source}: does the patch reach it?`, compared / inQuestion.size);
        const reaches = await patchReaches(trees, tree, unit, names, options);
        compared++;
        if (reaches && ++changing > maximumUnits)
          throw headerChange(
            [...touched].filter((path) => !path.endsWith(".c")),
            `changes the code of more than ${maximumUnits} units`,
          );
        return reaches;
      }),
      width,
    );
    const reached = distinct.filter((_, i) => differ[i]);
    let finished = 0;
    const jobs = reached.flatMap((unit) => [
      () => compilePristine(trees, unit, [...separateSections, ...debugInformation(unit)], options),
      () => compilePatched(tree, unit, options),
    ]);
    const paths = await runPool(
      jobs.map((job, i) => async () => {
        update(reached[i >> 1]!.source, finished / jobs.length);
        const path = await job();
        finished++;
        return path;
      }),
      width,
    );
    const place = new Map(reached.map(({ source }, i) => [source, i]));
    return units.flatMap((unit) => {
      const i = place.get(unit.source);
      if (i === undefined) return [];
      return {
        source: unit.source,
        owner: unit.owner,
        unit,
        original: paths[2 * i]!,
        patched: paths[2 * i + 1]!,
        stockFlags: () => compilePristine(trees, unit, [], options),
      };
    });
  });
}

/**
 * The same for units that the patch does not reach, whose functions are replaced for others' sake: what they are with
 * the patch is what they are without.
 */
export async function compileOriginals(
  trees: KernelTrees,
  units: readonly Unit[],
  options: WorkOptions = {},
): Promise<CompiledUnit[]> {
  const paths = await runPool(
    units.map(
      (unit) => () => compilePristine(trees, unit, [...separateSections, ...debugInformation(unit)], options),
    ),
    Math.max(2, availableParallelism()),
  );
  return units.map((unit, i) => ({
    source: unit.source,
    owner: unit.owner,
    unit,
    original: paths[i]!,
    patched: paths[i]!,
    stockFlags: () => compilePristine(trees, unit, [], options),
  }));
}

/** Runs all jobs, a few at a time; after a failure no new one starts, and the first failure in order is thrown. */
async function runPool<T>(jobs: readonly (() => Promise<T>)[], width: number): Promise<T[]> {
  const results: T[] = [];
  const failures = new Map<number, unknown>();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < jobs.length && failures.size === 0) {
      const index = next++;
      try {
        results[index] = await jobs[index]!();
      } catch (error) {
        failures.set(index, error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, jobs.length) }, worker));
  const first = [...failures.keys()].sort((a, b) => a - b)[0];
  if (first !== undefined) throw failures.get(first);
  return results;
}

async function compilePristine(
  trees: KernelTrees,
  unit: Unit,
  extra: readonly string[],
  options: WorkOptions,
): Promise<string> {
  const kept = join(trees.store, "objects", `${unit.source.replace(/\.c$/, "")}.${keyOf(unit, extra)}.o`);
  if (await exists(kept)) return kept;
  const folder = await mkdtemp(join(tmpdir(), "rekernel-unit-"));
  try {
    const object = join(folder, "unit.o");
    const failed = await runCompiler(unit, extra, trees.pristine, object, options);
    if (failed !== undefined)
      throw new RekernelError(
        "failed",
        "RK-COMPILE-ERROR",
        `The target's own ${unit.source} does not compile.`,
        {
          details: failed,
          hint: "The patch is not at fault: the source, the configuration or the tools are not what the target was built with.",
        },
      );
    await writeFileAtomic(kept, await readFile(object));
    return kept;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function compilePatched(tree: PatchedTree, unit: Unit, options: WorkOptions): Promise<string> {
  const object = join(tree.objects, unit.source.replace(/\.c$/, ".o"));
  await mkdir(dirname(object), { recursive: true });
  const failed = await inPatchedTree(tree, unit, object, (extra) =>
    runCompiler(unit, [...separateSections, ...debugInformation(unit), ...extra], tree.root, object, options),
  );
  if (failed !== undefined) throw await patchCompileError(tree, unit, object, failed, options);
  return object;
}

/** Compiles once more without `#line`, because the numbers that gcc names must be those of the patched file. */
async function patchCompileError(
  tree: PatchedTree,
  unit: Unit,
  object: string,
  messages: string,
  options: WorkOptions,
): Promise<RekernelError> {
  await tree.withoutLineDirectives();
  const details = (await runCompiler(unit, [], tree.root, object, options)) ?? messages;
  const first = /^(\S+:\d+)(?::\d+)?: (?:fatal )?error: (.*)$/m.exec(details);
  return new RekernelError(
    "failed",
    "RK-COMPILE-ERROR",
    first
      ? `The patched source does not compile: ${first[1]}: ${first[2]}.`
      : `The patched ${unit.source} does not compile.`,
    { details, hint: "The unpatched source is compiled the same way: the error is in the patch." },
  );
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
