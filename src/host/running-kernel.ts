import { type HostPaths, thisHost } from "./paths.ts";
import { readText } from "./pseudo-files.ts";

/** The kernel that this process runs on. */
export interface RunningKernel {
  /** As `uname -r` prints it. */
  release: string;
  /** As `uname -v` prints it: build number and date, on Debian the package version too. */
  version: string;
  /** Random for each boot: the same id means the same boot. */
  bootId: string;
  /** What the kernel was started with, without the last newline. */
  commandLine: string;
}

/** Source: Documentation/admin-guide/sysctl/kernel.rst; fs/proc/cmdline.c. */
export async function runningKernel(host: HostPaths = thisHost): Promise<RunningKernel> {
  const [release, version, bootId, commandLine] = await Promise.all([
    readText(`${host.proc}/sys/kernel/osrelease`),
    readText(`${host.proc}/sys/kernel/version`),
    readText(`${host.proc}/sys/kernel/random/boot_id`),
    readText(`${host.proc}/cmdline`),
  ]);
  return {
    release: release ?? "unknown",
    version: version ?? "unknown",
    bootId: bootId ?? "unknown",
    commandLine: commandLine ?? "",
  };
}
