import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { type HostPaths, thisHost } from "./paths.ts";

/**
 * Which of some symbols the running kernel has, by /proc/kallsyms; undefined where that cannot be read.
 * Names are there for everybody, addresses for root only.
 */
export async function runningKernelSymbols(
  names: ReadonlySet<string>,
  host: HostPaths = thisHost,
): Promise<Set<string> | undefined> {
  const found = new Set<string>();
  let lines = 0;
  try {
    // "ffffffff81000000 T _text", and behind the name of a module's symbol "\t[module]"
    for await (const line of createInterface({
      input: createReadStream(`${host.proc}/kallsyms`, "latin1"),
    })) {
      lines++;
      const name = line.slice(line.lastIndexOf(" ") + 1);
      if (names.has(name)) found.add(name);
      if (found.size === names.size) break;
    }
  } catch {
    return undefined;
  }
  return lines === 0 ? undefined : found;
}
