/**
 * Block devices and what they are stacked on.
 *
 * Source: Documentation/ABI/stable/sysfs-block, Documentation/ABI/testing/sysfs-block-dm;
 * Documentation/admin-guide/md.rst (sync_action).
 */
import { readlink } from "node:fs/promises";
import type { Mount } from "./mounts.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { listNames, readText } from "./pseudo-files.ts";

export interface BlockDevice {
  /** `dm-0`, `nvme0n1p2` */
  name: string;
  /** `254:0` */
  number: string | undefined;
  /** Device mapper: the name below /dev/mapper. */
  mapperName: string | undefined;
  /** Device mapper: `CRYPT-LUKS2-…`, `LVM-…`; tells who made it. */
  mapperUuid: string | undefined;
  /** md: `idle`, `resync`, `recover`, `reshape`, `check`, `repair`, `frozen`; undefined for all else. */
  raidAction: string | undefined;
  /** md: `1024 / 8192` sectors, or `none`. */
  raidProgress: string | undefined;
  /** How it is reached over the network; undefined for devices of this machine, as far as sysfs tells. */
  network: "iSCSI" | "NBD" | "RBD" | "NVMe over Fabrics" | undefined;
  /** Names of the devices directly below it. */
  below: string[];
}

/** All block devices, partitions included, by name. */
export async function readBlockDevices(host: HostPaths = thisHost): Promise<Map<string, BlockDevice>> {
  const folder = `${host.sys}/class/block`;
  const devices = await Promise.all(
    (await listNames(folder)).map(async (name): Promise<[string, BlockDevice]> => {
      const at = `${folder}/${name}`;
      const [number, mapperName, mapperUuid, raidAction, raidProgress, below, path] = await Promise.all([
        readText(`${at}/dev`),
        readText(`${at}/dm/name`),
        readText(`${at}/dm/uuid`),
        readText(`${at}/md/sync_action`),
        readText(`${at}/md/sync_completed`),
        listNames(`${at}/slaves`),
        readlink(at).catch(() => ""),
      ]);
      const network = networkOf(name, path);
      return [name, { name, number, mapperName, mapperUuid, raidAction, raidProgress, network, below }];
    }),
  );
  return new Map(devices);
}

/**
 * Source: drivers/scsi/scsi_transport_iscsi.c (sessionN above the target), drivers/nvme/host/fabrics.c (virtual
 * device nvme-fabrics; with native multipath the path does not tell), drivers/block/nbd.c, rbd.c.
 */
export function networkOf(name: string, sysfsPath: string): BlockDevice["network"] {
  if (/\/session\d+\/target/.test(sysfsPath)) return "iSCSI";
  if (sysfsPath.includes("/nvme-fabrics/")) return "NVMe over Fabrics";
  if (/^nbd\d/.test(name)) return "NBD";
  return /^rbd\d/.test(name) ? "RBD" : undefined;
}

/** What a file system is on: by its number, or by its source where the number is no device's (btrfs, overlays). */
export function deviceOf(mount: Mount, all: ReadonlyMap<string, BlockDevice>): BlockDevice | undefined {
  for (const device of all.values()) if (device.number === mount.device) return device;
  if (!mount.source.startsWith("/dev/")) return undefined;
  const source = mount.source.split("/").at(-1);
  for (const device of all.values())
    if (device.mapperName === source || device.name === source) return device;
  return undefined;
}

/** The device itself and everything below it, however deep; each once, so that a circle ends. */
export function stackOf(device: BlockDevice, all: ReadonlyMap<string, BlockDevice>): BlockDevice[] {
  const stack = new Set([device]);
  for (const { below } of stack)
    for (const name of below) {
      const next = all.get(name);
      if (next !== undefined) stack.add(next);
    }
  return [...stack];
}
