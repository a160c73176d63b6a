/** Who needs a PCI device now. */
import { readlink } from "node:fs/promises";
import { readMounts } from "../../host/mounts.ts";
import type { HostPaths } from "../../host/paths.ts";
import { listNames, readText } from "../../host/pseudo-files.ts";
import { isRemote } from "../preflight/network-mounts.ts";

/**
 * What would break if the device lost its driver: file systems, swap and stacked devices on its disks; with a network
 * card, file systems on the network. In words; empty when nothing is known to need it. Where it is not clear which
 * disks a file system uses (ZFS), each counts.
 *
 * Source: Documentation/ABI/stable/sysfs-block (holders), fs/btrfs/sysfs.c (devices).
 */
export async function usesOf(address: string, host: HostPaths): Promise<string[]> {
  const [disks, cards, mounts, swaps] = await Promise.all([
    devicesBelow(address, "block", host),
    devicesBelow(address, "net", host),
    readMounts(host),
    readText(`${host.proc}/swaps`),
  ]);
  const uses = new Set<string>();
  const ofBtrfs = disks.length === 0 ? new Set<string>() : await btrfsDevices(host);
  const swapping = new Set([...(swaps ?? "").matchAll(/^\/dev\/(\S+)/gm)].map(([, name]) => name!));
  for (const name of disks) {
    const folder = `${host.sys}/class/block/${name}`;
    const number = await readText(`${folder}/dev`);
    for (const { device, mountPoint, source } of mounts)
      if (device === number || source === `/dev/${name}`) uses.add(`${mountPoint} on ${name}`);
    for (const holder of await listNames(`${folder}/holders`)) uses.add(`${holder} on ${name}`);
    if (swapping.has(name)) uses.add(`swap on ${name}`);
    if (ofBtrfs.has(name)) uses.add(`btrfs on ${name}`);
  }
  if (disks.length > 0 && mounts.some(({ type }) => type === "zfs")) uses.add("ZFS, which may be on it");
  if (cards.length > 0)
    for (const mount of mounts.filter(isRemote)) uses.add(`${mount.mountPoint} from ${mount.source}`);
  return [...uses];
}

/** Devices of a class whose place in sysfs is below a PCI device. */
async function devicesBelow(address: string, kind: "block" | "net", host: HostPaths): Promise<string[]> {
  const folder = `${host.sys}/class/${kind}`;
  const names = await listNames(folder);
  const paths = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => "")));
  return names.filter((_, index) => paths[index]!.includes(`/${address}/`));
}

async function btrfsDevices({ sys }: HostPaths): Promise<Set<string>> {
  const systems = await listNames(`${sys}/fs/btrfs`);
  return new Set((await Promise.all(systems.map((id) => listNames(`${sys}/fs/btrfs/${id}/devices`)))).flat());
}
