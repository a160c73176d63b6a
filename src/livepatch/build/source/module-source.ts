/**
 * Out-of-tree modules: their source is copied beside the kernel's, described by the kernel's own kbuild
 * (`make -C tree M=copy`), and from then on its files are files of one tree like any other.
 */
import { createHash } from "node:crypto";
import {
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { RekernelError } from "../../../core/errors.ts";
import { writeFileAtomic } from "../../../core/files.ts";
import { withLock } from "../../../core/lock.ts";
import { runPipeline } from "../../../core/pipeline.ts";
import { runStep, type WorkOptions } from "../../../core/progress.ts";
import { parseAnswer, type Unit } from "../units/units.ts";
import { kbuildProbe, runClean } from "./kbuild.ts";
import { relocatedUnit } from "./module-command.ts";
import type { KernelTrees, ModuleSource } from "./trees.ts";

export interface ModuleSourceOptions extends WorkOptions {
  /** Variables for the module's own makefiles: `CONFIG_GADGET=m`. */
  make?: readonly string[] | undefined;
}

/**
 * The trees with the source of out-of-tree modules in them: a folder of links to the kernel's source, and beside
 * them one folder for each module source, named after it. Copies are kept in the cache by their content; nothing is
 * written into the folders given.
 *
 * @param folders as `make -C tree M=FOLDER` takes them: with a Makefile or Kbuild
 * @throws RekernelError RK-MODULE-SOURCE (2) when a folder is no module's source; RK-MODULE-MAKE (1) when kbuild
 *   finds no unit in it
 */
export async function withModuleSources(
  trees: KernelTrees,
  folders: readonly string[],
  options: ModuleSourceOptions = {},
): Promise<KernelTrees> {
  if (folders.length === 0) return trees;
  const taken = new Set(await readdir(trees.kernel));
  const copies: { name: string; path: string; source: ModuleSource }[] = [];
  for (const given of folders) {
    const folder = resolve(given);
    await requireModuleSource(folder);
    const name = freeName(basename(folder), taken);
    taken.add(name);
    const copied = await runStep(options, "module-source", `Read the module source ${given}`, () =>
      copyOf(trees, folder, name, options),
    );
    copies.push({
      name,
      path: copied.path,
      source: { name, folder, sha256: copied.sha256, units: copied.units },
    });
  }
  const key = digest(JSON.stringify(copies.map(({ name, path }) => [name, path])));
  const root = join(trees.store, "modules", `tree-${key}`);
  if (!(await isThere(root))) await makeTree(trees.kernel, root, copies);
  return { ...trees, pristine: root, modules: copies.map(({ source }) => source) };
}

async function requireModuleSource(folder: string): Promise<void> {
  const bad = (reason: string, hint: string) =>
    new RekernelError("usage", "RK-MODULE-SOURCE", `${folder} is not a module's source: ${reason}.`, {
      hint,
    });
  const names = await readdir(folder).catch((cause: Error) => {
    throw bad(cause.message, "Give the folder that holds the module's Makefile.");
  });
  if (names.includes("Kconfig") && names.includes("MAINTAINERS") && names.includes("init"))
    throw bad("it is a kernel's source", "Give a kernel by hand with --image --config --source --symvers.");
  if (!names.includes("Kbuild") && !names.includes("Makefile"))
    throw bad(
      "it has neither a Makefile nor a Kbuild",
      "Give the folder that make -C … M=FOLDER builds the module in, for DKMS /usr/src/NAME-VERSION.",
    );
}

/** Names of the kernel's own top folders decide what a file is: no module may have one of them. */
function freeName(wanted: string, taken: ReadonlySet<string>): string {
  const clean = wanted.replace(/[^A-Za-z0-9._+-]+/g, "_").replace(/^[.-]+/, "") || "module";
  for (let number = 1; ; number++) {
    const name = number === 1 ? clean : `${clean}-${number}`;
    if (!taken.has(name)) return name;
  }
}

/** What kbuild leaves behind where it builds, and what is no source. */
const leftOut = [
  ...["*.o", "*.ko", "*.ko.*", "*.mod", "*.mod.c", "*.cmd", "*.symversions", "*.a"],
  ...["modules.order", "Module.symvers", ".tmp_versions", ".git", ".svn", ".hg"],
];

interface Copied {
  path: string;
  sha256: string;
  units: Unit[];
}

async function copyOf(
  trees: KernelTrees,
  folder: string,
  name: string,
  options: ModuleSourceOptions,
): Promise<Copied> {
  const store = join(trees.store, "modules");
  await mkdir(store, { recursive: true });
  const work = await mkdtemp(join(store, ".new-"));
  try {
    const fresh = join(work, name);
    await mkdir(fresh);
    // Links are followed: what they lead to may lie outside.
    await runPipeline(
      ["tar", "-c", "-h", "-C", folder, ...leftOut.map((pattern) => `--exclude=${pattern}`), "."],
      ["tar", "-x", "-C", fresh, "--no-same-owner"],
      { signal: options.signal },
    );
    const content = createHash("sha256");
    await hashFolder(fresh, "", content);
    const sha256 = content.digest("hex");
    const kept = join(store, `${name}-${digest(JSON.stringify([sha256, options.make ?? []]))}`);
    const record = join(kept, "units.json");
    return await withLock(`${kept}.lock`, { signal: options.signal }, async () => {
      const path = join(kept, name);
      const known = await readFile(record, "utf8").catch(() => undefined);
      if (known !== undefined) return { path, sha256, units: JSON.parse(known) as Unit[] };
      await rm(kept, { recursive: true, force: true });
      await rename(work, kept);
      const units = await describe(trees, path, name, sha256, folder, options);
      await writeFileAtomic(record, JSON.stringify(units));
      return { path, sha256, units };
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Lets kbuild descend into the module's folders and write down how it would compile each unit. */
async function describe(
  trees: KernelTrees,
  copy: string,
  name: string,
  identity: string,
  folder: string,
  options: ModuleSourceOptions,
): Promise<Unit[]> {
  const probe = `${copy}.probe.mk`;
  const answers = `${copy}.commands`;
  await writeFile(probe, kbuildProbe);
  const made = await runClean(
    ["make", "-k", "-C", trees.kernel, `M=${copy}`, ...trees.makeArgs, ...(options.make ?? []), "modules"],
    // Makefiles that were written to be run in their own folder look for it in $(PWD).
    {
      cwd: copy,
      environment: { PWD: copy, MAKEFILES: probe, REKERNEL_COMMANDS: answers },
      signal: options.signal,
    },
  );
  const text = await readFile(answers, "utf8").catch(() => "");
  const places = { copy, kernel: trees.kernel, name, identity };
  const units = text
    .split("\n")
    .filter((line) => line !== "")
    .flatMap(parseAnswer)
    .filter(({ owner }) => owner.kind === "module")
    .map((unit) => relocatedUnit(unit, places));
  if (units.length === 0)
    throw new RekernelError(
      "failed",
      "RK-MODULE-MAKE",
      `kbuild builds no module from the source in ${folder}.`,
      {
        // As no object is really made, the errors about missing ones say nothing.
        details: `${made.stdout}${made.stderr}`
          .trim()
          .replaceAll(copy, folder)
          .split("\n")
          .slice(-15)
          .join("\n"),
        hint: "Its makefiles may need variables that its own way of building sets: --module-make CONFIG_X=m.",
      },
    );
  return units;
}

async function hashFolder(folder: string, path: string, hash: ReturnType<typeof createHash>): Promise<void> {
  const entries = await readdir(join(folder, path), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const inside = path === "" ? entry.name : `${path}/${entry.name}`;
    const full = join(folder, inside);
    if (entry.isDirectory()) await hashFolder(folder, inside, hash);
    else if (entry.isSymbolicLink()) hash.update(`link ${inside}\0${await readlink(full)}\0`);
    else if (entry.isFile()) {
      const { size, mode } = await lstat(full);
      hash.update(`file ${inside}\0${size} ${mode & 0o111 ? "x" : "-"}\0`).update(await readFile(full));
    }
  }
}

async function makeTree(
  kernel: string,
  root: string,
  copies: readonly { name: string; path: string }[],
): Promise<void> {
  const fresh = await mkdtemp(`${root}.new-`);
  try {
    for (const name of await readdir(kernel)) await symlink(join(kernel, name), join(fresh, name));
    for (const { name, path } of copies) await symlink(path, join(fresh, name));
    await rename(fresh, root);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    // Another build made the same.
    if (!(await isThere(root))) throw error;
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
