import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
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

/**
 * The address of a symbol of vmlinux in the running kernel; undefined where it has none of that name, or does
 * not tell this process (kptr_restrict; variables only with CONFIG_KALLSYMS_ALL).
 */
export async function kernelSymbolAddress(
  name: string,
  host: HostPaths = thisHost,
): Promise<bigint | undefined> {
  const text = await readFile(`${host.proc}/kallsyms`).catch(() => undefined);
  // Behind the name of a module's symbol stands the module.
  const at = text?.indexOf(` ${name}\n`) ?? -1;
  if (text === undefined || at < 0) return undefined;
  const line = text.toString("latin1", text.lastIndexOf("\n", at) + 1, at);
  const address = /^[0-9a-f]{1,16}(?= \S$)/.exec(line)?.[0];
  // Zero stands for what this process may not see.
  return address === undefined || BigInt(`0x${address}`) === 0n ? undefined : BigInt(`0x${address}`);
}
