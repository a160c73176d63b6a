import type { PatchTrial } from "../src/lab/patch-trial.ts";
import type { FileResult, Outcome } from "./build.ts";

export interface Summary {
  totals: Record<Outcome, number> & {
    /** Live patches whose loading, unloading or log was not as it must be. */
    warnings: number;
    /** Loaded, in force and taken back without a word. */
    loadedCleanly: number;
    /** Of the refused: nothing but __init and __exit code changes. It has run already; no live patch is called for. */
    initOnly: number;
  };
  /** built / (built + refused + failed), without those that change __init and __exit code only; 0 to 1. */
  coverage: number | undefined;
  refusedByCode: Record<string, number>;
  seconds: { median: number | undefined; worst: number | undefined };
}

export function summarize(results: readonly FileResult[], loads: ReadonlyMap<string, PatchTrial>): Summary {
  const count = (outcome: Outcome) => results.filter((result) => result.outcome === outcome).length;
  const refusedByCode: Record<string, number> = {};
  for (const { outcome, code } of results)
    if (outcome === "refused") refusedByCode[code!] = (refusedByCode[code!] ?? 0) + 1;
  const seconds = results.map((result) => result.seconds).sort((a, b) => a - b);
  const clean = [...loads.values()].filter(({ verdict }) => verdict === "clean").length;
  const carried = count("built");
  const initOnly = results.filter((result) => result.initOnly).length;
  const carriable = carried + count("refused") + count("failed") - initOnly;
  return {
    totals: {
      built: carried,
      unchanged: count("unchanged"),
      refused: count("refused"),
      failed: count("failed"),
      warnings: loads.size - clean,
      loadedCleanly: clean,
      initOnly,
    },
    coverage: carriable === 0 ? undefined : carried / carriable,
    refusedByCode,
    seconds: { median: seconds[seconds.length >> 1], worst: seconds.at(-1) },
  };
}

export function table(
  head: { from: string; to: string; release: string; seed: string; differing: number; compiled: number },
  { totals, coverage, refusedByCode, seconds }: Summary,
): string {
  const rows: [string, string | number][] = [
    ["C files that differ", head.differing],
    ["  of which the configuration compiles", head.compiled],
    ["built", totals.built],
    ["no functional change", totals.unchanged],
    ["refused", totals.refused],
    ...Object.entries(refusedByCode)
      .sort(([, a], [, b]) => b - a)
      .map(([code, number]): [string, number] => [`  ${code}`, number]),
    ["  of which change __init and __exit code only", totals.initOnly],
    ["failed", totals.failed],
    [
      "built, of what a live patch can carry",
      coverage === undefined ? "-" : `${(100 * coverage).toFixed(1)} %`,
    ],
    ["loaded and taken back cleanly", totals.loadedCleanly],
    ["  with warnings, or not at all", totals.warnings],
    ["seconds each, median", seconds.median ?? "-"],
    ["seconds each, worst", seconds.worst ?? "-"],
  ];
  const width = Math.max(...rows.map(([what]) => what.length));
  const lines = rows.map(([what, value]) => `${what.padEnd(width)}  ${String(value).padStart(8)}`);
  return [`${head.from} to ${head.to}, built for ${head.release}, seed ${head.seed}`, ...lines].join("\n");
}
