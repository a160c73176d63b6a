/** Builds one changed file as a live patch, with what it cannot be compiled without. */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import type { TargetKernel } from "../src/kernel/target.ts";
import { type BuildReport, buildLivePatch } from "../src/livepatch/build/build.ts";
import { runClean } from "../src/livepatch/build/kbuild.ts";
import { parsePatch } from "../src/livepatch/build/patch.ts";
import type { KernelTrees } from "../src/livepatch/build/trees.ts";
import { dependencies, describeUnits } from "../src/livepatch/build/units.ts";
import { patchOf, type SourceChanges } from "./candidates.ts";

export type Outcome = "built" | "unchanged" | "refused" | "failed";

export interface FileResult {
  file: string;
  /** Other files of the newer version that had to come along. */
  along: string[];
  outcome: Outcome;
  seconds: number;
  /** Why it was not built. */
  code?: string;
  message?: string;
  details?: string;
  /** The live patch's module and what it replaces, as `object:function`. */
  module?: string;
  functions?: string[];
  warnings?: readonly string[];
}

export interface Versions {
  target: TargetKernel;
  trees: KernelTrees;
  /** Folder with the newer version's code. */
  after: string;
  changes: SourceChanges;
}

/** So often may a patch grow by what its compilation lacks. */
const maximumRounds = 5;

export async function buildFile(
  file: string,
  name: string,
  output: string,
  versions: Versions,
  options: WorkOptions,
): Promise<FileResult> {
  const files = [file];
  for (let round = 0; ; round++) {
    const started = performance.now();
    const result = await buildOnce(files, name, output, versions, options);
    const described = { ...result.result, file, along: files.slice(1), seconds: secondsSince(started) };
    if (result.error === undefined || round === maximumRounds) return described;
    const more = await missingFiles(result.error, file, versions, options);
    const added = more.filter((path) => !files.includes(path));
    if (added.length === 0) return described;
    files.push(...added);
  }
}

async function buildOnce(
  files: readonly string[],
  name: string,
  output: string,
  { target, trees, after }: Versions,
  options: WorkOptions,
): Promise<{
  result: Omit<FileResult, "file" | "along" | "seconds">;
  error?: RekernelError;
}> {
  try {
    const text = await patchOf(trees.pristine, after, files);
    const report: BuildReport = await buildLivePatch({
      target,
      patches: [parsePatch(text, `${name}.patch`)],
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
        ...(error.details === undefined ? {} : { details: error.details }),
      },
      error,
    };
  }
}

/** Changed files of the newer version that an error says, or lets guess, are needed besides. */
async function missingFiles(
  error: RekernelError,
  file: string,
  versions: Versions,
  options: WorkOptions,
): Promise<string[]> {
  if (error.code === "RK-SYMBOL-UNKNOWN") {
    const name = /refers to (\w+), which/.exec(error.message)?.[1];
    return name === undefined ? [] : await newlyDefining(name, versions);
  }
  if (error.code !== "RK-COMPILE-ERROR") return [];
  const details = `${error.message}\n${error.details ?? ""}`;
  const absent = /fatal error: (\S+): No such file/.exec(details)?.[1];
  if (absent !== undefined)
    return versions.changes.created.filter((path) => basename(path) === basename(absent)).slice(0, 1);
  const names = [...details.matchAll(/‘(?:struct |enum |union )?(\w+)[^’]*’/g)].map((match) => match[1]!);
  // A prototype changed: the C file that defines or calls the function has to follow.
  const broken = [...details.matchAll(/^([^\s:]+\.c):\d+/gm)]
    .map((match) => match[1]!)
    .filter((path) => path !== file && versions.changes.modified.includes(path));
  if (broken.length > 0) return [...new Set(broken)];
  const headers = await includedHeaders(file, versions, options);
  const speaking: string[] = [];
  for (const header of headers)
    if (names.some((name) => mentions(header.added, name))) speaking.push(header.path);
  return speaking.length > 0 ? speaking : headers.map(({ path }) => path);
}

function mentions(text: string, name: string): boolean {
  return new RegExp(`\\b${name}\\b`).test(text);
}

/** Changed headers that the file includes, with the lines that they gain. */
async function includedHeaders(
  file: string,
  { trees, after, changes }: Versions,
  options: WorkOptions,
): Promise<{ path: string; added: string }[]> {
  const [unit] = await describeUnits(trees, [file], options);
  const { stdout } = await runClean([...unit!.command, "-M", unit!.input], {
    cwd: trees.pristine,
    signal: options.signal,
  });
  const read = new Set(dependencies(stdout).map((path) => path.replace(/^\.\//, "")));
  const headers: { path: string; added: string }[] = [];
  for (const path of changes.modified) {
    if (!path.endsWith(".h") || ![...read].some((one) => one === path || one.endsWith(`/${path}`))) continue;
    const diff = (await patchOf(trees.pristine, after, [path])).toString("latin1");
    const added = diff
      .split("\n")
      .filter((line) => line.startsWith("+"))
      .join("\n");
    headers.push({ path, added });
  }
  return headers;
}

/** C files that define a function or variable of that name in the newer version, and not before. */
async function newlyDefining(name: string, { trees, after, changes }: Versions): Promise<string[]> {
  const definition = new RegExp(`^[A-Za-z_][^;\\n]*\\b${name}\\b[^;\\n]*$`, "m");
  const found: string[] = [];
  for (const path of changes.modified) {
    if (!path.endsWith(".c")) continue;
    const now = await readFile(join(after, path), "latin1");
    if (!definition.test(now)) continue;
    const before = await readFile(join(trees.pristine, path), "latin1");
    if (!mentions(before, name)) found.push(path);
  }
  return found;
}

function secondsSince(started: number): number {
  return Math.round((performance.now() - started) / 100) / 10;
}
