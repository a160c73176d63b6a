/** What a report says of the kernel's source. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { writeFileAtomic } from "../../../core/files.ts";
import type { TargetKernel } from "../../../kernel/target.ts";
import type { KernelTrees } from "./trees.ts";

/**
 * SHA-256 of the tarball that the prepared trees were unpacked from; kept beside them, for it takes a while.
 *
 * @returns undefined for a source that is a folder: its files may change at any time, and no one digest holds for it
 */
export async function sourceDigest(
  { source }: Pick<TargetKernel, "source">,
  { store }: Pick<KernelTrees, "store">,
  signal?: AbortSignal,
): Promise<{ name: string; sha256: string } | undefined> {
  if (source.kind !== "tarball") return undefined;
  // The key of the trees' folder holds the tarball's name, size and time.
  const kept = join(store, "source.sha256");
  const known = await readFile(kept, "utf8").catch(() => "");
  if (/^[0-9a-f]{64}$/.test(known)) return { name: source.path, sha256: known };
  const hash = createHash("sha256");
  await pipeline(createReadStream(source.path), hash, { signal });
  const sha256 = hash.digest("hex");
  await writeFileAtomic(kept, sha256);
  return { name: source.path, sha256 };
}
