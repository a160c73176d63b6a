/** Collecting what an initrd is made of: out of the image, from files, from a folder. */
import { stat } from "node:fs/promises";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { type UkiProfile, ukiSection } from "../formats/uki.ts";
import type { KexecFile } from "../host/kexec.ts";
import { readInputFile } from "../kernel/input-file.ts";
import { type InitrdPart, joinInitrds } from "./initrd.ts";
import { overlayArchive } from "./overlay.ts";

export interface InitrdRequest {
  /** The image that the profile is of, for messages. */
  image: string;
  initrds?: readonly string[] | undefined;
  overlay?: string | undefined;
}

export interface PreparedInitrd {
  /** Undefined where there is none. */
  file: KexecFile | undefined;
  parts: { from: string; bytes: number }[];
  bytes: number;
}

/**
 * systemd-stub's order: .ucode, then .initrd, then what is added.
 *
 * @param byKernel a single file may stay a path, which the kernel reads by itself
 * @throws RekernelError RK-FILE (1), RK-INITRD-ORDER, RK-OVERLAY (4), RK-PERMISSION (5)
 */
export async function prepareInitrd(
  { image, overlay, initrds = [] }: InitrdRequest,
  profile: UkiProfile | undefined,
  byKernel: boolean,
): Promise<PreparedInitrd> {
  const parts: InitrdPart[] = [];
  for (const name of [".ucode", ".initrd"] as const) {
    const data = profile && ukiSection(profile, name);
    if (data && data.length > 0) parts.push({ from: `${name} of ${image}`, data });
  }
  const [only] = initrds;
  if (byKernel && parts.length === 0 && overlay === undefined && initrds.length === 1 && only !== undefined) {
    const bytes = await initrdSize(only);
    return { file: only, parts: [{ from: only, bytes }], bytes };
  }
  for (const path of initrds) parts.push({ from: path, data: await readInputFile(path, "initrd") });
  if (overlay !== undefined) parts.push({ from: `overlay ${overlay}`, data: await overlayArchive(overlay) });
  const chunks = joinInitrds(parts);
  return {
    file: parts.length === 0 ? undefined : chunks,
    parts: parts.map(({ from, data }) => ({ from, bytes: data.length })),
    bytes: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
  };
}

/** Only its size matters here: the kernel reads it, and nobody checks what is in it. */
async function initrdSize(path: string): Promise<number> {
  const found = await stat(path).catch((cause: unknown) => {
    throw hasErrno(cause)
      ? new RekernelError("failed", "RK-FILE", `Cannot read the initrd ${path}: ${cause.message}.`, {
          hint: "Check the path.",
          cause,
        })
      : cause;
  });
  if (!found.isFile()) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is not a file.`);
  if (found.size === 0) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is empty.`);
  return found.size;
}
