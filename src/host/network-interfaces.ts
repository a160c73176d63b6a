/** Network interfaces of this machine, by /sys/class/net. */
import { writeFile } from "node:fs/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { listNames, readText } from "./pseudo-files.ts";

/** IFF_UP of include/uapi/linux/if.h. */
const IFF_UP = 1;

/**
 * Takes every interface but the loopback down, as `ip link set … down` does: what a network card still
 * receives then reaches no memory of the next kernel. Source: net/core/net-sysfs.c flags_store.
 *
 * @returns one sentence for each that stayed up; goes on with the others
 */
export async function takeInterfacesDown(host: HostPaths = thisHost): Promise<string[]> {
  const folder = `${host.sys}/class/net`;
  const problems: string[] = [];
  for (const name of await listNames(folder)) {
    if (name === "lo") continue;
    const path = `${folder}/${name}/flags`;
    const flags = Number(await readText(path));
    if (!Number.isInteger(flags) || (flags & IFF_UP) === 0) continue;
    await writeFile(path, `0x${(flags & ~IFF_UP).toString(16)}`).catch((error: Error) => {
      problems.push(`The network interface ${name} stays up: ${error.message}.`);
    });
  }
  return problems;
}
