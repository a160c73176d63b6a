/** Leaving the running kernel. */
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { syscallNumber } from "./arch/x86_64.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { syscall } from "./syscall.ts";

/** From include/uapi/linux/reboot.h. */
const LINUX_REBOOT_MAGIC1 = 0xfee1dead;
const LINUX_REBOOT_MAGIC2 = 672274793;
const LINUX_REBOOT_CMD_KEXEC = 0x45584543;
const LINUX_REBOOT_CMD_RESTART = 0x01234567;

/** Writes out all file systems and waits until they are written. */
export async function sync(): Promise<void> {
  await syscall("sync", syscallNumber.sync);
}

/**
 * Reboots through the firmware, at once. Does not return when it works.
 *
 * @throws SyscallError
 */
export async function rebootMachine(): Promise<void> {
  await syscall(
    "reboot",
    syscallNumber.reboot,
    LINUX_REBOOT_MAGIC1,
    LINUX_REBOOT_MAGIC2,
    LINUX_REBOOT_CMD_RESTART,
    0,
  );
}

/**
 * Jumps into the kernel that is loaded. Does not return when it works; services are not stopped.
 *
 * @throws SyscallError (EINVAL: nothing is loaded; EPERM: CAP_SYS_BOOT is missing)
 */
export async function rebootKexec(): Promise<never> {
  await syscall(
    "reboot",
    syscallNumber.reboot,
    LINUX_REBOOT_MAGIC1,
    LINUX_REBOOT_MAGIC2,
    LINUX_REBOOT_CMD_KEXEC,
    0,
  );
  throw new Error("reboot(LINUX_REBOOT_CMD_KEXEC) came back");
}

/** Mount points of file systems on block devices that are still writable, from the text of /proc/mounts. */
export function writableBlockMounts(mounts: string): string[] {
  return mounts
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([device, , , options]) => device?.startsWith("/dev/") && options?.split(",").includes("rw"))
    .map(([, mountPoint]) => mountPoint!);
}

/**
 * Makes every file system on a block device read-only through the kernel's emergency remount (SysRq u),
 * which works whoever holds files open, and waits for it.
 *
 * @returns mount points that are still writable after `timeoutMs`
 */
export async function remountReadOnly(timeoutMs = 10_000, host: HostPaths = thisHost): Promise<string[]> {
  const writable = async () => writableBlockMounts(await readFile(`${host.proc}/self/mounts`, "latin1"));
  let left = await writable();
  if (left.length === 0) return left;
  await writeFile(`${host.proc}/sysrq-trigger`, "u");
  const endMs = performance.now() + timeoutMs;
  while (left.length > 0 && performance.now() < endMs) {
    await sleep(50);
    left = await writable();
  }
  return left;
}
