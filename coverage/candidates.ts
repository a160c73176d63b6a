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

/** A file whose changes a patch is to hold: all, or these hunks of its diff. */
export interface WantedFile {
  path: string;
  hunks?: ReadonlySet<number> | undefined;
}

/** What a unified diff of one file consists of. */
export interface FileDiff {
  /** The two lines that name the file. */
  head: string;
  /** Each from its "@@" to the next. One character per byte (latin1). */
  hunks: readonly string[];
  /** Whether only the newer version has the file. */
  created: boolean;
}

/** The differences between two versions of a source, each file's made once. */
export class SourceDiffs {
  readonly #before: string;
  readonly #after: string;
  readonly #known = new Map<string, Promise<FileDiff>>();

  constructor(before: string, after: string) {
    this.#before = before;
    this.#after = after;
  }

  of(path: string): Promise<FileDiff> {
    const known = this.#known.get(path) ?? this.#make(path);
    this.#known.set(path, known);
    return known;
  }

  async #make(path: string): Promise<FileDiff> {
    const [old, now] = [join(this.#before, path), join(this.#after, path)];
    const created = await readFile(old).then(
      () => false,
      () => true,
    );
    const diff = await unifiedDiff(created ? ["/dev/null", "/dev/null"] : [old, `a/${path}`], [
      now,
      `b/${path}`,
    ]);
    const [head = "", ...hunks] = diff.toString("latin1").split(/^(?=@@ )/m);
    return { head, hunks, created };
  }

  /** One patch of these files. A file that only the newer version has is created. */
  async patch(wanted: readonly WantedFile[]): Promise<Buffer> {
    const parts: string[] = [];
    for (const { path, hunks } of wanted) {
      const diff = await this.of(path);
      const chosen = hunks && !diff.created ? diff.hunks.filter((_, i) => hunks.has(i)) : diff.hunks;
      if (chosen.length > 0) parts.push(diff.head, ...chosen);
    }
    return Buffer.from(parts.join(""), "latin1");
  }
}

/** How text of a diff is about a word: in lines that it changes, or only beside them. */
export function mention(diff: string, word: string): "changed" | "beside" | undefined {
  const lines = diff.split("\n").filter((line) => wordsOf(line).has(word));
  if (lines.length === 0) return undefined;
  return lines.some((line) => /^[-+](?![-+]{2} )/.test(line)) ? "changed" : "beside";
}

function wordsOf(line: string): Set<string> {
  return new Set(line.match(/[A-Za-z_]\w*/g));
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
