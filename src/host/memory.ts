/** What /proc/meminfo says, in bytes. Source: Documentation/filesystems/proc.rst, fs/proc/meminfo.c. */
import { type HostPaths, thisHost } from "./paths.ts";
import { readHead } from "./pseudo-files.ts";

/** Bytes by the kernel's names: `Dirty`, `HardwareCorrupted`. Lines in another form are passed over. */
export function parseMemoryInfo(text: string): Map<string, number> {
  const bytes = new Map<string, number>();
  for (const [, name, kilobytes] of text.matchAll(/^([\w()]{1,64}): +(\d{1,12}) kB$/gm))
    bytes.set(name!, Number(kilobytes) * 1024);
  return bytes;
}

export async function readMemoryInfo(host: HostPaths = thisHost): Promise<Map<string, number>> {
  return parseMemoryInfo((await readHead(`${host.proc}/meminfo`, 64 * 1024))?.toString("latin1") ?? "");
}
