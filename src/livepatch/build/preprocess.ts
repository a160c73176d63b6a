import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { writeFileAtomic } from "../../core/files.ts";
import type { WorkOptions } from "../../core/progress.ts";
import { changeMatters } from "./declarations.ts";
import { dependencies, inPatchedTree, keyOf, runCompiler } from "./gcc.ts";
import type { PatchedTree } from "./patched-tree.ts";
import type { KernelTrees } from "./trees.ts";
import type { Unit } from "./units.ts";

/**
 * Whether what the compiler sees of the unit changes with the patch in a way that can change its code:
 * {@link changeMatters} of its text after preprocessing.
 */
export async function patchReaches(
  trees: KernelTrees,
  tree: PatchedTree,
  unit: Unit,
  options: WorkOptions,
): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-unit-"));
  try {
    const before = join(folder, "before.i");
    const pristine = await pristineText(trees, unit, before, options);
    if (pristine === undefined) return true;
    const read = new Set(pristine.read);
    // A file that the patch creates may come before one that was read until now.
    if (tree.touched.every(({ path, change }) => change === "modify" && !read.has(path))) return false;
    const after = join(folder, "after.i");
    // An error is told by the compilation that follows.
    const failed = await inPatchedTree(tree, unit, after, (extra) =>
      preprocess(unit, extra, tree.root, after, options),
    );
    if (failed !== undefined) return true;
    const patched = await readFile(after);
    if (sha256(patched) === pristine.sha256) return false;
    // The text itself is not kept: it is megabytes for each unit.
    if (!pristine.made && (await preprocess(unit, [], trees.pristine, before, options)) !== undefined)
      return true;
    return changeMatters(await readFile(before, "latin1"), patched.toString("latin1"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A unit's text after preprocessing. */
interface PreprocessedText {
  sha256: string;
  /** Paths in the source tree of the files that were read for it. */
  read: string[];
}

/**
 * Of the pristine source. What is known of it is kept with the tree; undefined when there is an error in it.
 *
 * @param output where the text goes if it has to be made
 */
async function pristineText(
  trees: KernelTrees,
  unit: Unit,
  output: string,
  options: WorkOptions,
): Promise<(PreprocessedText & { made: boolean }) | undefined> {
  const kept = join(trees.store, "objects", `${unit.source.replace(/\.c$/, "")}.${keyOf(unit, ["-E"])}.json`);
  const known = await readFile(kept, "utf8").catch(() => undefined);
  if (known !== undefined) return { ...(JSON.parse(known) as PreprocessedText), made: false };
  if ((await preprocess(unit, [], trees.pristine, output, options)) !== undefined) return undefined;
  const text: PreprocessedText = {
    sha256: sha256(await readFile(output)),
    read: dependencies(await readFile(`${output}.d`, "utf8")).map((path) =>
      relative(trees.pristine, resolve(trees.pristine, path)),
    ),
  };
  await writeFileAtomic(kept, JSON.stringify(text));
  return { ...text, made: true };
}

function sha256(data: Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** Without line markers: what counts are the numbers in __LINE__, and those are in the text. */
function preprocess(
  unit: Unit,
  extra: readonly string[],
  cwd: string,
  output: string,
  options: WorkOptions,
): Promise<string | undefined> {
  return runCompiler(unit, extra, cwd, output, options, ["-E", "-P"]);
}
