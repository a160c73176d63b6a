import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { RekernelError } from "../../../core/errors.ts";
import { writeFileAtomic } from "../../../core/files.ts";
import { withLock } from "../../../core/lock.ts";
import { runStep, type WorkOptions } from "../../../core/progress.ts";
import { runClean } from "../source/kbuild.ts";
import type { TouchedFile } from "../source/patched-tree.ts";
import { type KernelTrees, moduleSourceOf } from "../source/trees.ts";
import { describeUnits, type Unit } from "./units.ts";

/** What a patch's files mean for the running kernel. */
export type FileRole =
  | { role: "unit" }
  | { role: "included" }
  | { role: "ignored"; reason: string }
  | { role: "refused"; code: string; reason: string };

/** Of more units than this the text is not compared for one header: on two processors it takes minutes. */
const maximumIncluders = 2000;

/**
 * What a file of the source tree is, by its path. Pure.
 * Codes of what is refused: RK-BUILD-SYSTEM-CHANGE, RK-ASSEMBLY-CHANGE, RK-VDSO-CHANGE, RK-BOOT-CODE-CHANGE,
 * RK-UNSUPPORTED-FILE.
 */
export function roleOfFile(path: string): FileRole {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const refused = (code: string, reason: string): FileRole => ({ role: "refused", code, reason });
  const ignored = (reason: string): FileRole => ({ role: "ignored", reason });
  if (/^(Documentation|LICENSES)\//.test(path) || /^(MAINTAINERS|CREDITS|COPYING|README|\.\w+)$/.test(path))
    return ignored("documentation");
  if (/\.(rst|txt|md)$/.test(name)) return ignored("documentation");
  if (/^(samples|tools\/(testing|perf|power|verification|tracing|bpf\/bpftool|memory-model))\//.test(path))
    return ignored("not part of the kernel");
  if (/^arch\/(?!x86\/)[^/]+\//.test(path) || path.startsWith("arch/x86/um/"))
    return ignored("of another architecture");
  if (/^(Makefile|Kbuild|Kconfig)/.test(name) || /\.(mk|config)$/.test(name) || /_defconfig$/.test(name))
    return refused("RK-BUILD-SYSTEM-CHANGE", "it changes how the kernel is configured or built");
  if (/^(tools|scripts|certs|usr|rust)\//.test(path))
    return refused("RK-UNSUPPORTED-FILE", "it belongs to the tools that build the kernel");
  if (/^(arch\/x86\/entry\/vdso|lib\/vdso)\//.test(path))
    return refused("RK-VDSO-CHANGE", "the vDSO runs in user space, where a live patch does not reach");
  if (/^(arch\/x86\/(boot|realmode|purgatory)|drivers\/firmware\/efi\/libstub)\//.test(path))
    return refused("RK-BOOT-CODE-CHANGE", "it runs only before the kernel proper, or outside it");
  if (/\.(S|s|lds)$/.test(name))
    return refused("RK-ASSEMBLY-CHANGE", "assembly has no functions that livepatch could replace");
  if (/\.c$/.test(name)) return { role: "unit" };
  if (/\.(h|inc|def|tbl\.h)$/.test(name)) return { role: "included" };
  return refused("RK-UNSUPPORTED-FILE", "it is neither C source nor a header");
}

/** The same for a file of an out-of-tree module, by its path in the module's source. Pure. */
export function roleOfModuleFile(path: string): FileRole {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (/^(dkms\.conf|README|COPYING|LICENSE|ChangeLog|debian\/)/i.test(path) || /\.spec$/.test(name))
    return { role: "ignored", reason: "not part of the module's code" };
  // The names of the kernel's own top folders mean nothing there.
  return roleOfFile(`${moduleFolder}${path}`);
}

const moduleFolder = "module/";

function roleIn(trees: KernelTrees, path: string): FileRole {
  const module = moduleSourceOf(trees, path);
  return module ? roleOfModuleFile(path.slice(module.name.length + 1)) : roleOfFile(path);
}

/**
 * The translation units that a patch reaches: the C files it touches, and every enabled unit that includes, directly
 * or through others, a file it touches. Inclusion is looked up in the text of the sources, by the end of the path,
 * so that it may find too many and never too few (bar includes whose name a macro makes).
 *
 * @returns units with `enabled` true first; those that the patch touches and the target does not build come after
 * @throws RekernelError RK-NO-FUNCTIONAL-CHANGE (3), RK-HEADER-CHANGE (4), and those of {@link roleOfFile} (4)
 */
export async function unitsOfPatch(
  trees: KernelTrees,
  touched: readonly TouchedFile[],
  options: WorkOptions = {},
): Promise<Unit[]> {
  const direct: string[] = [];
  const headers: string[] = [];
  for (const file of touched) {
    const role = roleIn(trees, file.path);
    if (role.role === "refused")
      throw new RekernelError(
        "refused",
        role.code,
        `A live patch cannot change ${file.path}: ${role.reason}.`,
        {
          hint: "Leave this file out of the patch if the fix does not depend on it; else the fix needs a new kernel (rekernel kexec).",
        },
      );
    if (role.role === "included") headers.push(file.path);
    else if (role.role === "unit") {
      if (file.change === "modify") direct.push(file.path);
      // A C file that comes or goes is part of the kernel only through those that include it: Makefiles are refused.
      else headers.push(file.path);
    }
  }
  if (direct.length === 0 && headers.length === 0)
    throw new RekernelError(
      "nothingToDo",
      "RK-NO-FUNCTIONAL-CHANGE",
      `The patch changes nothing of the kernel: ${touched.map((file) => file.path).join(", ")}.`,
    );
  const units = await describeUnits(trees, direct, options);
  const disabled = units.filter((unit) => !unit.enabled);
  // A C file that kbuild does not compile by itself may be one that others include (kernel/sched/build_policy.c).
  const included = [...headers, ...disabled.map((unit) => unit.source)];
  const found = units.filter((unit) => unit.enabled);
  let reachedDisabled = new Set<string>();
  if (included.length > 0) {
    const reached = await includersOf(trees, included, touched, options);
    const known = new Set([...found.map(({ source }) => source), ...included]);
    const more = reached.units.filter((source) => !known.has(source));
    const enabled = (await describeUnits(trees, more, options)).filter((unit) => unit.enabled);
    if (enabled.length + found.length > maximumIncluders)
      throw headerChange(headers, `${enabled.length} units of the kernel may include`);
    found.push(...enabled);
    reachedDisabled = reached.throughIncluded;
  }
  const rest = disabled.filter((unit) => !reachedDisabled.has(unit.source));
  return [...found, ...rest];
}

/** @param reach how many units a header reaches, as a clause without its object: "300 units include" */
export function headerChange(headers: readonly string[], reach: string): RekernelError {
  return new RekernelError(
    "refused",
    "RK-HEADER-CHANGE",
    `The patch changes ${headers.join(", ")}, which ${reach}: too many to live patch.`,
    {
      hint: "Change the C files that need it instead, for example by a copy of the inline function in the one that is faulty.",
    },
  );
}

interface Reached {
  /** C files that include one of the files asked for, directly or not. */
  units: string[];
  /** Of the files asked for, those that a C file includes. */
  throughIncluded: Set<string>;
}

async function includersOf(
  trees: KernelTrees,
  asked: readonly string[],
  touched: readonly TouchedFile[],
  options: WorkOptions,
): Promise<Reached> {
  const index = await includeIndex(trees, touched, options);
  const touchedPaths = new Set(touched.map(({ path }) => path));
  const known = new Map<string, boolean>();
  const exists = (path: string): boolean => {
    const answer = known.get(path) ?? (touchedPaths.has(path) || existsSync(join(trees.pristine, path)));
    known.set(path, answer);
    return answer;
  };
  const units = new Set<string>();
  const throughIncluded = new Set<string>();
  for (const start of asked) {
    const queue = [start];
    const visited = new Set(queue);
    for (let path = queue.pop(); path !== undefined; path = queue.pop())
      for (const include of index.get(path.slice(path.lastIndexOf("/") + 1)) ?? []) {
        const { by } = include;
        if (visited.has(by) || !mayBe(include, path, exists)) continue;
        const { role } = roleIn(trees, by);
        if (role === "ignored" || role === "refused") continue;
        visited.add(by);
        queue.push(by);
        if (by.endsWith(".c")) {
          units.add(by);
          throughIncluded.add(start);
          // Candidates include what is not enabled: the exact count comes later.
          if (units.size > 4 * maximumIncluders)
            throw headerChange(asked, `${units.size} C files may include`);
        }
      }
  }
  return { units: [...units], throughIncluded };
}

/** An `#include` line. */
export interface Include {
  by: string;
  as: string;
  /** In "", not in <>: the file's own folder comes first. */
  quoted: boolean;
}

/** Whether the line may mean the file `path`. Pure but for `exists`, which tells whether the tree has a file. */
export function mayBe({ by, as, quoted }: Include, path: string, exists: (path: string) => boolean): boolean {
  const beside = normalize(join(dirname(by), as));
  if (beside === path) return true;
  if (quoted && exists(beside)) return false;
  // Through one of the -I folders, whichever they are; ".." at the front leads out of one.
  const rest = as.replace(/^(?:\.\.?\/)+/, "");
  return path === rest || path.endsWith(`/${rest}`);
}

type IncludeIndex = Map<string, Include[]>;

/** Every #include of the tree by the name of the file included; the patch's own includes are added. */
async function includeIndex(
  trees: KernelTrees,
  touched: readonly TouchedFile[],
  options: WorkOptions,
): Promise<IncludeIndex> {
  const lines = [await kernelIncludes(trees, options)];
  for (const { name } of trees.modules) lines.push(await includeLines(trees.pristine, [`${name}/`], options));
  const index: IncludeIndex = new Map();
  const add = (by: string, written: string): void => {
    const as = written.slice(1);
    const include = { by, as, quoted: written.startsWith('"') };
    const name = as.slice(as.lastIndexOf("/") + 1);
    const known = index.get(name);
    if (known) known.push(include);
    else index.set(name, [include]);
  };
  for (const line of lines.flatMap((text) => text.split("\n"))) {
    const colon = line.indexOf(":");
    if (colon > 0) add(line.slice(0, colon), line.slice(colon + 1));
  }
  for (const file of touched)
    for (const match of (file.text ?? "").matchAll(/^[ \t]*#[ \t]*include[ \t]*([<"][^>"\n]+)/gm))
      add(file.path, match[1]!);
  return index;
}

/** The includes of the kernel's source, looked up once per tree. */
async function kernelIncludes(trees: KernelTrees, options: WorkOptions): Promise<string> {
  const kept = join(trees.store, "includes-2");
  const known = await readFile(kept, "utf8").catch(() => undefined);
  if (known !== undefined) return known;
  return runStep(options, "includes", "Index the includes of the source", () =>
    withLock(`${kept}.lock`, { signal: options.signal }, async () => {
      const folders = (await readdir(trees.kernel, { withFileTypes: true }))
        .filter(
          (entry) => entry.isDirectory() && !/^(Documentation|tools|scripts|samples|rust)$/.test(entry.name),
        )
        .map((entry) => entry.name);
      const lines = await includeLines(trees.kernel, folders, options);
      await writeFileAtomic(kept, lines);
      return lines;
    }),
  );
}

/** Lines of the form `path:<name` or `path:"name` of all C files and headers below the folders. */
async function includeLines(root: string, folders: readonly string[], options: WorkOptions): Promise<string> {
  const pattern = '^[[:blank:]]*#[[:blank:]]*include[[:blank:]]*[<"][^>"]+';
  const found = await runClean(["grep", "-rHoE", "--include=*.[ch]", pattern, "--", ...folders], {
    cwd: root,
    signal: options.signal,
  });
  return found.stdout
    .split("\n")
    .map((line) => /^([^:]+):.*([<"].+)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, path, include]) => `${path}:${include}`)
    .join("\n");
}
