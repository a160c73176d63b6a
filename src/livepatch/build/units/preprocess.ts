import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { hasErrno } from "../../../core/errors.ts";
import { writeFileAtomic } from "../../../core/files.ts";
import type { WorkOptions } from "../../../core/progress.ts";
import { runClean } from "../source/kbuild.ts";
import type { PatchedTree, TouchedFile } from "../source/patched-tree.ts";
import type { KernelTrees } from "../source/trees.ts";
import { changeMatters } from "./declarations.ts";
import { dependencies, inPatchedTree, keyOf, runCompiler } from "./gcc.ts";
import { type ChangedName, changedNames, type HeaderItem, unchangedItems } from "./header-changes.ts";
import { headerUsers, useJudge } from "./header-users.ts";
import { countsOf, fingerprint, type WordCounts, wordCounts } from "./unit-words.ts";
import type { Unit } from "./units.ts";

/** What is known of a patch's headers by their text alone. */
export interface HeaderNames {
  /** By path; undefined for a file whose text does not tell. */
  byPath: ReadonlyMap<string, readonly ChangedName[] | undefined>;
  /** What each header keeps, where the names tell what changes. */
  unchanged: ReadonlyMap<string, readonly HeaderItem[]>;
}

/** {@link changedNames} of each touched file. */
export async function headerNames(
  trees: KernelTrees,
  touched: readonly TouchedFile[],
  options: WorkOptions,
): Promise<HeaderNames> {
  const byPath = new Map<string, readonly ChangedName[] | undefined>();
  const unchanged = new Map<string, readonly HeaderItem[]>();
  for (const { path, change, text } of touched) {
    byPath.set(path, undefined);
    if (change !== "modify" || text === undefined || !path.endsWith(".h")) continue;
    const before = await readFile(join(trees.pristine, path), "latin1");
    byPath.set(path, changedNames(before, text));
    unchanged.set(path, unchangedItems(before, text) ?? []);
  }
  // An #if takes a macro that is not defined for 0, without a trace in the text.
  const macros = [...byPath.values()].flatMap((names) => names ?? []).filter(({ macro }) => macro);
  if (macros.length > 0) {
    const asked = await conditionalWords(trees, options);
    for (const [path, names] of byPath)
      if (names?.some(({ macro, name }) => macro && asked.has(name))) byPath.set(path, undefined);
  }
  return { byPath, unchanged };
}

/**
 * The units that the compiler has to be asked about: the others do not read what changes, or cannot use any of it, by
 * the text of all that they read.
 *
 * @param pool runs jobs side by side
 */
export async function unitsInQuestion(
  trees: KernelTrees,
  tree: PatchedTree,
  units: readonly Unit[],
  { byPath, unchanged }: HeaderNames,
  pool: <T>(jobs: readonly (() => Promise<T>)[]) => Promise<T[]>,
  options: WorkOptions,
): Promise<Set<Unit>> {
  // A file that the patch creates may come before one that was read until now.
  if (units.length < fewUnits || !tree.touched.every(({ change }) => change === "modify"))
    return new Set(units);
  const inQuestion = new Set<Unit>();
  const asked: { unit: Unit; read: string[] }[] = [];
  const lists = await pool(units.map((unit) => () => filesOf(trees, unit, options)));
  for (const [i, unit] of units.entries()) {
    const read = lists[i];
    const known = read?.filter((path) => byPath.has(path)).map((path) => byPath.get(path));
    if (known?.length === 0) continue;
    const names = known?.flatMap((one) => one ?? []).map(({ name }) => name);
    // A name that two headers declare is one that conditions decide over.
    if (!read || known?.includes(undefined) || new Set(names).size !== names?.length) inQuestion.add(unit);
    else asked.push({ unit, read });
  }
  const texts = new Map<string, string>();
  for (const path of new Set(asked.flatMap(({ read }) => read)))
    texts.set(path, await readFile(join(trees.pristine, path), "latin1"));
  const names = [...byPath.values()].flatMap((one) => one ?? []).map(({ name }) => name);
  const users = asked.length === 0 ? undefined : headerUsers(names, texts, unchanged);
  const mayUseThem = users && useJudge(users, texts);
  for (const { unit, read } of asked)
    if (!mayUseThem || mayUseThem({ read, command: unit.command })) inQuestion.add(unit);
  return inQuestion;
}

/** Fewer are asked about sooner than what they read is looked through. */
const fewUnits = 8;

/**
 * The files that a unit reads, by their paths in the unpatched source, or absolute ones outside of it. Kept with the
 * tree; undefined when the compiler does not tell.
 */
async function filesOf(trees: KernelTrees, unit: Unit, options: WorkOptions): Promise<string[] | undefined> {
  const kept = `${keptText(trees, unit)}.files.json`;
  const known = await readFile(kept, "utf8").catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as string[];
  const { exitCode, stdout } = await runClean([...unit.command, "-M", unit.input], {
    cwd: trees.pristine,
    signal: options.signal,
  });
  if (exitCode !== 0) return undefined;
  const files = inTree(trees, stdout);
  await writeFileAtomic(kept, JSON.stringify(files));
  return files;
}

function inTree(trees: KernelTrees, dependencyText: string): string[] {
  return [
    ...new Set(
      dependencies(dependencyText).map((path) => relative(trees.pristine, resolve(trees.pristine, path))),
    ),
  ];
}

function keptText(trees: KernelTrees, unit: Unit): string {
  return join(trees.store, "objects", `${unit.source.replace(/\.c$/, "")}.${keyOf(unit, ["-E"])}`);
}

/**
 * Whether what the compiler sees of the unit changes with the patch in a way that can change its code:
 * {@link changeMatters} of its text after preprocessing.
 */
export async function patchReaches(
  trees: KernelTrees,
  tree: PatchedTree,
  unit: Unit,
  names: HeaderNames,
  options: WorkOptions,
): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-unit-"));
  try {
    const before = join(folder, "before.i");
    const pristine = await pristineText(trees, unit, before, options);
    if (pristine === undefined) return true;
    const read = new Set(pristine.read);
    const touched = tree.touched.filter(({ path }) => read.has(path)).map(({ path }) => path);
    // A file that the patch creates may come before one that was read until now.
    if (tree.touched.every(({ change }) => change === "modify")) {
      if (touched.length === 0 || !mayUse(touched, names, pristine.words)) return false;
    }
    const after = join(folder, "after.i");
    // An error is told by the compilation that follows.
    const failed = await inPatchedTree(tree, unit, after, (extra) =>
      runCompiler(unit, extra, tree.root, after, options, ["-E", "-P"]),
    );
    if (failed !== undefined) return true;
    const patched = await readFile(after);
    if (fingerprint(patched) === pristine.fingerprint) return false;
    // The text itself is not kept: it is megabytes for each unit.
    if (!pristine.made && (await preprocess(unit, trees.pristine, before, options)) !== undefined)
      return true;
    return changeMatters(withoutMacroLines(await readFile(before, "latin1")), patched.toString("latin1"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Whether something that changes in these headers may have a use in a unit with these words. */
function mayUse(touched: readonly string[], { byPath }: HeaderNames, words: WordCounts): boolean {
  const known = touched.map((path) => byPath.get(path));
  if (known.includes(undefined)) return true;
  const names = known.flatMap((one) => one ?? []);
  if (new Set(names.map(({ name }) => name)).size !== names.length) return true;
  const counts = countsOf(
    words,
    names.map(({ name }) => name),
  );
  return names.some(({ declaredBefore }, i) => counts[i]! > (declaredBefore ? 1 : 0));
}

/** What is kept of a unit's text after preprocessing. */
interface UnitText {
  fingerprint: string;
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
): Promise<(UnitText & { words: WordCounts; made: boolean }) | undefined> {
  const kept = keptText(trees, unit);
  const files = { text: `${kept}.json`, words: `${kept}.words-1` };
  try {
    const words = await readFile(files.words);
    return { ...(JSON.parse(await readFile(files.text, "utf8")) as UnitText), words, made: false };
  } catch (error) {
    if (!hasErrno(error) || error.code !== "ENOENT") throw error;
  }
  if ((await preprocess(unit, trees.pristine, output, options)) !== undefined) return undefined;
  const bytes = await readFile(output);
  const words = wordCounts(bytes);
  const text: UnitText = {
    fingerprint: fingerprint(bytes),
    read: inTree(trees, await readFile(`${output}.d`, "utf8")),
  };
  await writeFileAtomic(files.text, JSON.stringify(text));
  await writeFileAtomic(files.words, words);
  return { ...text, words, made: true };
}

/**
 * Without line markers: what counts are the numbers in __LINE__, and those are in the text. With a line for each macro
 * in use.
 */
function preprocess(
  unit: Unit,
  cwd: string,
  output: string,
  options: WorkOptions,
): Promise<string | undefined> {
  return runCompiler(unit, [], cwd, output, options, ["-E", "-P", "-dU"]);
}

function withoutMacroLines(text: string): string {
  return text.replace(/^#(?:define|undef) .*\n/gm, "");
}

const conditional = /^[ \t]*#[ \t]*(el)?if[^a-z]/;

/** Every word that an #if or #elif of the source has. Made once per tree. */
async function conditionalWords(trees: KernelTrees, options: WorkOptions): Promise<Set<string>> {
  const kept = join(trees.store, "conditional-words-1");
  let text = await readFile(kept, "utf8").catch(() => undefined);
  if (text === undefined) {
    const { stdout } = await runClean(
      ["grep", "-rhP", "--include=*.[ch]", "-A9", conditional.source, "--", "."],
      { cwd: trees.pristine, signal: options.signal },
    );
    const words = new Set<string>();
    let continued = false;
    for (const line of stdout.split("\n")) {
      const belongs: boolean = continued || conditional.test(line);
      continued = belongs && line.endsWith("\\");
      if (belongs) for (const word of line.match(/[A-Za-z_]\w*/g) ?? []) words.add(word);
    }
    text = [...words].sort().join("\n");
    await writeFileAtomic(kept, text);
  }
  return new Set(text.split("\n"));
}
