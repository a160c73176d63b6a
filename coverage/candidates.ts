/** What two versions of a kernel's source differ in, file by file. */

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { RekernelError } from "../src/core/errors.ts";
import { runPipeline } from "../src/core/pipeline.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import type { KernelTrees } from "../src/livepatch/build/source/trees.ts";
import { roleOfFile } from "../src/livepatch/build/units/reach.ts";
import { describeUnits, type Unit } from "../src/livepatch/build/units/units.ts";

/** Paths of C files and headers, sorted. */
export interface SourceChanges {
  modified: string[];
  created: string[];
}

/**
 * Unpacks the C files and headers of a kernel's source that can matter on x86.
 *
 * @param tarball a .tar.xz, as the distribution's source packages hold
 * @param folder an empty folder; the source's top folder is left out
 */
export async function unpackCode(tarball: string, folder: string, options: WorkOptions): Promise<void> {
  await mkdir(folder, { recursive: true });
  const excluded = ["Documentation", "samples", "scripts", "tools"].map((name) => `--exclude=*/${name}/*`);
  await runPipeline(
    ["xz", "-dc", "-T0", tarball],
    ["tar", "-x", "-C", folder, "--strip-components=1", ...excluded, "--wildcards", "*.c", "*.h"],
    options,
  );
}

export async function sourceChanges(before: string, after: string): Promise<SourceChanges> {
  const changes: SourceChanges = { modified: [], created: [] };
  for (const entry of await readdir(after, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name).slice(after.length + 1);
    if (roleOfFile(path).role === "ignored") continue;
    const [old, now] = await Promise.all([
      readFile(join(before, path)).catch(() => undefined),
      readFile(join(after, path)),
    ]);
    if (old === undefined) changes.created.push(path);
    else if (!old.equals(now)) changes.modified.push(path);
  }
  changes.modified.sort();
  changes.created.sort();
  return changes;
}

/** Those of the C files that the configuration builds. */
export async function builtFiles(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<string[]> {
  const units = sources.filter((source) => roleOfFile(source).role === "unit");
  return (await enabledUnits(trees, units, options)).sort();
}

async function enabledUnits(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<string[]> {
  let units: Unit[];
  try {
    units = await describeUnits(trees, sources, options);
  } catch (error) {
    if (!(error instanceof RekernelError) || !/^RK-UNIT/.test(error.code)) throw error;
    // kbuild knows nothing of one of them (another architecture's driver), or it goes into several modules.
    if (sources.length === 1) return error.code === "RK-UNIT" ? [] : [...sources];
    const half = sources.length >> 1;
    return [
      ...(await enabledUnits(trees, sources.slice(0, half), options)),
      ...(await enabledUnits(trees, sources.slice(half), options)),
    ];
  }
  return units.filter((unit) => unit.enabled).map((unit) => unit.source);
}

/** The same choice for the same seed and files, whatever their order. */
export function sampleOf(files: readonly string[], size: number, seed: string): string[] {
  const rank = (file: string) => createHash("sha256").update(`${seed}\n${file}`).digest("hex");
  return files
    .map((file) => ({ file, rank: rank(file) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .slice(0, size)
    .map(({ file }) => file);
}

/** A file whose changes a patch is to hold: all, or the hunks about these words. */
export interface WantedFile {
  path: string;
  words?: ReadonlySet<string> | undefined;
}

/** One unified diff of these files. A file that only the newer version has is created. */
export async function patchOf(before: string, after: string, wanted: readonly WantedFile[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const { path, words } of wanted) {
    const isNew = await readFile(join(before, path)).then(
      () => false,
      () => true,
    );
    const diff = await unifiedDiff(isNew ? ["/dev/null", "/dev/null"] : [join(before, path), `a/${path}`], [
      join(after, path),
      `b/${path}`,
    ]);
    parts.push(words === undefined || isNew ? diff : hunksWith(diff, words));
  }
  return Buffer.concat(parts);
}

/** How a diff is about a word: in lines that it changes, or only beside them. */
export function mention(diff: string, word: string): "changed" | "beside" | undefined {
  const lines = diff.split("\n").filter((line) => wordsOf(line).has(word));
  if (lines.length === 0) return undefined;
  return lines.some((line) => /^[-+](?![-+]{2} )/.test(line)) ? "changed" : "beside";
}

function wordsOf(line: string): Set<string> {
  return new Set(line.match(/[A-Za-z_]\w*/g));
}

/** The hunks that change a line with a word; for a word that none changes, those that have it beside. */
function hunksWith(diff: Buffer, words: ReadonlySet<string>): Buffer {
  const [head = "", ...hunks] = diff.toString("latin1").split(/^(?=@@ )/m);
  const kept = new Set<string>();
  for (const word of words) {
    const changing = hunks.filter((hunk) => mention(hunk, word) === "changed");
    for (const hunk of changing.length > 0 ? changing : hunks)
      if (mention(hunk, word) !== undefined) kept.add(hunk);
  }
  const ordered = hunks.filter((hunk) => kept.has(hunk));
  return Buffer.from(ordered.length === 0 ? "" : head + ordered.join(""), "latin1");
}

function unifiedDiff(before: [string, string], after: [string, string]): Promise<Buffer> {
  const args = ["-u", "--label", before[1], "--label", after[1], before[0], after[0]];
  return new Promise((resolve, reject) =>
    execFile("diff", args, { encoding: "buffer", maxBuffer: 1 << 26 }, (error, stdout) => {
      // diff ends with 1 where files differ.
      if (error && error.code !== 1) reject(error);
      else resolve(stdout);
    }),
  );
}
