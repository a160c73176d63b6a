/** Files that exist in memory only, for system calls that take file descriptors. */
import { closeSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { syscallNumber } from "./arch/x86_64.ts";
import { SyscallError, syscall } from "./syscall.ts";

/** include/uapi/linux/memfd.h */
const MFD_CLOEXEC = 0x1;
const MFD_NOEXEC_SEAL = 0x8;

/**
 * A file in memory with these bytes, one chunk behind the other, open for reading only. It has no name and
 * goes when the handle is closed.
 *
 * @param name shown in /proc/PID/fd, for whoever looks there
 * @throws RekernelError RK-NO-MEMORY (1)
 */
export async function memoryFile(name: string, chunks: readonly Uint8Array[]): Promise<FileHandle> {
  try {
    return await fill(await create(name), chunks);
  } catch (error) {
    if (!hasErrno(error) || error instanceof RekernelError) throw error;
    throw new RekernelError(
      "failed",
      "RK-NO-MEMORY",
      `The ${name} cannot be put into a file in memory (${error.code}).`,
      { hint: "Free some memory, or use smaller initrds.", cause: error },
    );
  }
}

async function create(name: string): Promise<number> {
  const make = async (flags: number) =>
    Number(await syscall("memfd_create", syscallNumber.memfd_create, name, flags));
  try {
    // With vm.memfd_noexec=2 nothing else is allowed.
    return await make(MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  } catch (error) {
    // Before 6.3.
    if (error instanceof SyscallError && error.code === "EINVAL") return make(MFD_CLOEXEC);
    throw error;
  }
}

async function fill(writable: number, chunks: readonly Uint8Array[]): Promise<FileHandle> {
  try {
    for (const chunk of chunks)
      for (let done = 0; done < chunk.length; )
        done += writeSync(writable, chunk, done, Math.min(chunk.length - done, 1 << 30));
    // For reading only, as kexec_file_load demands of files on disks (deny_write_access).
    return await open(`/proc/self/fd/${writable}`, "r");
  } finally {
    closeSync(writable);
  }
}
