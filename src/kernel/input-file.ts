import { constants, open } from "node:fs/promises";
import { hasErrno, RekernelError } from "../core/errors.ts";

/** No kernel image or module comes near this, debug information included. */
const maxInputBytes = 2 ** 31 - 1;

/**
 * Reads a whole input file: a regular file of a sane size, or a clear reason why not.
 *
 * @param what how messages call it: "kernel image"
 * @throws RekernelError RK-FILE (1), RK-PERMISSION (5)
 */
export async function readInputFile(path: string, what: string): Promise<Uint8Array> {
  const fail = (reason: string, hint: string, cause?: unknown) =>
    new RekernelError("failed", "RK-FILE", `Cannot read the ${what} ${path}: ${reason}.`, { hint, cause });
  try {
    // Opening a FIFO would wait for a writer.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat();
      if (stat.isDirectory()) throw fail("it is a folder", `Give the path of the ${what} itself.`);
      if (!stat.isFile()) throw fail("it is not a regular file", `Give the path of the ${what} itself.`);
      if (stat.size > maxInputBytes)
        throw fail("it is larger than 2 GiB", `Give the path of the ${what} itself.`);
      if (stat.size === 0) throw fail("it is empty", "Get it again from where it came.");
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!hasErrno(error) || error instanceof RekernelError) throw error;
    if (error.code === "ENOENT" || error.code === "ENOTDIR")
      throw fail("there is no such file", "Check the path.", error);
    if (error.code === "EACCES" || error.code === "EPERM")
      throw new RekernelError(
        "machineCannot",
        "RK-PERMISSION",
        `Cannot read the ${what} ${path}: permission denied.`,
        { hint: "Run the command as a user who may read it, for example with sudo.", cause: error },
      );
    throw fail(error.message, "Check the file system.", error);
  }
}
