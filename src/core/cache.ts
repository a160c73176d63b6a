import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * Folder that holds everything rekernel keeps between runs: packages, kernels, trees.
 * `$XDG_CACHE_HOME/rekernel`, else `~/.cache/rekernel`. Safe to delete at any time.
 */
export function cacheRoot(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base?.startsWith("/") ? base : join(homedir(), ".cache"), "rekernel");
}

/** A folder below the cache, created when missing. */
export async function cacheFolder(...names: string[]): Promise<string> {
  const folder = join(cacheRoot(), ...names);
  await mkdir(folder, { recursive: true });
  return folder;
}
