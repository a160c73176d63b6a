// `npm run coverage`: how many of the changes between two versions of Debian's kernel a live patch can carry.
//   --from VERSION --to VERSION   versions of the kernel's packages; the patches are built for the first
//   --sample N --seed S           N of the changed files, the same ones for the same seed; all when left out
//   --flavour F                   amd64
//   --only TEXT                   files whose path holds the text
//   --keep FOLDER                 leaves the modules and patches there
//   --no-load                     does not load what was built
//   --json
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { RekernelError } from "../src/core/errors.ts";
import { type AvailableKernel, availableKernels, sourceTarball, targetKernel } from "../src/kernel/target.ts";
import type { PatchTrial } from "../src/lab/patch-trial.ts";
import { prepareTrees } from "../src/livepatch/build/source/trees.ts";
import type { Versions } from "./along.ts";
import { buildFile, type FileResult } from "./build.ts";
import { builtFiles, SourceDiffs, sampleOf, sourceChanges, unpackCode } from "./candidates.ts";
import { loadAll } from "./load.ts";
import { summarize, table } from "./summary.ts";

const { values } = parseArgs({
  options: {
    from: { type: "string" },
    to: { type: "string" },
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    flavour: { type: "string", default: "amd64" },
    only: { type: "string" },
    keep: { type: "string" },
    load: { type: "boolean", default: true },
    json: { type: "boolean", default: false },
  },
  allowNegative: true,
});
const controller = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.once(name, () => controller.abort(new Error(`stopped by ${name}`)));
const { signal } = controller;
const folder = mkdtempSync(join(tmpdir(), "rekernel-coverage-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

try {
  await measure();
} catch (error) {
  process.exitCode = signal.aborted ? 130 : 1;
  if (signal.aborted) say("stopped");
  else if (error instanceof RekernelError)
    say([error.code, error.message, error.details, error.hint].filter(Boolean).join("\n"));
  else throw error;
}

async function measure(): Promise<void> {
  const { from, to, seed } = values;
  const size = values.sample === undefined ? Number.POSITIVE_INFINITY : Number(values.sample);
  if (from === undefined || to === undefined || !(size > 0)) {
    say("usage: npm run coverage -- --from VERSION --to VERSION [--sample N] [--seed S] [--json]");
    process.exitCode = 2;
    return;
  }
  const options = { signal };
  const { release } = await kernelOf(from);
  say(`${from} is ${release}`);
  const target = await targetKernel(release, options);
  // One release may come in several versions, and the cache may hold another than apt offers now.
  if (target.packageVersion !== from) throw notOffered(from, [target.packageVersion ?? "another"]);
  const newer = await sourceTarball(to, options);
  const trees = await prepareTrees(target, options);
  const after = join(folder, "after");
  say("Unpacking the newer source");
  await unpackCode(newer, after, options);
  const changes = await sourceChanges(trees.pristine, after);
  const differing = changes.modified.filter((path) => path.endsWith(".c"));
  say(`${differing.length} C files differ; asking kbuild which of them it compiles`);
  const compiled = await builtFiles(trees, differing, options);
  const wanted = compiled.filter((path) => path.includes(values.only ?? ""));
  const sample = sampleOf(wanted, size, seed);
  say(`${compiled.length} of them are compiled; building ${sample.length}`);

  const modules = values.keep === undefined ? join(folder, "modules") : resolve(values.keep);
  mkdirSync(modules, { recursive: true });
  const diffs = new SourceDiffs(trees.pristine, after);
  const versions: Versions = { trees, after, changes, diffs };
  const results: FileResult[] = [];
  for (const [index, file] of sample.entries()) {
    signal.throwIfAborted();
    const name = `cov${index}_${basename(file, ".c").replace(/\W/g, "_")}`.slice(0, 50);
    const result = await buildFile(file, name, join(modules, `${name}.ko`), target, versions, options);
    if (values.keep !== undefined) await writeFile(join(modules, `${name}.patch`), result.patch);
    results.push(result);
    say(`${index + 1}/${sample.length} ${line(result)}`);
  }
  const loads = new Map<string, PatchTrial>();
  if (values.load) {
    const built = results.filter((result) => result.module !== undefined);
    const patches = built.map((result) => ({
      name: basename(result.module!, ".ko"),
      path: result.module!,
      targets: [...new Set(result.functions!.map((name) => name.split(":")[0]!))].filter(
        (object) => object !== "vmlinux",
      ),
    }));
    const onLoaded = (name: string, { verdict, targetsLoaded, warnings }: PatchTrial) =>
      say(`${name}: ${verdict}${targetsLoaded.map((one) => ` +${one}`).join("")} ${warnings[0] ?? ""}`);
    for (const [name, load] of await loadAll(target, patches, { signal, onLoaded }))
      loads.set(built[patches.findIndex((patch) => patch.name === name)]!.file, load);
  }
  const summary = summarize(results, loads);
  const head = { from, to, release, seed, differing: differing.length, compiled: compiled.length };
  if (values.json) {
    const files = results.map(({ patch: _patch, ...result }) => ({
      ...result,
      ...(result.module === undefined ? {} : { module: basename(result.module) }),
      load: loads.get(result.file),
    }));
    console.log(JSON.stringify({ ...head, ...summary, files }, undefined, 2));
  } else console.log(table(head, summary));
  if (summary.totals.failed > 0 || summary.totals.warnings > 0) process.exitCode = 1;
}

async function kernelOf(version: string): Promise<AvailableKernel> {
  const known = (await availableKernels({ signal })).filter((kernel) => kernel.flavour === values.flavour);
  const found = known.find((kernel) => kernel.version === version);
  if (found) return found;
  throw notOffered(
    version,
    known.map((kernel) => kernel.version),
  );
}

function notOffered(version: string, offered: readonly string[]): RekernelError {
  return new RekernelError(
    "failed",
    "RK-TARGET-UNKNOWN",
    `apt offers no ${values.flavour} kernel of version ${version}.`,
    { hint: `It offers ${offered.length === 0 ? "none at all: run apt-get update" : offered.join(", ")}.` },
  );
}

function line({ file, along, outcome, seconds, code, message, details }: FileResult): string {
  const more = along.length > 0 ? ` (with ${along.join(", ")})` : "";
  const why =
    outcome === "built" || outcome === "unchanged"
      ? ""
      : ` ${code}: ${message}${details ? `\n${details}` : ""}`;
  return `${outcome} ${seconds} s ${file}${more}${why}`;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
