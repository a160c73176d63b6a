/** Files of a system that boots: read whole, of a sane size, and found where a boot loader would look for them. */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { hasErrno, RekernelError } from "../../core/errors.ts";

/** No configuration of a boot loader comes near it; GRUB itself reads no larger entry. */
const maxConfigBytes = 1024 * 1024;
const maxNames = 1000;

const notThere = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

/** What a path that a boot loader uses means on this system. */
export interface BootPath {
  path: string;
  isThere: boolean;
}

export class BootFiles {
  /** The system's root as an absolute path. */
  readonly root: string;
  /** Paths that this user may not read. */
  readonly denied: string[] = [];

  /** @throws RekernelError RK-FILE (1) where the root is no folder */
  constructor(root: string) {
    this.root = resolve(root);
    if (statSync(this.root, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw new RekernelError("failed", "RK-FILE", `${root} is not a folder.`, {
        hint: "Give the root of the system whose kernels are meant, such as / or /mnt.",
      });
  }

  /**
   * A small file as bytes; undefined where there is none, or none that this user may read.
   *
   * @throws RekernelError RK-BOOT-CONFIG (1) where it is too large or no regular file
   */
  readBytes(path: string): Buffer | undefined {
    return this.#unlessDenied(path, () => {
      // Opening a FIFO would wait for a writer.
      const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const stat = fstatSync(file);
        if (!stat.isFile() || stat.size > maxConfigBytes)
          throw new RekernelError(
            "failed",
            "RK-BOOT-CONFIG",
            `Cannot read ${path}: it is ${stat.isFile() ? "larger than 1 MiB" : "not a regular file"}.`,
          );
        return readFileSync(file);
      } finally {
        closeSync(file);
      }
    });
  }

  /** The same as text; what is no UTF-8 becomes U+FFFD. */
  read(path: string): string | undefined {
    return this.readBytes(path)?.toString("utf8");
  }

  /** Names in a folder, sorted; none where there is no such folder. */
  list(path: string): string[] {
    return this.#unlessDenied(path, () => readdirSync(path).sort().slice(0, maxNames)) ?? [];
  }

  isFile(path: string): boolean {
    return this.#unlessDenied(path, () => statSync(path).isFile()) ?? false;
  }

  isFolder(path: string): boolean {
    return this.#unlessDenied(path, () => statSync(path).isDirectory()) ?? false;
  }

  /** The root of the file system that holds a folder: what a boot loader takes for `/`. */
  partitionOf(folder: string): string {
    let at = folder;
    while (at !== this.root && at !== "/") {
      const above = dirname(at);
      if (this.#device(above) !== this.#device(at)) break;
      at = above;
    }
    return at;
  }

  /**
   * The file that a boot loader means by a path from a partition's root.
   *
   * @param partitions where that root may be, the likeliest first
   * @returns undefined for a path that leads out of the partition
   */
  find(path: string, partitions: readonly string[]): BootPath | undefined {
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    if (parts.length === 0 || parts.includes("..") || path.includes("\0")) return undefined;
    // GRUB names a btrfs subvolume as a folder, which is not seen where that subvolume is mounted.
    const choices = parts[0]!.startsWith("@") && parts.length > 1 ? [parts, parts.slice(1)] : [parts];
    const paths = partitions.flatMap((partition) => choices.map((choice) => join(partition, ...choice)));
    const found = paths.find((candidate) => this.isFile(candidate));
    return { path: found ?? paths[0]!, isThere: found !== undefined };
  }

  #device(path: string): number | undefined {
    return this.#unlessDenied(path, () => statSync(path).dev);
  }

  #unlessDenied<T>(path: string, work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (error instanceof RekernelError || !hasErrno(error)) throw error;
      if (error.code === "EACCES" || error.code === "EPERM") this.denied.push(path);
      else if (!notThere.has(error.code)) throw error;
      return undefined;
    }
  }
}
