/**
 * Live patches as the running kernel shows them below /sys/kernel/livepatch.
 *
 * Source: Documentation/ABI/testing/sysfs-kernel-livepatch: enabled (3.19), transition (4.12),
 * <object>/patched (6.1), replace (6.11), stack_order (6.14).
 */
import { access, writeFile } from "node:fs/promises";
import { RekernelError } from "../core/errors.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { listFolders, readFlag, readInteger } from "./pseudo-files.ts";

/** A function that a patch replaces. */
export interface PatchedFunction {
  name: string;
  /** Which of the symbols of that name in kallsyms order is meant; 1 is the first (0 was given for "the only one"). */
  sympos: number;
}

/** A part of the kernel that a patch changes: `vmlinux` or a module. */
export interface PatchedObject {
  name: string;
  /** False while the module is not loaded; undefined before 6.1. */
  patched: boolean | undefined;
  functions: PatchedFunction[];
}

/** One patch that the kernel has registered. */
export interface LivePatch {
  name: string;
  enabled: boolean;
  /** True while tasks are still being moved to the side that `enabled` names. */
  transition: boolean;
  /** Whether it replaced all patches before it; undefined before 6.11. */
  replace: boolean | undefined;
  /** 1 for the patch that was enabled first; undefined before 6.14. */
  stackOrder: number | undefined;
  objects: PatchedObject[];
}

const livepatchFolder = (host: HostPaths) => `${host.sys}/kernel/livepatch`;

/** True when the running kernel was built with CONFIG_LIVEPATCH. */
export async function supportsLivePatches(host: HostPaths = thisHost): Promise<boolean> {
  return access(livepatchFolder(host)).then(
    () => true,
    () => false,
  );
}

/** @throws RekernelError RK-NO-LIVEPATCH (5) when the running kernel knows no live patches */
export async function requireLivePatchSupport(host: HostPaths = thisHost): Promise<void> {
  if (await supportsLivePatches(host)) return;
  throw new RekernelError("machineCannot", "RK-NO-LIVEPATCH", "The running kernel has no live patching.", {
    hint: `${livepatchFolder(host)} is missing: the kernel needs CONFIG_LIVEPATCH=y, and sysfs must be mounted.`,
  });
}

/** Splits a function's folder name, `meminfo_proc_show,1`. */
export function parseFunctionFolder(name: string): PatchedFunction | undefined {
  const match = /^(.+),(\d{1,9})$/.exec(name);
  return match ? { name: match[1]!, sympos: Number(match[2]) } : undefined;
}

/** All registered patches by name; empty when there is none. */
export async function readLivePatches(host: HostPaths = thisHost): Promise<LivePatch[]> {
  const names = (await listFolders(livepatchFolder(host))) ?? [];
  const patches = await Promise.all(names.map((name) => readLivePatch(name, host)));
  return patches.filter((patch) => patch !== undefined);
}

/** One registered patch; undefined when there is none of that name, or while it is going away. */
export async function readLivePatch(
  name: string,
  host: HostPaths = thisHost,
): Promise<LivePatch | undefined> {
  const folder = `${livepatchFolder(host)}/${name}`;
  const [enabled, transition, replace, stackOrder, objectNames] = await Promise.all([
    readFlag(`${folder}/enabled`),
    readFlag(`${folder}/transition`),
    readFlag(`${folder}/replace`),
    readInteger(`${folder}/stack_order`),
    listFolders(folder),
  ]);
  if (enabled === undefined || transition === undefined || objectNames === undefined) return undefined;
  const objects = await Promise.all(
    objectNames.map(
      async (objectName): Promise<PatchedObject> => ({
        name: objectName,
        patched: await readFlag(`${folder}/${objectName}/patched`),
        functions: ((await listFolders(`${folder}/${objectName}`)) ?? [])
          .map(parseFunctionFolder)
          .filter((found) => found !== undefined),
      }),
    ),
  );
  return { name, enabled, transition, replace, stackOrder, objects };
}

/** Just `enabled` and `transition`, cheap enough to ask many times; undefined when the patch is gone. */
export async function readTransition(
  name: string,
  host: HostPaths = thisHost,
): Promise<{ enabled: boolean; transition: boolean } | undefined> {
  const folder = `${livepatchFolder(host)}/${name}`;
  const [enabled, transition] = await Promise.all([
    readFlag(`${folder}/enabled`),
    readFlag(`${folder}/transition`),
  ]);
  return enabled === undefined || transition === undefined ? undefined : { enabled, transition };
}

/**
 * Enables or disables a patch; during a transition the opposite value turns the transition round.
 *
 * @throws the system error of the write: EBUSY while another patch is in transition
 */
export async function setEnabled(name: string, enabled: boolean, host: HostPaths = thisHost): Promise<void> {
  await writeFile(`${livepatchFolder(host)}/${name}/enabled`, enabled ? "1\n" : "0\n", { flag: "r+" });
}
