import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { readElf } from "../formats/elf/read.ts";

/** A module ready for `insmod`: uncompressed. */
export interface LoadableModule {
  /** With underscores, as in /proc/modules. */
  name: string;
  data: Uint8Array;
}

/**
 * The modules `names` of one kernel and all they depend on, in loading order, uncompressed.
 * Names that the kernel has built in are left out, as are those in `optional` that it does not have at all.
 *
 * Works on `lib/modules/RELEASE` as a package ships it, before any depmod: modules.order and modules.builtin
 * (both written by kbuild) say what there is, each module's own `depends=` says what it needs.
 *
 * @param folder lib/modules/RELEASE, holding kernel/ and modules.order
 * @throws RekernelError RK-LAB-MODULE (1) when a module is neither there nor built in
 */
export async function modulesInLoadOrder(
  folder: string,
  names: readonly string[],
  optional: ReadonlySet<string> = new Set(),
): Promise<LoadableModule[]> {
  const [modular, builtIn] = await Promise.all([
    listed(folder, "modules.order"),
    listed(folder, "modules.builtin"),
  ]);
  const reads = new Map<string, Promise<{ data: Uint8Array; depends: string[] }>>();
  const ordered = new Map<string, LoadableModule>();

  const read = (name: string, path: string) => {
    let pending = reads.get(name);
    if (!pending) {
      pending = readModule(join(folder, path));
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
      if (builtIn.has(name) || optional.has(name)) return;
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

/** File or module name to the kernel's own spelling: `virtio-rng.ko.xz` -> `virtio_rng`. */
export function moduleName(name: string): string {
  return basename(name)
    .replace(/\.ko(\.\w+)?$/, "")
    .replaceAll("-", "_");
}

async function listed(folder: string, file: string): Promise<Map<string, string>> {
  const byName = new Map<string, string>();
  let text: string;
  try {
    text = await readFile(join(folder, file), "utf8");
  } catch (error) {
    throw new RekernelError(
      "failed",
      "RK-LAB-MODULE",
      `Cannot read the list of modules ${join(folder, file)}.`,
      {
        hint: "The folder of modules must be lib/modules/RELEASE as its kernel package ships it.",
        cause: error,
      },
    );
  }
  for (const line of text.split("\n")) if (line !== "") byName.set(moduleName(line), line);
  return byName;
}

async function readModule(path: string): Promise<{ data: Uint8Array; depends: string[] }> {
  const data = await readUncompressed(path);
  const modinfo = readElf(data, path).section(".modinfo")?.data ?? new Uint8Array(0);
  const depends = Buffer.from(modinfo)
    .toString("latin1")
    .split("\0")
    .filter((field) => field.startsWith("depends="))
    .flatMap((field) => field.slice("depends=".length).split(","))
    .filter((name) => name !== "");
  return { data, depends: depends.map(moduleName) };
}

async function readUncompressed(path: string): Promise<Uint8Array> {
  // modules.order names what the build made; the package may ship it compressed.
  for (const suffix of ["", ".xz"]) {
    try {
      const data = await readFile(path + suffix);
      return suffix === "" ? data : await unxz(path + suffix);
    } catch (error) {
      if (!hasErrno(error) || error.code !== "ENOENT") throw error;
    }
  }
  throw new RekernelError("failed", "RK-LAB-MODULE", `The kernel module ${path} is missing.`);
}

function unxz(path: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    execFile("xz", ["-dc", path], { encoding: "buffer", maxBuffer: 256 << 20 }, (error, stdout) => {
      if (error) reject(error);
      else resolve(stdout);
    });
  });
}
