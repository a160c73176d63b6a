import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, normalize, relative } from "node:path";
import { RekernelError } from "../../../core/errors.ts";
import { writeFileAtomic } from "../../../core/files.ts";
import { withLock } from "../../../core/lock.ts";
import type { WorkOptions } from "../../../core/progress.ts";
import { splitShellWords } from "../../../core/shell-words.ts";
import { kbuildProbe, runClean } from "../source/kbuild.ts";
import { type KernelTrees, moduleSourceOf } from "../source/trees.ts";

/** Which part of the kernel a unit's code ends up in. */
export type UnitOwner = { kind: "vmlinux" } | { kind: "module"; name: string /* as /proc/modules has it */ };

/** A translation unit of the kernel, as kbuild knows it. */
export interface Unit {
  /** Path in the source tree: `net/ipv4/tcp_input.c`. */
  source: string;
  /** The same as kbuild spells it: `arch/x86/kvm/../../../virt/kvm/kvm_main.c`. It shows in __FILE__. */
  input: string;
  /** Whether the target's configuration builds it at all. kbuild compiles it on request even where not. */
  enabled: boolean;
  owner: UnitOwner;
  /** KBUILD_MODFILE: `net/ipv4/tcp_input`, or for a module the path of its .ko without the ending. */
  modfile: string;
  /** The compiler and its arguments, without input, output and dependency file, as kbuild would run it. */
  command: readonly string[];
  /** Of an out-of-tree module's unit: tells one content of its source from another. */
  identity?: string;
}

/**
 * Asks kbuild how it compiles these C files, and whether it does. Answers are kept with the tree.
 *
 * @param sources paths in the source tree, of files that are there
 * @returns a unit for each source, or for one that is linked into several modules one for each of them
 * @throws RekernelError RK-UNIT (1) when kbuild gives no command for one of them
 */
export async function describeUnits(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions = {},
): Promise<Unit[]> {
  const known = new Map<string, readonly Unit[]>();
  const recordOf = (source: string): string => join(trees.store, "commands", `${source}.units.json`);
  for (const source of sources) {
    const module = moduleSourceOf(trees, source);
    if (module) {
      const units = module.units.filter((unit) => unit.source === source);
      known.set(source, units.length > 0 ? units : [notCompiled(source)]);
      continue;
    }
    const text = await readFile(recordOf(source), "utf8").catch(() => undefined);
    if (text !== undefined) known.set(source, JSON.parse(text) as Unit[]);
  }
  const asked = sources.filter((source) => !known.has(source));
  if (asked.length > 0) {
    const answers = await askKbuild(trees, asked, options);
    const strays = asked.filter((source) => !answers.get(source)?.[0]?.enabled);
    for (const [source, units] of await askElsewhere(trees, strays, options)) answers.set(source, units);
    for (const source of asked) {
      const units = answers.get(source);
      if (!units)
        throw new RekernelError("failed", "RK-UNIT", `kbuild does not say how it compiles ${source}.`);
      await writeFileAtomic(recordOf(source), JSON.stringify(units));
      known.set(source, units);
    }
  }
  return sources.flatMap((source) => known.get(source)!);
}

/** A C file of an out-of-tree module that its makefiles do not name: another may include it. */
function notCompiled(source: string): Unit {
  return { source, input: source, enabled: false, owner: { kind: "vmlinux" }, modfile: "", command: [] };
}

/**
 * Units that the Makefile of another folder builds, by a path with `..` in it (KVM, the amdgpu display code):
 * asks again for each folder whose Makefile has such paths, or includes another that may have.
 */
async function askElsewhere(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<Map<string, Unit[]>> {
  if (sources.length === 0) return new Map();
  const { stdout } = await runClean(
    ["grep", "-rlE", "--include=Makefile", "--include=Kbuild", "\\.\\./|^include ", "--", ...builtFolders],
    { cwd: trees.kernel, signal: options.signal },
  );
  const folders = stdout
    .split("\n")
    .filter((path) => path !== "")
    .map(dirname);
  const asked = sources.flatMap((source) =>
    folders
      .filter((folder) => folder !== dirname(source) && sameArea(folder, source))
      .map((folder) => `${folder}/${relative(folder, source)}`)
      .filter((path) => path.includes("/../")),
  );
  if (asked.length === 0) return new Map();
  const answers = await askKbuild(trees, asked, options);
  return new Map([...answers].filter(([, [first]]) => first!.enabled));
}

/** Top folders that kernel code is built from. */
export const builtFolders =
  "arch/x86 block crypto drivers fs io_uring kernel lib mm net security sound".split(" ");

/** Makefiles reach out of their own subsystem only for what is meant for it: virt/kvm. */
function sameArea(folder: string, source: string): boolean {
  const [top, second] = source.split("/");
  return top === "virt"
    ? folder.startsWith("arch/x86/")
    : folder.startsWith(top === "drivers" ? `${top}/${second}/` : `${top}/`);
}

/** What kbuild answers for each source; those that it does not know are missing. Keys are normal paths. */
async function askKbuild(
  trees: KernelTrees,
  sources: readonly string[],
  options: WorkOptions,
): Promise<Map<string, Unit[]>> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-kbuild-"));
  try {
    const answers = join(folder, "commands");
    const probe = join(folder, "probe.mk");
    await writeFile(probe, kbuildProbe);
    // kbuild may generate headers that a unit needs: one at a time in one tree.
    await withLock(trees.lock, { signal: options.signal }, () =>
      runClean(
        [
          "make",
          "-k",
          "-f",
          "scripts/Makefile.build",
          "obj=.",
          "need-builtin=1",
          "need-modorder=1",
          ...sources.map((source) => `./${objectOf(source)}`),
        ],
        {
          cwd: trees.kernel,
          environment: {
            ...trees.environment,
            MAKEFILES: probe,
            REKERNEL_COMMANDS: answers,
          },
          signal: options.signal,
        },
      ),
    );
    const text = await readFile(answers, "utf8").catch(() => "");
    const units = new Map<string, Unit[]>();
    for (const line of text.split("\n")) {
      if (line === "") continue;
      const answer = parseAnswer(line);
      const { source } = answer[0]!;
      if (units.get(source)?.[0]?.enabled !== true) units.set(source, answer);
    }
    return units;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * One line of what the probe in kbuild.ts writes: source, kbuild's folder, "built-in", "module", modfile, the command.
 *
 * @returns the unit, once for each of the modules that it is linked into
 */
export function parseAnswer(line: string): Unit[] {
  const [input = "", , builtIn = "", module = "", modfile = ""] = line.split("|", 5);
  const source = normalize(input);
  const command = line.split("|").slice(5).join("|");
  const words = splitShellWords(command);
  const asModule = words.includes("-DMODULE");
  // kbuild joins the paths of several modules that one unit goes into (scripts/Makefile.lib, modfile).
  const paths = asModule ? modfile.split(" ").filter((path) => path !== "") : [modfile];
  return (paths.length === 0 ? [modfile] : paths).map((path) => ({
    source,
    input,
    enabled: asModule ? module !== "" : builtIn !== "",
    owner: asModule ? { kind: "module", name: basename(path).replaceAll("-", "_") } : { kind: "vmlinux" },
    modfile: path,
    command: words.filter((word) => !/^-Wp,-M|^-g(?:$|dwarf|z|gdb|\d)/.test(word)),
  }));
}

function objectOf(source: string): string {
  return source.replace(/\.c$/, ".o");
}
