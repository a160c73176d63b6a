/** Builds one changed file as a live patch, with what it cannot be compiled without. */
import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import type { TargetKernel } from "../src/kernel/target.ts";
import { type BuildReport, buildLivePatch } from "../src/livepatch/build/build.ts";
import { parsePatch } from "../src/livepatch/build/source/patch.ts";
import { type Along, type Versions, withWhatItLacks } from "./along.ts";

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

/** So often may a patch grow. */
const maximumRounds = 12;

export async function buildFile(
  file: string,
  name: string,
  output: string,
  target: TargetKernel,
  versions: Versions,
  options: WorkOptions,
): Promise<FileResult> {
  let along: Along = new Map();
  for (let round = 0; ; round++) {
    const started = performance.now();
    const patch = await versions.diffs.patch([{ path: file }, ...along.values()]);
    const { result, error } = await buildOnce(patch, name, output, target, options);
    const described = { ...result, file, along: [...along.keys()], seconds: secondsSince(started), patch };
    if (error === undefined || round === maximumRounds) return described;
    const more = await withWhatItLacks(error, file, along, versions, options);
    if (more === undefined) return described;
    along = more;
  }
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

function secondsSince(started: number): number {
  return Math.round((performance.now() - started) / 100) / 10;
}
