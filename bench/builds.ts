// Live patches: starting, reading images, differences and builds.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cacheFolder } from "../src/core/cache.ts";
import { targetKernel } from "../src/kernel/target.ts";
import { diffObjects } from "../src/livepatch/build/object-diff.ts";
import { prepareTrees } from "../src/livepatch/build/source/trees.ts";
import { testKernels } from "../test/vm/kernels.ts";
import { findCreateDiffObject, runCreateDiffObject } from "./create-diff-object.ts";
import { fuzzDifference } from "./fuzz.ts";
import { objectPair } from "./object-pair.ts";
import { tenUnitPatch } from "./ten-units.ts";

interface Measurement {
  what: string;
  ms: number;
  /** What it should stay under. */
  limitMs?: number;
}

const root = dirname(import.meta.dirname);
const rekernel = join(root, "bin/rekernel");
const patch = join(root, "demo/cgroup-kill.patch");
const json = process.argv.includes("--json");
const pairNames = { original: "original", patched: "patched" };
const folder = mkdtempSync(join(tmpdir(), "rekernel-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => process.exit(1));

const { previous } = await testKernels();
say(`Fetching ${previous} into the cache, where it is not there already`);
const target = await targetKernel(previous);
const measurements: Measurement[] = [];

say("Start-up");
const starts: number[] = [];
for (let index = 0; index < 11; index++) starts.push((await run(["--version"])).elapsedMs);
record({ what: "rekernel --version (median of 11)", ms: median(starts), limitMs: 150 });

say("Symbols of an image");
record({
  what: "image symbols: read, unpack, decode, print all",
  ms: (await run(["image", "symbols", target.image])).elapsedMs,
});

say("Compiling net/ipv4/tcp_input.c, original and patched");
const { original, patched } = await objectPair(target);
const [originalPath, patchedPath] = [join(folder, "original.o"), join(folder, "patched.o")];
writeFileSync(originalPath, original);
writeFileSync(patchedPath, patched);
const diffs: number[] = [];
for (let index = 0; index < 7; index++)
  diffs.push((await run(["patch", "diff", originalPath, patchedPath])).elapsedMs);
record({ what: "patch diff of tcp_input, whole process (median of 7)", ms: median(diffs), limitMs: 350 });
const warmMs = warmDifference(original, patched);
record({ what: "  the difference itself, in memory, warm (median of 20)", ms: warmMs });
const peer = await findCreateDiffObject();
if (peer === undefined) say("create-diff-object is not installed: no comparison with it");
else {
  const theirs = await runCreateDiffObject(
    peer,
    await prepareTrees(target),
    { original, patched },
    folder,
    11,
  );
  const ours = warmDifference(theirs.original, theirs.patched);
  const changed = diffObjects(theirs.original, theirs.patched, pairNames).changed.sort();
  if (changed.join() !== theirs.changed.join())
    throw new Error(`create-diff-object says ${theirs.changed.join(", ")}; rekernel ${changed.join(", ")}`);
  record({ what: "create-diff-object on the same pair, after objtool (median of 11)", ms: theirs.ms });
  record({
    what: `  the difference of that pair, ${(ours / theirs.ms).toFixed(2)} of it`,
    ms: ours,
    limitMs: theirs.ms,
  });
}
const fuzzRuns = 20_000;
say(`Comparing ${fuzzRuns} mutated copies of it`);
const fuzzed = fuzzDifference(original, fuzzRuns, 1);
record({
  what: `fuzz: slowest of ${fuzzRuns} mutated objects (${fuzzed.verdicts} verdicts, ${fuzzed.errors} errors)`,
  ms: fuzzed.slowestMs,
});

say(`Building ${patch} for ${previous}, nothing prepared`);
const cache = join(folder, "cache");
await sharePackages(join(cache, "rekernel"));
const cold = await build("cold");
record({ what: "one-unit build, packages cached, nothing prepared", ms: cold.elapsedMs, limitMs: 90_000 });
say("Building it again, the kernel prepared");
const warm = await build("warm");
record({ what: "one-unit build, kernel prepared", ms: warm.elapsedMs, limitMs: 12_000 });
record({ what: "  of which gcc", ms: warm.timesMs.compile });
record({ what: "  of which kbuild linking the module", ms: warm.timesMs.link });
record({ what: "  of which rekernel's own work", ms: warm.timesMs.own, limitMs: 2_000 });
say("Building a patch of ten units");
const ten = join(folder, "ten-units.patch");
writeFileSync(ten, await tenUnitPatch(target));
record({
  what: "ten-unit build, kernel prepared",
  ms: (await build("ten", ten)).elapsedMs,
  limitMs: 60_000,
});
record({ what: "  again, with the originals' objects kept", ms: (await build("ten-again", ten)).elapsedMs });

const machine = { processors: cpus().length, model: cpus()[0]?.model ?? "unknown", kernel: previous };
if (json) console.log(JSON.stringify({ machine, measurements, fuzzed }, undefined, 2));
else {
  console.log(`\n${machine.processors} x ${machine.model}; target ${machine.kernel}`);
  const width = Math.max(...measurements.map(({ what }) => what.length));
  for (const { what, ms, limitMs } of measurements) {
    const limit = limitMs === undefined ? "" : `  ${ms < limitMs ? "under" : "OVER"} ${duration(limitMs)}`;
    console.log(`${what.padEnd(width)}  ${duration(ms).padStart(9)}${limit}`);
  }
}

function warmDifference(before: Uint8Array, after: Uint8Array): number {
  const times: number[] = [];
  for (let index = 0; index < 40; index++) {
    const startedMs = performance.now();
    diffObjects(before, after, pairNames);
    times.push(performance.now() - startedMs);
  }
  return median(times.slice(20));
}

function record(measurement: Measurement): void {
  measurements.push(measurement);
}

/** A cache of its own that has the downloaded packages, and nothing that was made from them. */
async function sharePackages(cacheOfBench: string): Promise<void> {
  mkdirSync(cacheOfBench, { recursive: true });
  for (const name of ["kernels", "sources"]) symlinkSync(await cacheFolder(name), join(cacheOfBench, name));
}

interface BuildTimes {
  timesMs: { trees: number; compile: number; link: number; own: number; total: number };
}

async function build(name: string, of = patch): Promise<BuildTimes & { elapsedMs: number }> {
  const args = ["patch", "build", of, "--kernel", previous, "--output", join(folder, `${name}.ko`), "--json"];
  const { elapsedMs, stdout } = await run(args, { XDG_CACHE_HOME: cache });
  const { timesMs }: BuildTimes = JSON.parse(stdout);
  return { elapsedMs, timesMs };
}

function run(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ elapsedMs: number; stdout: string }> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(rekernel, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (data) => (stdout += data));
    child.stderr.on("data", (data) => (stderr += data));
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve({ elapsedMs: performance.now() - startedMs, stdout });
      else reject(new Error(`rekernel ${args.join(" ")} ended with ${code}:\n${stdout}${stderr}`));
    });
  });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function say(text: string): void {
  process.stderr.write(`${text} ...\n`);
}
