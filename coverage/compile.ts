/** What the compiler says of C files with a patch, without a live patch being built. */
import { join } from "node:path";
import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import { parsePatch } from "../src/livepatch/build/source/patch.ts";
import { applyPatches, makePatchedTree } from "../src/livepatch/build/source/patched-tree.ts";
import type { KernelTrees } from "../src/livepatch/build/source/trees.ts";
import { inPatchedTree, runCompiler } from "../src/livepatch/build/units/gcc.ts";
import { unitsOfPatch } from "../src/livepatch/build/units/reach.ts";
import { describeUnits } from "../src/livepatch/build/units/units.ts";

const atATime = 2;

/**
 * The messages of those files that do not compile.
 *
 * @param sources C files, of which those are compiled that the configuration builds
 */
export async function compileErrors(
  trees: KernelTrees,
  patch: Buffer,
  sources: readonly string[],
  options: WorkOptions,
): Promise<Map<string, string>> {
  const touched = await applyPatches(trees, [parsePatch(patch, "along.patch")]);
  const described = await describeUnits(trees, sources, options);
  // A unit of several modules is compiled once.
  const units = [
    ...new Map(described.filter(({ enabled }) => enabled).map((unit) => [unit.source, unit])).values(),
  ];
  await using tree = await makePatchedTree(trees, touched);
  await tree.makeReal(units.map((unit) => unit.input));
  const errors = new Map<string, string>();
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < units.length; index = next++) {
      const unit = units[index]!;
      const output = join(tree.objects, `${index}.o`);
      const failed = await inPatchedTree(tree, unit, output, (extra) =>
        runCompiler(unit, extra, tree.root, output, options, ["-fsyntax-only"]),
      );
      if (failed !== undefined) errors.set(unit.source, failed);
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
  return new Map([...errors].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The C files that a patch's headers may reach; none where they are too many to look at. */
export async function reachedSources(
  trees: KernelTrees,
  patch: Buffer,
  options: WorkOptions,
): Promise<string[]> {
  const touched = await applyPatches(trees, [parsePatch(patch, "along.patch")]);
  try {
    const units = await unitsOfPatch(trees, touched, options);
    return units.filter(({ enabled }) => enabled).map(({ source }) => source);
  } catch (error) {
    if (error instanceof RekernelError && error.kind === "refused") return [];
    throw error;
  }
}
