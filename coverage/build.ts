/** Builds one changed file as a live patch, with what it cannot be compiled without. */
import { readFile } from "node:fs/promises";
import { join, normalize } from "node:path";
import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import type { TargetKernel } from "../src/kernel/target.ts";
import { type BuildReport, buildLivePatch } from "../src/livepatch/build/build.ts";
import { runClean } from "../src/livepatch/build/source/kbuild.ts";
import { parsePatch } from "../src/livepatch/build/source/patch.ts";
import type { KernelTrees } from "../src/livepatch/build/source/trees.ts";
import { dependencies } from "../src/livepatch/build/units/gcc.ts";
import { describeUnits } from "../src/livepatch/build/units/units.ts";
import { mention, patchOf, type SourceChanges, type WantedFile } from "./candidates.ts";

export type Outcome = "built" | "unchanged" | "refused" | "failed";

export interface FileResult {
  file: string;
  /** Other files of the newer version that had to come along. */
  along: string[];
  outcome: Outcome;
  seconds: number;
  /** Refused, and nothing changes but `__init` and `__exit` code and data. */
  initOnly?: boolean;
  /** Why it was not built. */
  code?: string;
  message?: string;
  details?: string;
  /** The live patch's module and what it replaces, as `object:function`. */
  module?: string;
  functions?: string[];
  warnings?: readonly string[];
  /** What was built last. */
  patch: Buffer;
}

export interface Versions {
  target: TargetKernel;
  trees: KernelTrees;
  /** Folder with the newer version's code. */
  after: string;
  changes: SourceChanges;
}

/** So often may a patch grow by what its compilation lacks. */
const maximumRounds = 12;

export async function buildFile(
  file: string,
  name: string,
  output: string,
  versions: Versions,
  options: WorkOptions,
): Promise<FileResult> {
  const along = new Map<string, WantedFile>();
  for (let round = 0; ; round++) {
    const started = performance.now();
    const wanted = [{ path: file }, ...along.values()];
    const patch = await patchOf(versions.trees.pristine, versions.after, wanted);
    const { result, error } = await buildOnce(patch, name, output, versions.target, options);
    const described = { ...result, file, along: [...along.keys()], seconds: secondsSince(started), patch };
    if (error === undefined || round === maximumRounds) return described;
    const missing = await missingFiles(error, file, along, versions, options);
    if (missing.length === 0) return described;
    for (const { path, words } of missing) {
      const known = along.get(path);
      along.set(
        path,
        known && words ? { path, words: words.union(known.words ?? new Set()) } : { path, words },
      );
    }
  }
}

/** Whether the patch has it already. */
function isThere({ path, words }: WantedFile, along: ReadonlyMap<string, WantedFile>): boolean {
  const known = along.get(path);
  if (known === undefined) return false;
  return known.words === undefined || (words?.isSubsetOf(known.words) ?? false);
}

async function buildOnce(
  patch: Buffer,
  name: string,
  output: string,
  target: TargetKernel,
  options: WorkOptions,
): Promise<{
  result: Omit<FileResult, "file" | "along" | "seconds" | "patch">;
  error?: RekernelError;
}> {
  try {
    const report: BuildReport = await buildLivePatch({
      target,
      patches: [parsePatch(patch, `${name}.patch`)],
      name,
      output,
      ...options,
    });
    return {
      result: {
        outcome: "built",
        module: output,
        functions: report.functions.map(({ object, name: function_ }) => `${object}:${function_}`),
        warnings: report.warnings,
      },
    };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof RekernelError))
      return {
        result: {
          outcome: "failed",
          code: "exception",
          message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        },
      };
    const outcome =
      error.kind === "nothingToDo" ? "unchanged" : error.kind === "refused" ? "refused" : "failed";
    return {
      result: {
        outcome,
        code: error.code,
        message: error.message,
        ...(isInitOnly(error) ? { initOnly: true } : {}),
        ...(error.details === undefined ? {} : { details: error.details }),
      },
      error,
    };
  }
}

/** The builder decides it by the objects, and says what else changes. */
function isInitOnly({ code, details = "" }: RekernelError): boolean {
  return (
    code === "RK-INIT-CHANGE" &&
    details.split("\n").every((line) => line === "" || line.startsWith(`${code}:`))
  );
}

/** Changed files of the newer version, or parts of them, that an error says are needed besides. */
async function missingFiles(
  error: RekernelError,
  file: string,
  along: ReadonlyMap<string, WantedFile>,
  versions: Versions,
  options: WorkOptions,
): Promise<WantedFile[]> {
  const { changes } = versions;
  const files = [file, ...along.keys()];
  const isNew = (wanted: WantedFile) => wanted.path !== file && !isThere(wanted, along);
  const details = `${error.message}\n${error.details ?? ""}`;
  if (error.code === "RK-SYMBOL-UNKNOWN") {
    const names = new Set([...details.matchAll(/refers to (\w+), which/g)].map((match) => match[1]!));
    return (await newlyDefining([...names], versions)).filter(isNew);
  }
  if (error.code !== "RK-COMPILE-ERROR") return [];
  const absent = /fatal error: (\S+): No such file/.exec(details)?.[1];
  if (absent !== undefined)
    return changes.created
      .filter((path) => path === absent || path.endsWith(`/${absent}`))
      .slice(0, 1)
      .map((path) => ({ path }))
      .filter(isNew);
  // A header's change reached another C file, which has to follow.
  const broken = [...details.matchAll(/^([^\s:]+\.c):\d+/gm)]
    .map((match) => match[1]!)
    .filter((path) => !files.includes(path) && changes.modified.includes(path));
  if (broken.length > 0) return [...new Set(broken)].map((path) => ({ path }));
  const sources = files.filter((path) => path.endsWith(".c"));
  const headers = await headersOf(sources, versions, options);
  const quoted = [...details.matchAll(/‘([^’]*)’/g)].map((match) => match[1]!);
  const shown = [...details.matchAll(/^ *\d+ \| (.*)$/gm)].map((match) => match[1]!);
  // What is sure first: what the compiler names, then what stands on the lines that it shows, then everything.
  for (const texts of [quoted, shown]) {
    const { changed, beside } = await mentioning(headers, wordsIn(texts), versions);
    for (const found of [changed, beside]) {
      const more = found.filter(isNew);
      if (more.length > 0) return more;
    }
  }
  return headers.map((path) => ({ path })).filter(isNew);
}

/** The headers whose changes have some of the words in them, or only beside them. */
async function mentioning(
  headers: readonly string[],
  words: ReadonlySet<string>,
  { trees, after }: Versions,
): Promise<Record<"changed" | "beside", WantedFile[]>> {
  const found: Record<"changed" | "beside", WantedFile[]> = { changed: [], beside: [] };
  for (const path of headers) {
    const diff = (await patchOf(trees.pristine, after, [{ path }])).toString("latin1");
    for (const how of ["changed", "beside"] as const) {
      const those = [...words].filter((word) => mention(diff, word) === how);
      if (those.length > 0) found[how].push({ path, words: new Set(those) });
    }
  }
  return found;
}

function wordsIn(texts: readonly string[]): Set<string> {
  const words = texts.flatMap((text) => text.match(/[A-Za-z_]\w*/g) ?? []);
  return new Set(words.filter((word) => !keywords.has(word)));
}

/** Words that say nothing. */
const keywords = new Set(
  "anonymous bool char const else enum goto if int long return short signed sizeof static struct union unsigned void volatile".split(
    " ",
  ),
);

/** Changed headers that the C files include, directly or not, or that they newly include. */
async function headersOf(
  sources: readonly string[],
  { trees, after, changes }: Versions,
  options: WorkOptions,
): Promise<string[]> {
  const read = new Set<string>();
  const named: string[] = [];
  for (const unit of await describeUnits(trees, sources, options)) {
    const { stdout } = await runClean([...unit.command, "-M", unit.input], {
      cwd: trees.pristine,
      signal: options.signal,
    });
    for (const path of dependencies(stdout)) read.add(normalize(path));
    const text = await readFile(join(after, unit.source), "latin1");
    for (const match of text.matchAll(/^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)/gm)) named.push(match[1]!);
  }
  return changes.modified.filter(
    (path) =>
      path.endsWith(".h") &&
      (read.has(path) || named.some((name) => path === name || path.endsWith(`/${name}`))),
  );
}

/** C files that define one of these names for others in the newer version, and did not before. */
async function newlyDefining(
  names: readonly string[],
  { trees, after, changes }: Versions,
): Promise<WantedFile[]> {
  const found: WantedFile[] = [];
  for (const path of changes.modified) {
    if (!path.endsWith(".c")) continue;
    const now = await readFile(join(after, path), "latin1");
    const defined = names.filter((name) => definesGlobally(now, name));
    if (defined.length === 0) continue;
    const before = await readFile(join(trees.pristine, path), "latin1");
    if (defined.some((name) => !definesGlobally(before, name))) found.push({ path });
  }
  return found;
}

/** Whether a line at the margin may begin a definition of the name that other files see. */
export function definesGlobally(text: string, name: string): boolean {
  // The type may stand alone on the line before.
  const definition = new RegExp(`^(.*\\n)?((?:[A-Za-z_][^;\\n]*)?\\b${name}\\b[^;\\n]*)$`, "gm");
  return [...text.matchAll(definition)].some(
    ([, before = "", line = ""]) =>
      !/^\s|^[#*/]/.test(line) && !/\bstatic\b/.test(line) && !/^static\b[^;{}]*$/.test(before),
  );
}

function secondsSince(started: number): number {
  return Math.round((performance.now() - started) / 100) / 10;
}
