/** What of the newer version a changed file cannot be compiled without: as little as will do. */
import { readFile } from "node:fs/promises";
import { join, normalize } from "node:path";
import { RekernelError } from "../src/core/errors.ts";
import type { WorkOptions } from "../src/core/progress.ts";
import { runClean } from "../src/livepatch/build/source/kbuild.ts";
import type { KernelTrees } from "../src/livepatch/build/source/trees.ts";
import { dependencies } from "../src/livepatch/build/units/gcc.ts";
import { describeUnits } from "../src/livepatch/build/units/units.ts";
import { mention, type SourceChanges, type SourceDiffs, type WantedFile } from "./candidates.ts";
import { compileErrors, reachedSources } from "./compile.ts";

export interface Versions {
  trees: KernelTrees;
  /** Folder with the newer version's code. */
  after: string;
  changes: SourceChanges;
  diffs: SourceDiffs;
}

/** By path, without the file itself. */
export type Along = ReadonlyMap<string, WantedFile>;

/** So often may a patch grow by what the compiler lacks. */
const maximumRounds = 40;
/** So often is it tried whether the patch does without something. */
const maximumTrials = 80;
/** A word that more hunks are about says little. */
const fewHunks = 2;
/** So many files are looked at that a header's change may break. */
const maximumFollowers = 250;

/** @returns undefined when nothing of the newer version helps */
export async function withWhatItLacks(
  error: RekernelError,
  file: string,
  along: Along,
  versions: Versions,
  options: WorkOptions,
): Promise<Along | undefined> {
  const details = `${error.message}\n${error.details ?? ""}`;
  if (error.code === "RK-SYMBOL-UNKNOWN") {
    const names = new Set([...details.matchAll(/refers to (\w+), which/g)].map((match) => match[1]!));
    const found = (await newlyDefining([...names], versions)).filter(
      (path) => path !== file && (!along.has(path) || along.get(path)!.hunks !== undefined),
    );
    return found.length === 0
      ? undefined
      : new Map([...along, ...found.map((path) => [path, { path }] as const)]);
  }
  if (error.code !== "RK-COMPILE-ERROR") return undefined;
  return new Search(file, versions, options).extend(along).catch(unlessAborted(options));
}

/** What does not apply, or is not built, is no help; what was found before is told. */
function unlessAborted({ signal }: WorkOptions): (error: unknown) => undefined {
  return (error) => {
    signal?.throwIfAborted();
    if (!(error instanceof RekernelError)) throw error;
    return undefined;
  };
}

class Search {
  readonly #file: string;
  readonly #versions: Versions;
  readonly #options: WorkOptions;

  constructor(file: string, versions: Versions, options: WorkOptions) {
    this.#file = file;
    this.#versions = versions;
    this.#options = options;
  }

  async extend(before: Along): Promise<Along | undefined> {
    let along = before;
    let failing: string[] = [];
    for (let round = 0; round < maximumRounds; round++) {
      // What failed before is asked first: there may be dozens.
      let errors = await this.#errors(along, failing);
      if (errors.size === 0) errors = await this.#errors(along, this.#sources(along));
      if (errors.size === 0) {
        // Where all compile, the changed headers have broken others, which have to follow.
        if (along !== before) return this.#withoutNeedless(before, along);
        errors = await this.#errors(along, await this.#followers(along));
        if (errors.size === 0) return undefined;
      }
      let more = along;
      for (const [source, messages] of errors) more = await this.#withNamed(source, messages, more);
      if (more === along) return undefined;
      along = more;
      failing = [...errors.keys()];
    }
    return undefined;
  }

  #sources(along: Along): string[] {
    return [this.#file, ...along.keys()].filter((path) => path.endsWith(".c"));
  }

  async #errors(along: Along, sources: readonly string[]): Promise<Map<string, string>> {
    if (sources.length === 0) return new Map();
    return compileErrors(this.#versions.trees, await this.#patch(along), sources, this.#options);
  }

  #patch(along: Along): Promise<Buffer> {
    return this.#versions.diffs.patch([{ path: this.#file }, ...along.values()]);
  }

  /** Changed C files that the headers among these may reach. */
  async #followers(along: Along): Promise<string[]> {
    if (![...along.keys()].some((path) => path.endsWith(".h"))) return [];
    const { trees, changes } = this.#versions;
    const reached = new Set(await reachedSources(trees, await this.#patch(along), this.#options));
    const own = new Set(this.#sources(along));
    return changes.modified.filter((path) => reached.has(path) && !own.has(path)).slice(0, maximumFollowers);
  }

  /** With what may help a C file to compile: the same when nothing is left. */
  async #withNamed(source: string, messages: string, along: Along): Promise<Along> {
    const absent = /fatal error: (\S+): No such file/.exec(messages)?.[1];
    if (absent !== undefined) {
      const path = this.#versions.changes.created.find(
        (one) => (one === absent || one.endsWith(`/${absent}`)) && !along.has(one),
      );
      return path === undefined ? along : new Map([...along, [path, { path }]]);
    }
    const headers = await headersOf([source], this.#versions, this.#options);
    const isWhole = source === this.#file || (along.has(source) && along.get(source)?.hunks === undefined);
    const files = isWhole ? headers : [source, ...headers];
    const quoted = [...messages.matchAll(/‘([^’]*)’/g)].map((match) => match[1]!);
    const shown = [...messages.matchAll(/^ *\d+ \| (.*)$/gm)].map((match) => match[1]!);
    // What is sure first: what the compiler names, then what stands on the lines that it shows, then everything.
    for (const texts of [quoted, shown])
      for (const how of ["changed", "beside"] as const) {
        const found = await this.#hunksAbout(files, wordsIn(texts), how, along);
        if (found.length > 0) return withHunks(along, found);
      }
    if (!isWhole) return new Map([...along, [source, { path: source }]]);
    const whole = headers.filter((path) => !along.has(path) || along.get(path)!.hunks !== undefined);
    return whole.length === 0
      ? along
      : new Map([...along, ...whole.map((path) => [path, { path }] as const)]);
  }

  /** Hunks that are not there yet, by the words that the fewest are about. */
  async #hunksAbout(
    files: readonly string[],
    words: ReadonlySet<string>,
    how: "changed" | "beside",
    along: Along,
  ): Promise<[string, number][]> {
    const about = new Map<string, [string, number][]>();
    for (const path of files) {
      const known = along.get(path);
      if (known && known.hunks === undefined) continue;
      const { hunks } = await this.#versions.diffs.of(path);
      for (const [index, hunk] of hunks.entries()) {
        if (known?.hunks?.has(index)) continue;
        for (const word of words)
          if (mention(hunk, word) === how) about.set(word, [...(about.get(word) ?? []), [path, index]]);
      }
    }
    const byNumber = [...about.values()].sort((a, b) => a.length - b.length);
    const few = byNumber.filter((list) => list.length <= fewHunks);
    return (few.length > 0 ? few : byNumber.slice(0, 1)).flat();
  }

  /** Without what came since `before` and the C files compile without: whole files first, then hunks. */
  async #withoutNeedless(before: Along, found: Along): Promise<Along> {
    let along = found;
    let trials = 0;
    // Of a C file it is that file alone that can miss it.
    const tryIt = async (smaller: Along, path: string): Promise<void> => {
      if (trials++ >= maximumTrials) return;
      const sources = path.endsWith(".c") ? [path] : this.#sources(along);
      const errors = await this.#errors(smaller, sources).catch(unlessAborted(this.#options));
      if (errors?.size === 0) along = smaller;
    };
    for (const path of found.keys())
      if (!before.has(path) && path.endsWith(".h"))
        await tryIt(new Map([...along].filter(([one]) => one !== path)), path);
    for (const [path, { hunks }] of along) {
      const known = before.get(path);
      const diff = await this.#versions.diffs.of(path);
      if (diff.created || (known && known.hunks === undefined)) continue;
      // A C file that had to come as a whole is what its own change is.
      if (path.endsWith(".c") && hunks === undefined) continue;
      const all = hunks ?? new Set(diff.hunks.keys());
      for (const hunk of all) {
        if (known?.hunks?.has(hunk)) continue;
        const left = new Set(along.get(path)!.hunks ?? all);
        left.delete(hunk);
        if (left.size > 0) await tryIt(new Map([...along, [path, { path, hunks: left }]]), path);
      }
    }
    return along;
  }
}

function withHunks(along: Along, found: readonly [string, number][]): Along {
  const more = new Map(along);
  for (const [path, hunk] of found)
    more.set(path, { path, hunks: new Set([...(more.get(path)?.hunks ?? []), hunk]) });
  return more;
}

function wordsIn(texts: readonly string[]): Set<string> {
  const words = texts.flatMap((text) => text.match(/[A-Za-z_]\w*/g) ?? []);
  return new Set(words.filter((word) => !keywords.has(word)));
}

/** Words that say nothing. */
const keywords = new Set(
  "anonymous bool char const else enum goto if int long return short signed sizeof static struct union unsigned void volatile _Bool".split(
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
): Promise<string[]> {
  const found: string[] = [];
  for (const path of changes.modified) {
    if (!path.endsWith(".c")) continue;
    const now = await readFile(join(after, path), "latin1");
    const defined = names.filter((name) => definesGlobally(now, name));
    if (defined.length === 0) continue;
    const before = await readFile(join(trees.pristine, path), "latin1");
    if (defined.some((name) => !definesGlobally(before, name))) found.push(path);
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
