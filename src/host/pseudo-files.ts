/** Reading the small text files of sysfs and procfs. */
import { constants } from "node:fs";
import { open, readdir, readFile, readlink } from "node:fs/promises";
import { hasErrno } from "../core/errors.ts";

/** A file or its object may vanish between listing and reading; ENODEV and ESRCH are how the kernel says so. */
const gone = new Set(["ENOENT", "ENOTDIR", "ENODEV", "ESRCH", "EINVAL"]);
const forbidden = new Set(["EACCES", "EPERM"]);

/** A pseudo file's text without the last newline, or undefined when it is not there or not readable. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, "latin1")).replace(/\n$/, "");
  } catch (error) {
    if (hasErrno(error) && (gone.has(error.code) || forbidden.has(error.code))) return undefined;
    throw error;
  }
}

/** `0` and `1` as a boolean; undefined when the file is missing or holds something else. */
export async function readFlag(path: string): Promise<boolean | undefined> {
  const text = await readText(path);
  return text === "1" || text === "Y" ? true : text === "0" || text === "N" ? false : undefined;
}

/** A decimal integer (also negative); undefined when the file is missing or holds something else. */
export async function readInteger(path: string): Promise<number | undefined> {
  const text = (await readText(path))?.trim();
  return text !== undefined && /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Names of the folders in a pseudo folder, sorted; undefined when it is not there. */
export async function listFolders(path: string): Promise<string[] | undefined> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if (hasErrno(error) && (gone.has(error.code) || forbidden.has(error.code))) return undefined;
    throw error;
  }
}

/**
 * The beginning of a file whose size or kind nothing vouches for: never more than `maxBytes`, and never waits
 * for the writer of a pipe.
 *
 * @returns undefined when there is no such file
 * @throws the system error, EACCES and EPERM included, so that a caller can say what it could not look at
 */
export async function readHead(path: string, maxBytes: number, from = 0): Promise<Buffer | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const chunks: Buffer[] = [];
    for (let length = 0; length < maxBytes; ) {
      const chunk = Buffer.alloc(Math.min(64 * 1024, maxBytes - length));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, from + length);
      if (bytesRead === 0) break;
      chunks.push(chunk.subarray(0, bytesRead));
      length += bytesRead;
    }
    return Buffer.concat(chunks);
  } catch (error) {
    if (hasErrno(error) && gone.has(error.code)) return undefined;
    throw error;
  }
}

/**
 * Names of everything in a pseudo folder, links included, sorted; empty when it is not there.
 *
 * @throws the system error, EACCES and EPERM included
 */
export async function listNames(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (hasErrno(error) && gone.has(error.code)) return [];
    throw error;
  }
}

/** The last part of where a link points, such as a device's driver; undefined when there is no such link. */
export async function linkName(path: string): Promise<string | undefined> {
  try {
    return (await readlink(path)).split("/").at(-1);
  } catch (error) {
    if (hasErrno(error) && (gone.has(error.code) || forbidden.has(error.code))) return undefined;
    throw error;
  }
}

/** True for errors that mean "not for this user". */
export function isForbidden(error: unknown): boolean {
  return hasErrno(error) && forbidden.has(error.code);
}
