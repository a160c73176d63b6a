/** Where this machine's memory is, as the firmware said and as the running kernel sees it. */
import { parseMemmapEntry } from "../formats/firmware-memmap.ts";
import { type IomemLine, isHiddenIomem, parseIomem } from "../formats/iomem.ts";
import type { MemoryRange } from "../formats/memory-map.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { listFolders, readText } from "./pseudo-files.ts";

/** The firmware's map as the kernel got it at boot, unordered; undefined for a kernel that does not show it. */
export async function readFirmwareMemmap(host: HostPaths = thisHost): Promise<MemoryRange[] | undefined> {
  const folder = `${host.sys}/firmware/memmap`;
  const names = await listFolders(folder);
  if (names === undefined) return undefined;
  const entries = await Promise.all(
    names.map(async (name) => {
      const [start, end, type] = await Promise.all(
        ["start", "end", "type"].map(async (file) => readText(`${folder}/${name}/${file}`)),
      );
      return parseMemmapEntry(start ?? "", end ?? "", type ?? "");
    }),
  );
  // Half a map would call reserved memory free, or hide RAM from the next kernel.
  return entries.length > 0 && entries.every((entry) => entry !== undefined) ? entries : undefined;
}

/**
 * /proc/iomem; undefined where it is not there, or shows no addresses because this process lacks CAP_SYS_ADMIN.
 *
 * @throws RekernelError RK-BAD-MEMORY-MAP (1)
 */
export async function readIomem(host: HostPaths = thisHost): Promise<IomemLine[] | undefined> {
  const path = `${host.proc}/iomem`;
  const text = await readText(path);
  if (text === undefined) return undefined;
  const lines = parseIomem(text, path);
  return lines.length === 0 || isHiddenIomem(lines) ? undefined : lines;
}
