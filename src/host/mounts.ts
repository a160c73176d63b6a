/** Mounted file systems, from /proc/self/mountinfo (proc_pid_mountinfo(5); fs/proc_namespace.c). */
import { type HostPaths, thisHost } from "./paths.ts";
import { readHead } from "./pseudo-files.ts";

export interface Mount {
  /** `254:0`; `0:N` for file systems without a block device, and for btrfs. */
  device: string;
  mountPoint: string;
  /** `ext4`, `nfs4`, `fuse.sshfs` */
  type: string;
  /** `/dev/vda`, `server:/export` */
  source: string;
  /** Of the file system, such as `trans=virtio`; what only this mount has (`nosuid`) is left out. */
  options: string[];
}

/** A host of containers has thousands of mounts, of some 200 bytes each. */
const maxBytes = 16 * 2 ** 20;

/** Blanks, tabs, newlines and backslashes are octal in mountinfo. */
const plain = (text: string) =>
  text.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Lines that are no mounts are passed over. */
export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const words = line.split(" ");
    // Optional fields between the sixth and the dash: shared:1 master:2
    const dash = words.indexOf("-", 6);
    const [, , device, , mountPoint] = words;
    if (dash === -1 || words.length < dash + 3 || !/^\d{1,10}:\d{1,10}$/.test(device!)) continue;
    mounts.push({
      device: device!,
      mountPoint: plain(mountPoint!),
      type: words[dash + 1]!,
      source: plain(words[dash + 2]!),
      options: (words[dash + 3] ?? "").split(",").filter((option) => option !== ""),
    });
  }
  return mounts;
}

/** In the order in which they were mounted: of two on one mount point the later one is seen. */
export async function readMounts(host: HostPaths = thisHost): Promise<Mount[]> {
  return parseMountInfo((await readHead(`${host.proc}/self/mountinfo`, maxBytes))?.toString("utf8") ?? "");
}
