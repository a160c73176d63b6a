/** Kernel modules of the running kernel: what is loaded, loading and removing. */
import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { buildIdIn } from "../formats/notes.ts";
import { syscallNumber } from "./arch/x86_64.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { readInteger, readText } from "./pseudo-files.ts";
import { syscall } from "./syscall.ts";

/** What /sys/module/<name> tells about a loaded module. */
export interface LoadedModule {
  /** With underscores, as the kernel keeps it. */
  name: string;
  /** `coming`, `live` or `going`. */
  state: string;
  /** Users that keep it from being removed; a live patch holds one of itself while it is enabled. */
  references: number;
  /** Taint letters: `K` live patch, `O` out of tree, `E` unsigned, `P` proprietary. */
  taint: string;
  /** MODULE_VERSION, where the module has one. */
  version: string | undefined;
  /** Digest over the sources that modpost writes, where the module has one. */
  sourceVersion: string | undefined;
}

/**
 * A loaded module by its name; undefined when there is none (built-in ones have no `initstate`).
 * Source: kernel/module/sysfs.c, kernel/params.c.
 */
export async function loadedModule(
  name: string,
  host: HostPaths = thisHost,
): Promise<LoadedModule | undefined> {
  const folder = `${host.sys}/module/${name}`;
  const state = await readText(`${folder}/initstate`);
  if (state === undefined) return undefined;
  const [references, taint, version, sourceVersion] = await Promise.all([
    readInteger(`${folder}/refcnt`),
    readText(`${folder}/taint`),
    readText(`${folder}/version`),
    readText(`${folder}/srcversion`),
  ]);
  return { name, state, references: references ?? 0, taint: taint ?? "", version, sourceVersion };
}

/** The GNU build id of a loaded module, in hexadecimal (kernel/module/sysfs.c: its notes). */
export async function loadedBuildId(name: string, host: HostPaths = thisHost): Promise<string | undefined> {
  try {
    return buildIdIn(await readFile(`${host.sys}/module/${name}/notes/.note.gnu.build-id`));
  } catch {
    return undefined;
  }
}

/** True for a module that declared itself a live patch (`livepatch=Y`): the kernel marks it with taint K. */
export function isLivePatch(module: LoadedModule): boolean {
  return module.taint.includes("K");
}

/**
 * Loads a module file with finit_module, so that the kernel sees which file it came from.
 * Returns when its init function is done.
 *
 * @throws SyscallError
 */
export async function finitModule(path: string, parameters = ""): Promise<void> {
  const file = await open(path, constants.O_RDONLY);
  try {
    await syscall("finit_module", syscallNumber.finit_module, file.fd, parameters, 0);
  } finally {
    await file.close();
  }
}

/**
 * Loads a module from memory with init_module, for bytes that are in no file of their own.
 *
 * @throws SyscallError
 */
export async function initModule(bytes: Uint8Array, parameters = ""): Promise<void> {
  await syscall("init_module", syscallNumber.init_module, bytes, bytes.length, parameters);
}

/**
 * Removes a module; does not wait for users to go away (O_NONBLOCK: EAGAIN while it has any).
 *
 * @throws SyscallError
 */
export async function deleteModule(name: string): Promise<void> {
  await syscall("delete_module", syscallNumber.delete_module, name, constants.O_NONBLOCK);
}
