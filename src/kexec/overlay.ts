/** Files of this machine as an archive that is unpacked over the initrd. */
import { constants } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { type CpioEntry, cpioArchive } from "../formats/cpio.ts";

/** Keys and configuration, not a root file system: it all lies in memory at once. */
const maxBytes = 256 << 20;
const maxEntries = 100_000;

/** In an initrd with merged /usr these are links, which the kernel would replace by the overlay's folders. */
const usrLinks = new Set(["bin", "sbin", "lib", "lib32", "lib64", "libx32"]);

/**
 * The content of a folder as an uncompressed cpio archive: files, folders and symbolic links, owned by root,
 * with their permission bits. Nothing is written anywhere.
 *
 * @throws RekernelError RK-OVERLAY (4) for devices, sockets and pipes, for too much, and for folders that
 *   would hide /usr; RK-FILE (1), RK-PERMISSION (5) for what cannot be read
 */
export async function overlayArchive(folder: string): Promise<Uint8Array> {
  const entries: CpioEntry[] = [];
  let bytes = 0;
  const add = async (path: string): Promise<void> => {
    const source = join(folder, path);
    const status = await lstat(source);
    if (entries.length >= maxEntries)
      throw refuse(`${folder} holds more than ${maxEntries} files`, "Put less into it.");
    const mode = status.mode & 0o7777;
    if (status.isSymbolicLink()) entries.push({ kind: "symlink", path, target: await readlink(source) });
    else if (status.isFile()) {
      const tooLarge = () =>
        refuse(`${folder} holds more than ${maxBytes >> 20} MiB`, "Build a second initrd, and give both.");
      if (bytes + status.size > maxBytes) throw tooLarge();
      const data = await readWhole(source);
      bytes += data.length;
      if (bytes > maxBytes) throw tooLarge();
      entries.push({ kind: "file", path, mode, data });
    } else if (status.isDirectory()) {
      if (usrLinks.has(path))
        throw refuse(
          `${source} would take the place of the link ${path} -> usr/${path} that initrds have, and nothing in it would start`,
          `Put its content below ${join(folder, "usr", path)}.`,
        );
      entries.push({ kind: "directory", path, mode });
      for (const name of await namesIn(source)) await add(`${path}/${name}`);
    } else
      throw refuse(
        `${source} is a device, a socket or a pipe`,
        "Only files, folders and symbolic links can be laid over an initrd.",
      );
  };
  try {
    if (!(await lstat(join(folder, "."))).isDirectory())
      throw new RekernelError("failed", "RK-FILE", `The overlay ${folder} is not a folder.`);
    for (const name of await namesIn(folder)) await add(name);
    return cpioArchive(entries);
  } catch (error) {
    throw readable(error, folder);
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort();
}

/** Neither follows a link nor waits for a writer when the file has been swapped meanwhile. */
async function readWhole(path: string): Promise<Uint8Array> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw refuse(`${path} changed while it was read`, "Try again.");
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function refuse(reason: string, hint: string): RekernelError {
  return new RekernelError("refused", "RK-OVERLAY", `Cannot lay it over the initrd: ${reason}.`, { hint });
}

function readable(error: unknown, folder: string): unknown {
  if (error instanceof RangeError) return refuse(error.message, "Use a shorter path.");
  if (!hasErrno(error) || error instanceof RekernelError) return error;
  const message = `Cannot read the overlay ${error.path ?? folder}: ${error.message}.`;
  if (error.code === "EACCES" || error.code === "EPERM")
    return new RekernelError("machineCannot", "RK-PERMISSION", message, {
      hint: "Run the command as a user who may read it, for example with sudo.",
      cause: error,
    });
  return new RekernelError("failed", "RK-FILE", message, { hint: "Check the path.", cause: error });
}
