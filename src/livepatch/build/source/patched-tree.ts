import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, normalize } from "node:path";
import { hasErrno, RekernelError } from "../../../core/errors.ts";
import { writeError } from "../../../core/files.ts";
import { authorHeader, authorHeaderPath } from "../author/author-header.ts";
import { kpatchHeaders } from "../author/kpatch-headers.ts";
import { applyToFile, joinLines, type SourceLine, sourceLines } from "./apply.ts";
import { withLineDirectives } from "./line-directives.ts";
import { patchedPaths, type SourcePatch } from "./patch.ts";
import type { KernelTrees } from "./trees.ts";

/** A file of the source that patches touch, with all of them applied. */
export interface TouchedFile {
  /** Path in the source tree. */
  path: string;
  change: "modify" | "create" | "delete";
  /** The patched file as the patches make it; undefined when they delete it. One character per byte (latin1). */
  text: string | undefined;
  /** The same with `#line` directives: what is compiled. */
  compiled: string | undefined;
  /** Hunks that lie elsewhere than their header says: by how many lines. 0 for the others. */
  offsets: number[];
}

/**
 * Applies patches one after the other to the pristine source, in memory. The files of one patch are all of one source:
 * of an out-of-tree module that has them, else of the kernel.
 *
 * @throws RekernelError RK-PATCH-DOES-NOT-APPLY (1), RK-NO-FUNCTIONAL-CHANGE (3) when they undo each other,
 *   RK-PATCH-AMBIGUOUS (2) when several module sources have its files
 */
export async function applyPatches(
  trees: KernelTrees,
  patches: readonly SourcePatch[],
): Promise<TouchedFile[]> {
  const state = new Map<
    string,
    { before: string | undefined; lines: SourceLine[] | undefined; offsets: number[] }
  >();
  const load = async (path: string) => {
    const known = state.get(path);
    if (known) return known;
    const before = await readSource(join(trees.pristine, path));
    const loaded = { before, lines: before === undefined ? undefined : sourceLines(before), offsets: [] };
    state.set(path, loaded);
    return loaded;
  };
  const pathsBelow = async (patch: SourcePatch, root: string): Promise<string[]> => {
    const present = new Set<string>();
    for (const file of patch.files)
      for (const written of [file.oldPath, file.newPath])
        for (const level of [0, 1]) {
          const path = written?.split("/").slice(level).join("/");
          if (!path) continue;
          const known = state.get(root + path);
          if (known ? known.lines !== undefined : await isThere(join(trees.pristine, root, path)))
            present.add(path);
          if (await isThere(join(trees.pristine, root, dirname(path)))) present.add(dirname(path));
        }
    return patchedPaths(patch, (path) => present.has(path), trees.modules).map((path) => root + path);
  };
  for (const patch of patches) {
    const inModules: string[][] = [];
    for (const { name } of trees.modules) {
      const paths = await pathsBelow(patch, `${name}/`).catch((error: unknown) => {
        if (error instanceof RekernelError && error.code === "RK-PATCH-DOES-NOT-APPLY") return undefined;
        throw error;
      });
      if (paths) inModules.push(paths);
    }
    if (inModules.length > 1)
      throw new RekernelError(
        "usage",
        "RK-PATCH-AMBIGUOUS",
        `${patch.name} fits several module sources: ${inModules.map(([first]) => first).join(", ")}.`,
        { hint: "Build a live patch for each module source by itself." },
      );
    const paths = inModules[0] ?? (await pathsBelow(patch, ""));
    for (const [i, file] of patch.files.entries()) {
      const path = paths[i]!;
      const one = await load(path);
      const applied = applyToFile(one.lines, file, path, patch.name);
      one.lines = applied.lines;
      one.offsets.push(...applied.offsets);
    }
  }
  const touched: TouchedFile[] = [];
  for (const [path, { before, lines, offsets }] of state) {
    const text = lines === undefined ? undefined : joinLines(lines);
    if (text === before) continue;
    touched.push({
      path,
      change: before === undefined ? "create" : text === undefined ? "delete" : "modify",
      text,
      compiled: lines === undefined ? undefined : /\.[ch]$/.test(path) ? withLineDirectives(lines) : text,
      offsets,
    });
  }
  if (touched.length === 0)
    throw new RekernelError(
      "nothingToDo",
      "RK-NO-FUNCTIONAL-CHANGE",
      "The patch leaves every file as it is.",
    );
  return touched;
}

async function readSource(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path)).toString("latin1");
  } catch (error) {
    if (hasErrno(error) && (error.code === "ENOENT" || error.code === "EISDIR" || error.code === "ENOTDIR"))
      return undefined;
    throw error;
  }
}

/**
 * The patched source of one build: a private folder of symbolic links into the pristine tree. Only the folders that
 * hold a touched file are real, so it is made in milliseconds, builds do not disturb each other, and the pristine tree
 * stays as it is. Everything of the build is in `folder`, which {@link PatchedTree.remove} takes away.
 */
export interface PatchedTree {
  folder: string;
  /** The tree's top, where the compiler runs. */
  root: string;
  /** Where the objects go. */
  objects: string;
  /** Headers for the authors of patches. */
  include: string;
  touched: readonly TouchedFile[];
  /** Grows with every change of the tree. A compiler that ran meanwhile may have met a folder half made. */
  changes(): number;
  /** Makes the folders of these files real, so that `..` in an include leads to patched headers. */
  makeReal(paths: readonly string[]): Promise<void>;
  /** Files among those that a unit read which belong to the pristine tree although the patch touches them. */
  missed(files: readonly string[]): Promise<string[]>;
  /** Writes the touched files without `#line`, for messages that name the patch's own lines. */
  withoutLineDirectives(): Promise<void>;
  remove(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function makePatchedTree(
  trees: KernelTrees,
  touched: readonly TouchedFile[],
): Promise<PatchedTree> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-build-"));
  const root = join(folder, "source");
  const objects = join(folder, "objects");
  const include = join(folder, "include");
  const real = new Map<string, Promise<void>>();
  let changes = 0;
  const byPath = new Map(touched.map((file) => [file.path, file]));
  const names = new Set(touched.map(({ path }) => basename(path)));
  // By their real paths: the trees may be made of links themselves.
  const pristineFiles = Promise.all(
    touched.map(({ path }) => realpath(join(trees.pristine, path)).catch(() => undefined)),
  ).then((paths) => new Set(paths));

  const makeRealFolder = (path: string): Promise<void> => {
    const known = real.get(path);
    if (known) return known;
    const made = replaceLink(path);
    real.set(path, made);
    return made;
  };
  const replaceLink = async (path: string): Promise<void> => {
    if (path !== "") await makeRealFolder(parent(path));
    changes++;
    const here = join(root, path);
    await unlink(here).catch(() => {});
    await mkdir(here);
    const pristine = join(trees.pristine, path);
    const entries = await readdir(pristine).catch(() => []);
    await Promise.all(
      entries
        .map((name) => ({ name, inside: path === "" ? name : `${path}/${name}` }))
        .filter(({ inside }) => !byPath.has(inside) && !real.has(inside))
        .map(({ name }) => symlink(join(pristine, name), join(here, name))),
    );
    changes++;
  };
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const write = async (kind: "compiled" | "text"): Promise<void> => {
    for (const file of touched) {
      await makeRealFolder(parent(file.path));
      const text = file[kind];
      if (text !== undefined) await writeFile(join(root, file.path), Buffer.from(text, "latin1"));
    }
  };
  try {
    await mkdir(objects);
    await mkdir(parent(join(include, authorHeaderPath)), { recursive: true });
    await writeFile(join(include, authorHeaderPath), authorHeader);
    for (const [name, text] of Object.entries(kpatchHeaders)) await writeFile(join(include, name), text);
    await makeRealFolder("");
    await write("compiled");
  } catch (error) {
    await remove();
    throw writeError(folder, error);
  }
  return {
    folder,
    root,
    objects,
    include,
    touched,
    changes: () => changes,
    makeReal: async (paths) => {
      // As the kernel walks a path: each folder that is passed through, also before a "..".
      for (const path of paths) {
        const names = path.split("/").slice(0, -1);
        for (let i = 1; i <= names.length; i++) {
          const passed = normalize(names.slice(0, i).join("/"));
          if (!passed.startsWith("..")) await makeRealFolder(passed === "." ? "" : passed);
        }
      }
    },
    missed: async (files) => {
      const missed: string[] = [];
      for (const file of files) {
        // A unit reads a thousand files. Links of the tree keep the names of what they lead to.
        if (!names.has(basename(file))) continue;
        const path = await realpath(join(root, file)).catch(() => "");
        if ((await pristineFiles).has(path)) missed.push(file);
      }
      return missed;
    },
    withoutLineDirectives: () => write("text"),
    remove,
    [Symbol.asyncDispose]: remove,
  };
}

function parent(path: string): string {
  const folder = dirname(path);
  return folder === "." ? "" : folder;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
