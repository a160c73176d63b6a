import { statfs } from "node:fs/promises";
import type { Mount } from "../../host/mounts.ts";
import { type Check, type Finding, rootMount, size } from "./finding.ts";

/** Less than this in a tmpfs is sockets, locks and the like. */
const worthTelling = 2 ** 20;

/** What every boot fills anew. */
const rebuilt = /^\/(run|dev|sys|proc)(\/|$)/;
const sharedMemory = "/dev/shm";

/** Data that is in memory only. */
export const memoryMounts: Check = {
  name: "memory-mounts",
  looksAt: "the mounts",
  async find({ mounts, host }) {
    const all = await mounts;
    const findings: Omit<Finding, "check">[] = [];
    const root = rootMount(all);
    if (root !== undefined && /^(tmpfs|ramfs|rootfs)$/.test(root.type))
      findings.push({
        severity: "warns",
        subject: `The root file system is in memory (${root.type})`,
        items: [],
        why: "All changes since boot are lost.",
        advice: "Copy what is to stay to a disk, or into the next initrd.",
      });
    const disks = all.filter(({ source }) => /^\/dev\/(zram|ram)\d+$/.test(source));
    if (disks.length > 0)
      findings.push({
        severity: "warns",
        subject: "Disks in memory are mounted",
        items: disks.map(({ mountPoint, source }) => `${mountPoint} (${source})`),
        why: "All that is on them is lost.",
        advice: "Copy what is to stay to a real disk.",
      });
    const filled: string[] = [];
    for (const { mountPoint } of candidates(all)) {
      // Through /proc/self/root, so that a fixture's paths are its own.
      const stat = await statfs(`${host.proc}/self/root${mountPoint}`).catch(() => undefined);
      const used = stat === undefined ? 0 : (stat.blocks - stat.bfree) * stat.bsize;
      if (used >= worthTelling) filled.push(`${mountPoint} (${size(used)})`);
    }
    if (filled.length > 0)
      findings.push({
        severity: "notes",
        subject: "Files are in memory only (tmpfs)",
        items: filled,
        why: "They are lost, as at every reboot.",
        advice: "Copy what is to stay to a disk.",
      });
    return findings;
  },
};

/** tmpfs mounts that may hold somebody's data, each mount point once. */
function candidates(all: readonly Mount[]): Mount[] {
  const byPoint = new Map(all.map((mount) => [mount.mountPoint, mount]));
  return [...byPoint.values()].filter(
    ({ type, mountPoint }) =>
      type === "tmpfs" && mountPoint !== "/" && (mountPoint === sharedMemory || !rebuilt.test(mountPoint)),
  );
}
