/** Taking file systems out of the tree. */
import { setTimeout as sleep } from "node:timers/promises";
import { runTool } from "../core/tools.ts";
import { syscallNumber } from "./arch/x86_64.ts";
import { type Mount, readMounts } from "./mounts.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { SyscallError, syscall } from "./syscall.ts";

/** What the kernel makes up itself: nothing there is lost, and much needs it until the end. */
const kernelTypes = new Set(
  (
    "proc sysfs devtmpfs devpts cgroup cgroup2 securityfs debugfs tracefs configfs pstore efivarfs bpf mqueue " +
    "hugetlbfs fusectl binfmt_misc autofs rpc_pipefs nsfs rootfs tmpfs ramfs selinuxfs"
  ).split(" "),
);

/** In which order file systems are taken out when everything goes: later mounts first, `/` not at all. */
export function unmountOrder(mounts: readonly Mount[]): Mount[] {
  return mounts.filter(({ type, mountPoint }) => !kernelTypes.has(type) && mountPoint !== "/").toReversed();
}

/** @throws SyscallError; EBUSY while something has it open */
async function unmountNow(mountPoint: string): Promise<void> {
  await syscall("umount2", syscallNumber.umount2, mountPoint, 0);
}

/**
 * Takes out what nothing holds any more. Twice over, since one may hold another; what is left stays mounted.
 *
 * @returns mount points that are gone, and those that stayed
 */
export async function unmountAll(host: HostPaths = thisHost): Promise<{ gone: string[]; busy: string[] }> {
  const gone: string[] = [];
  for (let round = 0; round < 2; round++)
    for (const { mountPoint, type } of unmountOrder(await readMounts(host))) {
      const done = isOverNetwork(type)
        ? (await unmountPatiently(mountPoint, 10_000)) !== "busy"
        : await unmountNow(mountPoint).then(
            () => true,
            (error) => {
              if (error instanceof SyscallError) return false;
              throw error;
            },
          );
      if (done) gone.push(mountPoint);
    }
  return { gone, busy: unmountOrder(await readMounts(host)).map(({ mountPoint }) => mountPoint) };
}

const overNetwork =
  /^(nfs4?|cifs|smb3|smbfs|ceph|9p|afs|coda|lustre|orangefs|beegfs|glusterfs|ocfs2|gfs2|fuse\..+)$/;
const isOverNetwork = (type: string) => overNetwork.test(type);

/** How a file system went: by itself; without its server, which did not answer; or not, as something uses it. */
export type Unmounted = "unmounted" | "detached" | "busy";

/**
 * Unmounts a file system whose server may not answer, for which the system call waits without end: the umount
 * program does it, in a process of its own. Where the server is silent, its requests are given up (`umount -f`)
 * and then the mount is detached (`-l`): what it could not write by then it never could.
 *
 * @param patienceMs how long a server may take
 */
export async function unmountPatiently(mountPoint: string, patienceMs: number): Promise<Unmounted> {
  const plain = await within(patienceMs, runTool("umount", ["--", mountPoint]));
  if (plain !== undefined) return plain.exitCode === 0 ? "unmounted" : "busy";
  await within(patienceMs, runTool("umount", ["-f", "--", mountPoint]));
  const detached = await within(patienceMs, runTool("umount", ["-l", "--", mountPoint]));
  return detached?.exitCode === 0 ? "detached" : "busy";
}

/** A process that hangs in the kernel cannot be ended: it is left alone. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([
      work,
      sleep(ms, undefined, { signal: timer.signal, ref: false }).catch(() => undefined),
    ]);
  } finally {
    timer.abort();
  }
}
