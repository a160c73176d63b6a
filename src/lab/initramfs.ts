import { readdir, readFile, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, posix } from "node:path";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { runToolOk } from "../core/tools.ts";
import { type CpioEntry, cpioArchive } from "../formats/cpio.ts";
import { agentScript, type GuestSetup, initScript, jobScript } from "./guest-scripts.ts";
import type { LoadableModule } from "./kernel-modules.ts";

/** Files for a guest: absolute guest path -> a host file or folder (copied whole), or the bytes themselves. */
export type GuestFiles = Readonly<Record<string, string | Uint8Array>>;

/** Everything that goes into one kernel's initramfs. */
export interface InitramfsContents {
  busybox: string;
  setup: GuestSetup;
  modules: readonly LoadableModule[];
  files: readonly CpioEntry[];
}

/**
 * The initramfs that brings the agent up: busybox, the modules, the scripts and the user's files.
 * Uncompressed, since under TCG a guest decompresses slower than it reads.
 */
export async function guestInitramfs(contents: InitramfsContents): Promise<Uint8Array> {
  const { busybox, setup } = contents;
  const tree = new ArchiveTree();
  for (const folder of ["dev", "proc", "sys", "tmp", "run", "lab", "root"]) tree.addFolder(folder);
  tree.add({ kind: "device", path: "dev/console", type: "char", major: 5, minor: 1 });
  tree.add({ kind: "file", path: "bin/busybox", mode: 0o755, data: await readFile(busybox) });
  for (const applet of await appletsOf(busybox))
    tree.add({ kind: "symlink", path: `bin/${applet}`, target: "busybox" });
  tree.add({ kind: "symlink", path: "sbin", target: "bin" });
  tree.add({ kind: "file", path: "init", mode: 0o755, data: Buffer.from(initScript(setup)) });
  tree.add({ kind: "file", path: "rekernel/job", data: Buffer.from(jobScript(setup.hostRoot)) });
  if (setup.ownSystem)
    tree.add({ kind: "file", path: "rekernel/agent", data: Buffer.from(agentScript(setup)) });
  for (const { name, data } of contents.modules)
    tree.add({ kind: "file", path: `rekernel/modules/${name}.ko`, data });
  // Over the host's root they are unpacked last, when all that is mounted there is in place.
  if (setup.files) tree.add({ kind: "file", path: "rekernel/files.cpio", data: cpioArchive(contents.files) });
  else for (const entry of contents.files) tree.add(entry);
  return cpioArchive(tree.entries());
}

/**
 * The members for {@link GuestFiles}: symbolic links, permission bits and folders as on the host.
 * Over the host's root a guest path means what it means on the host: /lib may be a link to /usr/lib.
 *
 * @throws RekernelError RK-USAGE (2) for a path that is not absolute, RK-LAB-FILE (1) for an unreadable host file
 */
export async function guestFileEntries(files: GuestFiles, hostRoot: boolean): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  for (const [guestPath, source] of Object.entries(files)) {
    const normal = posix.normalize(guestPath).replace(/\/$/, "");
    if (!guestPath.startsWith("/") || normal === "")
      throw new RekernelError(
        "usage",
        "RK-USAGE",
        `Not an absolute path of a file in the guest: ${guestPath}.`,
      );
    const path = (hostRoot ? await throughLinks(normal) : normal).slice(1);
    if (typeof source === "string") await addHostPath(entries, path, source);
    else entries.push({ kind: "file", path, data: source });
  }
  return entries;
}

/** An absolute path with the links of its folders resolved, as far as these exist. */
async function throughLinks(path: string): Promise<string> {
  const folder = dirname(path);
  if (folder === "/") return path;
  const parent = await realpath(folder).catch(() => throughLinks(folder));
  return join(parent, basename(path));
}

async function addHostPath(entries: CpioEntry[], path: string, source: string): Promise<void> {
  try {
    // The named thing itself is followed, what a folder holds is not: `cp -a SOURCE/. PATH`.
    await addHostEntry(entries, path, source, true);
  } catch (error) {
    if (!hasErrno(error)) throw error;
    throw new RekernelError(
      "failed",
      "RK-LAB-FILE",
      `Cannot read ${source} for the guest: ${error.message}.`,
      {
        cause: error,
      },
    );
  }
}

async function addHostEntry(
  entries: CpioEntry[],
  path: string,
  source: string,
  follow: boolean,
): Promise<void> {
  if (!follow) {
    const target = await readlink(source).catch(() => undefined);
    if (target !== undefined) {
      entries.push({ kind: "symlink", path, target });
      return;
    }
  }
  const status = await stat(source);
  const mode = status.mode & 0o7777;
  if (status.isDirectory()) {
    entries.push({ kind: "directory", path, mode });
    for (const name of (await readdir(source)).sort())
      await addHostEntry(entries, posix.join(path, name), join(source, name), false);
  } else if (status.isFile()) entries.push({ kind: "file", path, mode, data: await readFile(source) });
}

/** Members by path, with the folders that they need in front of them; a later member replaces an earlier one. */
class ArchiveTree {
  readonly #members = new Map<string, CpioEntry>();

  add(entry: CpioEntry): void {
    const folder = dirname(entry.path);
    if (folder !== ".") this.addFolder(folder);
    const present = this.#members.get(entry.path);
    if (present?.kind === "directory" && entry.kind === "directory") this.#members.set(entry.path, entry);
    else if (present?.kind !== "directory") {
      this.#members.delete(entry.path);
      this.#members.set(entry.path, entry);
    }
  }

  addFolder(path: string): void {
    if (this.#members.has(path)) return;
    const parent = dirname(path);
    if (parent !== ".") this.addFolder(parent);
    this.#members.set(path, { kind: "directory", path });
  }

  entries(): Iterable<CpioEntry> {
    return this.#members.values();
  }
}

const appletLists = new Map<string, Promise<string[]>>();

function appletsOf(busybox: string): Promise<string[]> {
  let list = appletLists.get(busybox);
  if (!list) {
    list = runToolOk(busybox, ["--list"]).then(({ stdout }) =>
      stdout.split("\n").filter((name) => name !== "" && name !== "busybox" && name !== "linuxrc"),
    );
    appletLists.set(busybox, list);
  }
  return list;
}
