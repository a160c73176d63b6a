import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { writeFileAtomic } from "../../core/files.ts";
import type { WorkOptions } from "../../core/progress.ts";
import { dependencies, inPatchedTree, keyOf, runCompiler } from "./gcc.ts";
import type { PatchedTree } from "./patched-tree.ts";
import type { KernelTrees } from "./trees.ts";
import type { Unit } from "./units.ts";

/** Whether the preprocessor makes another text of the unit with the patch: without, the compiler makes the same object. */
export async function textDiffers(
  trees: KernelTrees,
  tree: PatchedTree,
  unit: Unit,
  options: WorkOptions,
): Promise<boolean> {
  const before = await pristineText(trees, unit, options);
  if (before === undefined) return true;
  const read = new Set(before.read);
  // A file that the patch creates may come before one that was read until now.
  if (tree.touched.every(({ path, change }) => change === "modify" && !read.has(path))) return false;
  const folder = await mkdtemp(join(tmpdir(), "rekernel-unit-"));
  try {
    const after = join(folder, "after.i");
    // An error is told by the compilation that follows.
    const failed = await inPatchedTree(tree, unit, after, (extra) =>
      preprocess(unit, extra, tree.root, after, options),
    );
    return failed !== undefined || sha256(await readFile(after)) !== before.sha256;
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

/** Of the pristine source. Answers are kept with the tree; undefined when there is an error in it. */
async function pristineText(
  trees: KernelTrees,
  unit: Unit,
  options: WorkOptions,
): Promise<PreprocessedText | undefined> {
  const kept = join(trees.store, "objects", `${unit.source.replace(/\.c$/, "")}.${keyOf(unit, ["-E"])}.json`);
  const known = await readFile(kept, "utf8").catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as PreprocessedText;
  const folder = await mkdtemp(join(tmpdir(), "rekernel-unit-"));
  try {
    const output = join(folder, "before.i");
    if ((await preprocess(unit, [], trees.pristine, output, options)) !== undefined) return undefined;
    const text = {
      sha256: sha256(await readFile(output)),
      read: dependencies(await readFile(`${output}.d`, "utf8")).map((path) =>
        relative(trees.pristine, resolve(trees.pristine, path)),
      ),
    };
    await writeFileAtomic(kept, JSON.stringify(text));
    return text;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
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
