/** Which file is a module of the target: the distribution's own by modules.order, others where they are built and installed. */
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { RekernelError } from "../core/errors.ts";
import { KernelModuleFile } from "./module.ts";
import { findModule, moduleName } from "./modules-folder.ts";

export interface ModulePlaces {
  release: string;
  /** lib/modules/RELEASE of the target. */
  modules: string | undefined;
  /** Module files given by hand: they come before all others. */
  files?: readonly string[] | undefined;
  /** Folders in which out-of-tree modules are built, with the names of those modules. */
  sources?: readonly { folder: string; modules: readonly string[] }[] | undefined;
}

/** Folders of lib/modules/RELEASE that are the kernel's own, or links to its source. */
const notForeign = new Set(["kernel", "build", "source"]);

/** Enough for any module's source; keeps a folder given by mistake from being walked for ever. */
const maxFolders = 20_000;

/** Finds modules' files by name; every answer is looked for once. */
export class ModuleFiles {
  readonly #places: ModulePlaces;
  readonly #found = new Map<string, Promise<KernelModuleFile | undefined>>();
  readonly #walked = new Map<string, Promise<Map<string, string[]>>>();
  #given: Promise<Map<string, KernelModuleFile>> | undefined;

  constructor(places: ModulePlaces) {
    this.#places = places;
  }

  /**
   * The module's file for the target's release; undefined when there is none.
   *
   * An out-of-tree module is looked for beside the files given, in the folder of its source, and in the folders of
   * lib/modules/RELEASE that are not the kernel's own (updates, extra, …), the target's and this machine's.
   *
   * @throws RekernelError RK-MODULE-TARGET (4) when all that is there is for other kernels; RK-MODULE-AMBIGUOUS (4)
   *   when several builds of it are there; RK-BAD-MODULE, RK-FILE (1)
   */
  find(name: string): Promise<KernelModuleFile | undefined> {
    const known = this.#found.get(name);
    if (known) return known;
    const searched = this.#search(moduleName(name));
    this.#found.set(name, searched);
    return searched;
  }

  /** Whether a file is one of the kernel's own modules, of the target's modules.order. */
  isOwn(path: string): boolean {
    const { modules } = this.#places;
    return modules !== undefined && path.startsWith(join(modules, "kernel/"));
  }

  async #search(name: string): Promise<KernelModuleFile | undefined> {
    this.#given ??= this.#readGiven();
    const given = (await this.#given).get(name);
    if (given) return given;
    const { modules, sources = [], files = [], release } = this.#places;
    const source = sources.find((each) => each.modules.includes(name));
    if (!source && modules !== undefined) {
      const own = await findModule(modules, name);
      if (own !== undefined) return KernelModuleFile.open(own);
    }
    const folders = [
      ...files.map(dirname),
      ...sources.map(({ folder }) => folder),
      ...(await foreignFolders(modules)),
      ...(await foreignFolders(join("/lib/modules", release))),
    ];
    const paths: string[] = [];
    for (const folder of folders) paths.push(...((await this.#walk(folder)).get(name) ?? []));
    const found = await Promise.all([...new Set(paths)].map((path) => KernelModuleFile.open(path)));
    const fitting = found.filter((file) => isFor(file, release));
    const [first] = fitting;
    if (!first && found[0]) throw wrongRelease(found[0], release);
    const other = fitting.find((file) => identity(file) !== identity(first!));
    if (first && other)
      throw new RekernelError(
        "refused",
        "RK-MODULE-AMBIGUOUS",
        `${first.path} and ${other.path} are different builds of the module ${name}.`,
        { hint: "Say which one the machine loads: --module FILE.ko" },
      );
    return first;
  }

  async #readGiven(): Promise<Map<string, KernelModuleFile>> {
    const files = await Promise.all((this.#places.files ?? []).map((path) => KernelModuleFile.open(path)));
    for (const file of files)
      if (!isFor(file, this.#places.release)) throw wrongRelease(file, this.#places.release);
    return new Map(files.map((file) => [file.name, file]));
  }

  #walk(folder: string): Promise<Map<string, string[]>> {
    const known = this.#walked.get(folder);
    if (known) return known;
    const walked = modulesBelow(folder);
    this.#walked.set(folder, walked);
    return walked;
  }
}

function isFor(file: KernelModuleFile, release: string): boolean {
  return file.vermagic.split(" ", 1)[0] === release;
}

function wrongRelease(file: KernelModuleFile, release: string): RekernelError {
  return new RekernelError(
    "refused",
    "RK-MODULE-TARGET",
    `${file.path} is not a module of ${release}: its vermagic is "${file.vermagic}".`,
    { hint: "Give the file that is loaded on the target: --module FILE.ko (see modinfo -n NAME there)." },
  );
}

/** Two files of one build may differ in their signature and in how they are packed. */
function identity(file: KernelModuleFile): string {
  return file.buildId ?? `${file.modinfo.get("srcversion")?.[0]} ${file.elf.symbols.length}`;
}

async function foreignFolders(modules: string | undefined): Promise<string[]> {
  if (modules === undefined) return [];
  const entries = await readdir(modules, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && !notForeign.has(entry.name))
    .map((entry) => join(modules, entry.name));
}

/** Module files below a folder by module name; links are not followed. */
async function modulesBelow(folder: string): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  const queue = [folder];
  for (let visited = 0; queue.length > 0 && visited < maxFolders; visited++) {
    const current = queue.shift()!;
    for (const entry of await readdir(current, { withFileTypes: true }).catch(() => [])) {
      const path = join(current, entry.name);
      if (entry.isDirectory() && entry.name !== ".git") queue.push(path);
      else if (entry.isFile() && /\.ko(\.(xz|zst|gz))?$/.test(entry.name)) {
        const name = moduleName(entry.name);
        found.set(name, [...(found.get(name) ?? []), path]);
      }
    }
  }
  return found;
}
