/** Collecting what an initrd is made of: out of the image, from files, from a folder. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { initramfsDefect } from "../formats/initramfs.ts";
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
  /** What is wrong with them, in full sentences: the kernel finds out after the jump. */
  notes: readonly string[];
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
    const { bytes, defect } = await lookAt(only);
    return { file: only, parts: [{ from: only, bytes }], bytes, notes: noteOn(only, defect) };
  }
  for (const path of initrds) parts.push({ from: path, data: await readInputFile(path, "initrd") });
  if (overlay !== undefined) parts.push({ from: `overlay ${overlay}`, data: await overlayArchive(overlay) });
  const chunks = joinInitrds(parts);
  return {
    file: parts.length === 0 ? undefined : chunks,
    parts: parts.map(({ from, data }) => ({ from, bytes: data.length })),
    bytes: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    notes: parts.flatMap(({ from, data }) =>
      noteOn(
        from,
        initramfsDefect(data.length, (at, size) => data.subarray(at, at + size)),
      ),
    ),
  };
}

function noteOn(name: string, defect: string | undefined): string[] {
  return defect === undefined ? [] : [`The initrd ${name} ${defect}.`];
}

/** The kernel reads it by itself: here only its outside is looked at. */
async function lookAt(path: string): Promise<{ bytes: number; defect: string | undefined }> {
  const fail = (reason: string, cause?: unknown) =>
    new RekernelError("failed", "RK-FILE", `Cannot read the initrd ${path}: ${reason}.`, {
      hint: "Check the path.",
      cause,
    });
  let file: number;
  try {
    // Opening a FIFO would wait for a writer.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw hasErrno(error) ? fail(error.message, error) : error;
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile()) throw fail("it is not a file");
    if (found.size === 0) throw fail("it is empty");
    const defect = initramfsDefect(found.size, (at, size) => {
      const bytes = Buffer.alloc(size);
      return bytes.subarray(0, readSync(file, bytes, 0, size, at));
    });
    return { bytes: found.size, defect };
  } catch (error) {
    throw hasErrno(error) && !(error instanceof RekernelError) ? fail(error.message, error) : error;
  } finally {
    closeSync(file);
  }
}
