/** Reading the small text files of sysfs and procfs. */
import { readdir, readFile } from "node:fs/promises";
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
