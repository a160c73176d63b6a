import { resolve } from "node:path";
import { RekernelError } from "../core/errors.ts";
import { decompress } from "../formats/compression.ts";
import { readInputFile } from "../kernel/input-file.ts";
import { KernelModuleFile } from "../kernel/module.ts";
import { listedModules, moduleFile, moduleName } from "../kernel/modules-folder.ts";

/** A module ready for `insmod`: uncompressed. */
export interface LoadableModule {
  /** With underscores, as in /proc/modules. */
  name: string;
  data: Uint8Array;
}

/**
 * The modules `names` of one kernel and all they depend on, in loading order, uncompressed.
 * Names that the kernel has built in are left out.
 *
 * Works on `lib/modules/RELEASE` as a package ships it, before any depmod: modules.order and modules.builtin
 * (both written by kbuild) say what there is, each module's own `depends=` says what it needs.
 *
 * @param folder lib/modules/RELEASE, holding kernel/ and modules.order
 * @param foreign files of modules that are not the kernel's own, in place of its own of the same name
 * @throws RekernelError RK-LAB-MODULE (1) when a module is neither there nor built in
 */
export async function modulesInLoadOrder(
  folder: string,
  names: readonly string[],
  foreign: readonly { name: string; path: string }[] = [],
): Promise<LoadableModule[]> {
  const [modular, builtIn] = await Promise.all([
    listedModules(folder, "modules.order"),
    listedModules(folder, "modules.builtin"),
  ]);
  for (const { name, path } of foreign) modular.set(name, resolve(path));
  const reads = new Map<string, ReturnType<typeof readModule>>();
  const ordered = new Map<string, LoadableModule>();

  const read = (name: string, path: string) => {
    let pending = reads.get(name);
    if (!pending) {
      pending = readModule(resolve(folder, path));
      reads.set(name, pending);
    }
    return pending;
  };
  // Reading is the slow part (decompression), so the whole tree is asked for before the order is worked out.
  const prefetch = async (name: string): Promise<void> => {
    const path = modular.get(name);
    if (path === undefined || reads.has(name)) return;
    await Promise.all((await read(name, path)).depends.map(prefetch));
  };
  await Promise.all(names.map((name) => prefetch(moduleName(name))));

  const visit = async (name: string, path: readonly string[]): Promise<void> => {
    if (ordered.has(name)) return;
    const file = modular.get(name);
    if (file === undefined) {
      if (builtIn.has(name)) return;
      throw new RekernelError("failed", "RK-LAB-MODULE", `The kernel of ${folder} has no module ${name}.`);
    }
    if (path.includes(name))
      throw new RekernelError(
        "failed",
        "RK-LAB-MODULE",
        `Modules depend on each other in a circle: ${[...path, name].join(" -> ")}.`,
      );
    const module = await read(name, file);
    for (const dependency of module.depends) await visit(dependency, [...path, name]);
    ordered.set(name, { name, data: module.data });
  };
  for (const name of names) await visit(moduleName(name), []);
  return [...ordered.values()];
}

async function readModule(path: string): Promise<{ data: Uint8Array; depends: readonly string[] }> {
  const file = await moduleFile(path);
  if (file === undefined)
    throw new RekernelError("failed", "RK-LAB-MODULE", `The kernel module ${path} is missing.`);
  const data = decompress(await readInputFile(file, "kernel module"), { name: file });
  return { data, depends: KernelModuleFile.fromBytes(data, file).dependencies };
}
