import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hasErrno, RekernelError } from "./errors.ts";

/**
 * Writes a file whole or not at all: temporary file in the same directory, fsync, rename.
 *
 * @throws RekernelError RK-DISK-FULL (1), RK-WRITE (1)
 */
export async function writeFileAtomic(path: string, data: Uint8Array | string, mode = 0o644): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(temporary, "wx", mode);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw writeError(path, error);
  }
}

/** Turns a failed write into the error a user can act on. */
export function writeError(path: string, error: unknown): unknown {
  if (!hasErrno(error)) return error;
  if (error.code === "ENOSPC" || error.code === "EDQUOT")
    return new RekernelError("failed", "RK-DISK-FULL", `No space left to write ${path}.`, {
      hint: "Free some space there. The cache moves with XDG_CACHE_HOME, temporary files with TMPDIR.",
      cause: error,
    });
  return new RekernelError("failed", "RK-WRITE", `Cannot write ${path}: ${error.message}.`, { cause: error });
}
