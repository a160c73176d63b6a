import { mkdir, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../core/cache.ts";
import { RekernelError } from "../core/errors.ts";
import { withLock } from "../core/lock.ts";
import { runPipeline } from "../core/pipeline.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { runTool } from "../core/tools.ts";
import { type ControlStanza, compareDebianVersions, parseControlStanzas } from "../formats/debian.ts";

/** A package that apt can download: one exact version of one name. */
export interface DebianPackage {
  name: string;
  version: string;
  sizeBytes: number;
  installedBytes: number;
}

/** What apt offers for a name: newest version first, only what can be downloaded. Empty for unknown names. */
export async function offeredVersions(
  names: readonly string[],
  options: WorkOptions = {},
): Promise<DebianPackage[]> {
  if (names.length === 0) return [];
  // apt-cache exits with 100 when one of the names is unknown, and still prints the others.
  const { stdout } = await runTool("apt-cache", ["show", "--", ...names], { signal: options.signal });
  return parseControlStanzas(stdout)
    .map(toPackage)
    .filter((found) => found !== undefined)
    .sort((a, b) => compareDebianVersions(b.version, a.version));
}

/** Names of packages that apt knows, by prefix; some may have no version that can be downloaded. */
export async function packageNames(prefix: string, options: WorkOptions = {}): Promise<string[]> {
  const { stdout } = await runTool("apt-cache", ["pkgnames", prefix], { signal: options.signal });
  return stdout.split("\n").filter((name) => name !== "");
}

function toPackage(stanza: ControlStanza): DebianPackage | undefined {
  const name = stanza.get("Package");
  const version = stanza.get("Version");
  // Without a Filename the stanza is of an installed package that no archive has any more.
  if (name === undefined || version === undefined || !stanza.has("Filename")) return undefined;
  return {
    name,
    version,
    sizeBytes: Number(stanza.get("Size") ?? 0),
    installedBytes: Number(stanza.get("Installed-Size") ?? 0) * 1024,
  };
}

/** One folder of the cache that is made from one package. */
export interface PackageFolder {
  package: DebianPackage;
  /** The finished folder. It appears whole, by rename. */
  folder: string;
  /** Unpacks `deb` into the empty folder `into`; whatever it leaves there becomes `folder`. */
  unpack(deb: string, into: string): Promise<void>;
}

/**
 * Downloads packages and unpacks each into its folder, unless the folder is there already.
 * apt checks each file against the signed package lists. All are fetched at the same time.
 * Safe for several processes at once; interrupted work is thrown away by the next one that comes by.
 *
 * @throws RekernelError RK-DISK-FULL (1), RK-DOWNLOAD (1), RK-TOOL-MISSING (5)
 */
export async function fetchPackages(wanted: readonly PackageFolder[], options: WorkOptions): Promise<void> {
  const missing: PackageFolder[] = [];
  for (const one of wanted) if (!(await exists(one.folder))) missing.push(one);
  if (missing.length === 0) return;
  const title = `Fetch ${missing.map((one) => one.package.name).join(", ")}`;
  await runStep(options, "packages", title, async (update) => {
    const done = new Map<PackageFolder, number>();
    const total = missing.reduce((sum, one) => sum + one.package.sizeBytes, 0);
    // One failure stops the others: their half-done work must be gone when the error is reported.
    const stop = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
    const results = await Promise.allSettled(
      missing.map((one) =>
        fetchOne(one, { ...options, signal }, (bytes, note) => {
          done.set(one, bytes);
          const sum = [...done.values()].reduce((a, b) => a + b, 0);
          update(
            note ?? `${mebibytes(sum)} of ${mebibytes(total)} MiB`,
            total > 0 ? Math.min(1, sum / total) : 0,
          );
        }).catch((error: unknown) => {
          stop.abort(error);
          throw error;
        }),
      ),
    );
    options.signal?.throwIfAborted();
    for (const result of results) if (result.status === "rejected") throw stop.signal.reason;
  });
}

async function fetchOne(
  wanted: PackageFolder,
  options: WorkOptions,
  progress: (bytes: number, note?: string) => void,
): Promise<void> {
  const { name, sizeBytes } = wanted.package;
  await mkdir(join(wanted.folder, ".."), { recursive: true });
  const onWait = (): void => progress(0, `Waiting for another rekernel that fetches ${name}`);
  await withLock(`${wanted.folder}.lock`, { signal: options.signal, onWait }, async () => {
    if (await exists(wanted.folder)) return;
    // Only the holder of the lock uses these names: what is there is of a process that was killed.
    const download = `${wanted.folder}.download`;
    const partial = `${wanted.folder}.partial`;
    await rm(download, { recursive: true, force: true });
    await rm(partial, { recursive: true, force: true });
    try {
      await mkdir(download, { recursive: true });
      await mkdir(partial);
      await requireSpace(wanted);
      const deb = await downloadPackage(wanted.package, download, options, progress);
      progress(sizeBytes, `Unpacking ${name}`);
      await wanted.unpack(deb, partial);
      options.signal?.throwIfAborted();
      await rename(partial, wanted.folder);
    } finally {
      await rm(download, { recursive: true, force: true });
      await rm(partial, { recursive: true, force: true });
    }
  });
}

async function downloadPackage(
  wanted: DebianPackage,
  folder: string,
  options: WorkOptions,
  progress: (bytes: number) => void,
): Promise<string> {
  const poll = setInterval(() => {
    void folderBytes(folder).then(progress, () => {});
  }, 500);
  try {
    const { exitCode, stderr, stdout } = await runTool(
      "apt-get",
      // As root apt wants to download as the user _apt, who cannot write into our cache.
      ["-o", "APT::Sandbox::User=root", "-q", "download", "--", `${wanted.name}=${wanted.version}`],
      { cwd: folder, signal: options.signal },
    );
    const deb = (await readdir(folder)).find((file) => file.endsWith(".deb"));
    if (exitCode === 0 && deb !== undefined) return join(folder, deb);
    throw downloadError(wanted, `${stderr}${stdout}`);
  } finally {
    clearInterval(poll);
  }
}

function downloadError(wanted: DebianPackage, output: string): RekernelError {
  const what = `${wanted.name} ${wanted.version}`;
  const details = output
    .split("\n")
    .filter((line) => /^[EW]:|Err:|Failed/.test(line))
    .slice(-10)
    .join("\n");
  if (/No space left|enough free space/i.test(output))
    return new RekernelError("failed", "RK-DISK-FULL", `No space left to download ${what}.`, {
      hint: "Free some space, or point XDG_CACHE_HOME at a larger file system.",
      details,
    });
  const stale = /\b404\b|Hash Sum mismatch|was not found/i.test(output);
  return new RekernelError("failed", "RK-DOWNLOAD", `apt-get could not download ${what}.`, {
    hint: stale
      ? "The package lists of this machine are out of date: run apt-get update and try again."
      : "Check the network connection and this machine's apt sources, then try again.",
    details,
  });
}

async function requireSpace(wanted: PackageFolder): Promise<void> {
  const { sizeBytes, installedBytes, name } = wanted.package;
  const space = await statfs(join(wanted.folder, ".."));
  const free = space.bavail * space.bsize;
  const needed = sizeBytes + installedBytes;
  if (free < needed)
    throw new RekernelError(
      "failed",
      "RK-DISK-FULL",
      `${name} needs ${mebibytes(needed)} MiB, and ${wanted.folder} has room for ${mebibytes(free)} MiB.`,
      { hint: "Free some space, or point XDG_CACHE_HOME at a larger file system." },
    );
}

/** Unpacks a package's files: all of them, or those that match tar's wildcard patterns (`./usr/src/*`). */
export async function unpackDeb(
  deb: string,
  into: string,
  patterns: readonly string[],
  options: WorkOptions,
): Promise<void> {
  await runPipeline(
    ["dpkg-deb", "--fsys-tarfile", deb],
    ["tar", "-x", "-C", into, "--no-same-owner", "--wildcards", "-f", "-", ...patterns],
    { signal: options.signal },
  );
}

async function folderBytes(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) sum += (await stat(join(entry.parentPath, entry.name))).size;
  return sum;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}

/** Folder of the cache for everything about one kernel release. */
export function kernelFolder(release: string): Promise<string> {
  return cacheFolder("kernels", release);
}
