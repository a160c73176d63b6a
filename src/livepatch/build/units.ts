import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { basename, dirname, join, normalize, relative, resolve } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import { writeFileAtomic } from "../../core/files.ts";
import { withLock } from "../../core/lock.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { splitShellWords } from "../../core/shell-words.ts";
import { kbuildProbe, runClean } from "./kbuild.ts";
import type { PatchedTree } from "./patched-tree.ts";
import type { KernelTrees } from "./trees.ts";

/** Which part of the kernel a unit's code ends up in. */
export type UnitOwner = { kind: "vmlinux" } | { kind: "module"; name: string /* as /proc/modules has it */ };

/** A translation unit of the kernel, as kbuild knows it. */
export interface Unit {
  /** Path in the source tree: `net/ipv4/tcp_input.c`. */
  source: string;
  /** The same as kbuild spells it: `arch/x86/kvm/../../../virt/kvm/kvm_main.c`. It shows in __FILE__. */
  input: string;
  /** Whether the target's configuration builds it at all. kbuild compiles it on request even where not. */
  enabled: boolean;
  owner: UnitOwner;
  /** KBUILD_MODFILE: `net/ipv4/tcp_input`, or for a module the path of its .ko without the ending. */
  modfile: string;
  /** The compiler and its arguments, without input, output and dependency file, as kbuild would run it. */
  command: readonly string[];
}

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
 * Asks kbuild how it compiles these C files, and whether it does. Answers are kept with the tree.
 *
 * @param sources paths in the source tree, of files that are there
 * @throws RekernelError RK-UNIT (1) when kbuild gives no command for one of them, RK-UNIT-SHARED (4)
 */
export async function describeUnits(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions = {},
): Promise<Unit[]> {
  const known = new Map<string, Unit>();
  const recordOf = (source: string): string => join(trees.store, "commands", `${source}.json`);
  for (const source of sources) {
    const text = await readFile(recordOf(source), "utf8").catch(() => undefined);
    if (text !== undefined) known.set(source, JSON.parse(text) as Unit);
  }
  const asked = sources.filter((source) => !known.has(source));
  if (asked.length > 0) {
    const answers = await askKbuild(trees, asked, options);
    const strays = asked.filter((source) => !answers.get(source)?.enabled);
    for (const unit of await askElsewhere(trees, strays, options)) answers.set(unit.source, unit);
    for (const source of asked) {
      const unit = answers.get(source);
      if (!unit)
        throw new RekernelError("failed", "RK-UNIT", `kbuild does not say how it compiles ${source}.`);
      await writeFileAtomic(recordOf(source), JSON.stringify(unit));
      known.set(source, unit);
    }
  }
  return sources.map((source) => known.get(source)!);
}

/**
 * Units that the Makefile of another folder builds, by a path with `..` in it (KVM, the amdgpu display code):
 * asks again for each folder whose Makefile has such paths, or includes another that may have.
 */
async function askElsewhere(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<Unit[]> {
  if (sources.length === 0) return [];
  const { stdout } = await runClean(
    ["grep", "-rlE", "--include=Makefile", "--include=Kbuild", "\\.\\./|^include ", "--", ...builtFolders],
    { cwd: trees.pristine, signal: options.signal },
  );
  const folders = stdout
    .split("\n")
    .filter((path) => path !== "")
    .map(dirname);
  const asked = sources.flatMap((source) =>
    folders
      .filter((folder) => folder !== dirname(source) && sameArea(folder, source))
      .map((folder) => `${folder}/${relative(folder, source)}`)
      .filter((path) => path.includes("/../")),
  );
  if (asked.length === 0) return [];
  return [...(await askKbuild(trees, asked, options)).values()].filter((unit) => unit.enabled);
}

/** Top folders that kernel code is built from. */
const builtFolders = "arch/x86 block crypto drivers fs io_uring kernel lib mm net security sound".split(" ");

/** Makefiles reach out of their own subsystem only for what is meant for it: virt/kvm. */
function sameArea(folder: string, source: string): boolean {
  const [top, second] = source.split("/");
  return top === "virt"
    ? folder.startsWith("arch/x86/")
    : folder.startsWith(top === "drivers" ? `${top}/${second}/` : `${top}/`);
}

/** What kbuild answers for each source; those that it does not know are missing. Keys are normal paths. */
async function askKbuild(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<Map<string, Unit>> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-kbuild-"));
  try {
    const answers = join(folder, "commands");
    const probe = join(folder, "probe.mk");
    await writeFile(probe, kbuildProbe);
    // kbuild may generate headers that a unit needs: one at a time in one tree.
    await withLock(trees.lock, { signal: options.signal }, () =>
      runClean(
        [
          "make",
          "-k",
          "-f",
          "scripts/Makefile.build",
          "obj=.",
          "need-builtin=1",
          "need-modorder=1",
          ...sources.map((source) => `./${objectOf(source)}`),
        ],
        {
          cwd: trees.pristine,
          environment: {
            ...trees.environment,
            MAKEFILES: probe,
            REKERNEL_COMMANDS: answers,
          },
          signal: options.signal,
        },
      ),
    );
    const text = await readFile(answers, "utf8").catch(() => "");
    const units = new Map<string, Unit>();
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const unit = parseAnswer(line);
      if (!units.get(unit.source)?.enabled) units.set(unit.source, unit);
    }
    return units;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** One line of what the probe in kbuild.ts writes: source, kbuild's folder, "built-in", "module", modfile, the command. */
export function parseAnswer(line: string): Unit {
  const [input = "", , builtIn = "", module = "", modfile = ""] = line.split("|", 5);
  const source = normalize(input);
  const command = line.split("|").slice(5).join("|");
  const words = splitShellWords(command);
  const asModule = words.includes("-DMODULE");
  // kbuild joins the names of several modules that one unit goes into.
  if (asModule && /[: ]/.test(modfile))
    throw new RekernelError(
      "refused",
      "RK-UNIT-SHARED",
      `${source} is linked into several modules (${modfile}); one live patch object cannot name them all.`,
    );
  return {
    source,
    input,
    enabled: asModule ? module !== "" : builtIn !== "",
    owner: asModule ? { kind: "module", name: basename(modfile).replaceAll("-", "_") } : { kind: "vmlinux" },
    modfile,
    command: words.filter((word) => !/^-Wp,-M|^-g(?:$|dwarf|z|gdb|\d)/.test(word)),
  };
}

/**
 * Compiles each unit from both trees, as many at a time as the machine has processors. Objects of pristine
 * units are kept, so that a second build runs the compiler once for each unit. Nothing but the compiler runs:
 * no objtool, no modversions; both objects are as gcc leaves them, without debug information.
 *
 * @returns the units whose text after preprocessing the patch changes: a header may leave others as they are
 * @throws RekernelError RK-COMPILE-ERROR (1)
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
    const differ = await runPool(
      units.map((unit) => async () => {
        if (touched.has(unit.source)) return true;
        update(`${unit.source}: does the patch reach it?`);
        return textDiffers(trees, tree, unit, options);
      }),
      width,
    );
    const reached = units.filter((_, i) => differ[i]);
    let finished = 0;
    const jobs = reached.flatMap((unit) => [
      () => compilePristine(trees, unit, separateSections, options),
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
    return reached.map((unit, i) => ({
      source: unit.source,
      owner: unit.owner,
      unit,
      original: paths[2 * i]!,
      patched: paths[2 * i + 1]!,
      stockFlags: () => compilePristine(trees, unit, [], options),
    }));
  });
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

/** Whether the preprocessor makes another text of the unit with the patch: without, the compiler makes the same object. */
async function textDiffers(
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

function keyOf(unit: Unit, extra: readonly string[]): string {
  return sha256(Buffer.from(JSON.stringify([unit.command, extra]))).slice(0, 12);
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
    runCompiler(unit, [...separateSections, ...extra], tree.root, object, options),
  );
  if (failed !== undefined) throw await patchCompileError(tree, unit, object, failed, options);
  return object;
}

/** Runs the compiler in the patched tree until it has read no pristine file in place of a patched one. */
async function inPatchedTree(
  tree: PatchedTree,
  unit: Unit,
  output: string,
  run: (extra: readonly string[]) => Promise<string | undefined>,
): Promise<string | undefined> {
  // Each pass that finds such a file makes more folders real, or another unit did meanwhile: it ends.
  for (let pass = 0; ; ) {
    const changes = tree.changes();
    const failed = await run([`-I${tree.include}`]);
    if (tree.changes() !== changes) continue;
    if (failed !== undefined) return failed;
    const read = dependencies(await readFile(`${output}.d`, "utf8"));
    const missed = await tree.missed(read);
    if (missed.length === 0) return undefined;
    if (pass++ === 4)
      throw new RekernelError("failed", "RK-UNIT", `${unit.source} does not see the patched ${missed[0]}.`);
    await tree.makeReal(read.filter((path) => !path.startsWith("/")));
  }
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

/** Gives what the compiler says when it fails, undefined when it made the object. */
async function runCompiler(
  unit: Unit,
  extra: readonly string[],
  cwd: string,
  object: string,
  options: WorkOptions,
  stage: readonly string[] = ["-c"],
): Promise<string | undefined> {
  const arguments_ = [...extra, `-Wp,-MMD,${object}.d`, ...stage, "-o", object, unit.input];
  const { exitCode, stderr } = await runClean([...unit.command, ...arguments_], {
    cwd,
    signal: options.signal,
  });
  if (exitCode === 0) return undefined;
  if (/No space left on device/.test(stderr))
    throw new RekernelError("failed", "RK-DISK-FULL", `No space left to compile ${unit.source}.`, {
      hint: `Free some space in ${tmpdir()}, or point TMPDIR at a larger file system.`,
    });
  const lines = stderr.split("\n").filter((line) => line !== "");
  const firstError = lines.findIndex((line) => /\berror: /.test(line));
  const from = Math.max(0, firstError < 0 ? lines.length - 10 : firstError - 2);
  return lines.slice(from, from + 16).join("\n");
}

/** The files in a dependency file that gcc -MMD wrote. */
export function dependencies(text: string): string[] {
  const colon = text.indexOf(": ");
  return text
    .slice(colon + 2)
    .replace(/\\\n/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "");
}

function objectOf(source: string): string {
  return source.replace(/\.c$/, ".o");
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
