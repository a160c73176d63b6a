import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { type HostPaths, thisHost } from "./paths.ts";

/** A compressed configuration is about 60 KB; a hundred times that is no configuration. */
const maxConfigBytes = 8 * 2 ** 20;

/** Options of a kernel's configuration by name, such as `CONFIG_LIVEPATCH` => `y`. Unset options are absent. */
export type KernelConfig = ReadonlyMap<string, string>;

/** Reads `CONFIG_X=value` lines; everything else (comments, "is not set") is passed over. */
export function parseKernelConfig(text: string): KernelConfig {
  const options = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)) options.set(name!, value!);
  return options;
}

/**
 * The running kernel's configuration, from the kernel itself (CONFIG_IKCONFIG_PROC) or from where
 * distributions put it; undefined where neither is readable.
 */
export async function runningKernelConfig(
  release: string,
  host: HostPaths = thisHost,
): Promise<KernelConfig | undefined> {
  try {
    const unpack = promisify(gunzip);
    const text = await unpack(await readFile(`${host.proc}/config.gz`), { maxOutputLength: maxConfigBytes });
    return parseKernelConfig(text.toString("latin1"));
  } catch {}
  for (const path of [`/boot/config-${release}`, `/lib/modules/${release}/config`]) {
    try {
      return parseKernelConfig(await readFile(path, "latin1"));
    } catch {}
  }
  return undefined;
}
