/**
 * What rekernel remembers between loading a kernel and jumping into it: a file in /run that root alone may
 * read, and that counts for the boot in which it was written.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../core/files.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { readText } from "../host/pseudo-files.ts";
import { runningKernel } from "../host/running-kernel.ts";
import type { ExpectedImage } from "./purgatory/loaded.ts";
import type { DigestKind } from "./purgatory/request.ts";

export interface LoadedRecord {
  release?: string | undefined;
  /** Path of the image. */
  image: string;
  commandLine: string;
  /** How the purgatory verifies. */
  digest: DigestKind;
  /** What was handed to kexec_load. */
  expected: ExpectedImage;
}

const version = 1;
const pathOf = (host: HostPaths) => join(host.run, "rekernel/kexec-loaded.json");

/** @throws RekernelError RK-WRITE, RK-DISK-FULL (1) */
export async function rememberLoaded(record: LoadedRecord, host: HostPaths = thisHost): Promise<void> {
  const { bootId } = await runningKernel(host);
  await mkdir(join(host.run, "rekernel"), { recursive: true, mode: 0o700 });
  await writeFileAtomic(pathOf(host), `${JSON.stringify({ version, bootId, ...record })}\n`, 0o600);
}

export async function forgetLoaded(host: HostPaths = thisHost): Promise<void> {
  await rm(pathOf(host), { force: true }).catch(() => {});
}

/** Undefined where nothing is remembered of this boot, or another version of rekernel wrote it. */
export async function recallLoaded(host: HostPaths = thisHost): Promise<LoadedRecord | undefined> {
  const text = await readText(pathOf(host));
  if (text === undefined) return undefined;
  try {
    const found = JSON.parse(text);
    const { bootId } = await runningKernel(host);
    return found.version === version && found.bootId === bootId && Array.isArray(found.expected?.segments)
      ? found
      : undefined;
  } catch {
    return undefined;
  }
}
