/** A kernel's modules as a package ships them, before any depmod. */
import { access, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { RekernelError } from "../core/errors.ts";

/** File or module name to the kernel's own spelling: `virtio-rng.ko.xz` -> `virtio_rng`. */
export function moduleName(name: string): string {
  return basename(name)
    .replace(/\.ko(\.\w+)?$/, "")
    .replaceAll("-", "_");
}

/**
 * Module name -> path below the folder, from modules.order or modules.builtin (both written by kbuild).
 *
 * @param folder lib/modules/RELEASE
 * @throws RekernelError RK-MODULES-FOLDER (1)
 */
export async function listedModules(
  folder: string,
  list: "modules.order" | "modules.builtin",
): Promise<Map<string, string>> {
  const path = join(folder, list);
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new RekernelError("failed", "RK-MODULES-FOLDER", `Cannot read the list of modules ${path}.`, {
      hint: "The folder of modules must be lib/modules/RELEASE as its kernel package ships it.",
      cause,
    });
  });
  const lines = text.split("\n").filter((line) => line !== "");
  return new Map(lines.map((line) => [moduleName(line), line]));
}

/** The list names what the build made; the package may ship it compressed. Undefined when it is not there. */
export async function moduleFile(path: string): Promise<string | undefined> {
  for (const suffix of ["", ".xz", ".zst", ".gz"])
    if (
      await access(path + suffix).then(
        () => true,
        () => false,
      )
    )
      return path + suffix;
  return undefined;
}

/** Path of one module's file, or undefined. */
export async function findModule(folder: string, name: string): Promise<string | undefined> {
  const listed = (await listedModules(folder, "modules.order")).get(moduleName(name));
  return listed === undefined ? undefined : moduleFile(join(folder, listed));
}
