import { join, normalize, relative } from "node:path";
import type { Unit } from "../units/units.ts";

/** Where a module's source lay when kbuild described it, and where it is to be compiled. */
export interface ModulePlaces {
  /** Absolute path of the copy that kbuild saw as M=. */
  copy: string;
  /** Absolute path of the kernel's tree. */
  kernel: string;
  /** The copy's name in the common tree. */
  name: string;
  /** Tells one content of the source from another. */
  identity: string;
}

/** Options whose argument is a path, joined to them or in the next word. */
const pathOption = /^(-I|-include|-imacros|-isystem|-iquote|-idirafter)(.*)$/;

/**
 * A unit as kbuild describes it for M=copy, to be compiled at the top of a tree that holds the kernel's source and,
 * as `name`, the module's. Until Linux 6.12 kbuild runs in the kernel's tree and names the module by its absolute
 * path; since 6.13 it runs in the module's folder and names the kernel so (Makefile, KBUILD_EXTMOD). Pure.
 */
export function relocatedUnit(unit: Unit, places: ModulePlaces): Unit {
  const inModule = !unit.input.startsWith("/");
  const source = inModule
    ? normalize(join(places.name, unit.input))
    : join(places.name, relative(places.copy, normalize(unit.input)));
  const plain = (path: string): string => {
    if (path.startsWith("/") || path === "")
      return inPlaceOf(inPlaceOf(path, places.copy, places.name), places.kernel, ".");
    return inModule ? join(places.name, path) : path;
  };
  let isPath = false;
  const command = unit.command.map((word) => {
    const [, option, rest = ""] = pathOption.exec(word) ?? [];
    if (isPath) {
      isPath = false;
      return plain(word);
    }
    if (option === undefined) return inPlaceOf(inPlaceOf(word, places.copy, places.name), places.kernel, ".");
    isPath = rest === "";
    return option + plain(rest);
  });
  return { ...unit, source, input: source, command, identity: places.identity };
}

/** Replaces a folder's path wherever it stands as a whole. */
function inPlaceOf(text: string, path: string, by: string): string {
  return text.replaceAll(new RegExp(`${path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?=[/"':]|$)`, "g"), by);
}

/** The folder in which a module was built, by the `__FILE__` strings in it; undefined where it has none. Pure. */
export function buildFolderIn(sections: readonly Uint8Array[], paths: readonly string[]): string | undefined {
  for (const data of sections) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    for (const path of paths) {
      const wanted = Buffer.from(`/${path}\0`, "latin1");
      for (let at = bytes.indexOf(wanted); at >= 0; at = bytes.indexOf(wanted, at + 1)) {
        const start = bytes.lastIndexOf(0, at) + 1;
        const folder = bytes.subarray(start, at).toString("latin1");
        if (/^\/[ -~]*$/.test(folder) && folder.length < 4096) return folder;
      }
    }
  }
  return undefined;
}
