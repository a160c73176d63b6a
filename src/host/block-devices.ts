/**
 * Block devices and what they are stacked on.
 *
 * Source: Documentation/ABI/stable/sysfs-block, Documentation/ABI/testing/sysfs-block-dm;
 * Documentation/admin-guide/md.rst (sync_action).
 */
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
  /** Names of the devices directly below it. */
  below: string[];
}

/** All block devices, partitions included, by name. */
export async function readBlockDevices(host: HostPaths = thisHost): Promise<Map<string, BlockDevice>> {
  const folder = `${host.sys}/class/block`;
  const devices = await Promise.all(
    (await listNames(folder)).map(async (name): Promise<[string, BlockDevice]> => {
      const at = `${folder}/${name}`;
      const [number, mapperName, mapperUuid, raidAction, raidProgress, below] = await Promise.all([
        readText(`${at}/dev`),
        readText(`${at}/dm/name`),
        readText(`${at}/dm/uuid`),
        readText(`${at}/md/sync_action`),
        readText(`${at}/md/sync_completed`),
        listNames(`${at}/slaves`),
      ]);
      return [name, { name, number, mapperName, mapperUuid, raidAction, raidProgress, below }];
    }),
  );
  return new Map(devices);
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
