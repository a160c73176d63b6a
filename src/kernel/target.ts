import { access, constants, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { cacheFolder } from "../core/cache.ts";
import { hasErrno, RekernelError } from "../core/errors.ts";
import type { WorkOptions } from "../core/progress.ts";
import { runTool } from "../core/tools.ts";
import { compareDebianVersions } from "../formats/debian.ts";
import {
  type DebianPackage,
  fetchPackages,
  kernelFolder,
  offeredVersions,
  type PackageFolder,
  packageNames,
  unpackDeb,
} from "./packages.ts";

/** A kernel that can be started: by the lab, or through kexec. */
export interface BootableKernel {
  /** As `uname -r` says it, for example `6.12.115+deb12-amd64`. */
  release: string;
  /** Path of vmlinuz. */
  image: string;
  /** Folder that holds `kernel/` and, where depmod was there to make it, `modules.dep`. */
  modules?: string;
  config?: string;
}

/** Everything that building for one exact kernel needs. A BootableKernel as well. */
export interface TargetKernel extends BootableKernel {
  /** Version of the distribution's package, for example `6.12.115-2~deb12u1`. */
  packageVersion?: string;
  config: string;
  /** Module.symvers of the kernel's build: the CRC of every exported symbol. */
  symvers: string;
  source: { kind: "tarball"; path: string } | { kind: "tree"; path: string };
  /** The build's own include/generated/autoconf.h, where it is known: proof that a prepared tree is configured the same. */
  autoconf?: string;
}

export interface AvailableKernel {
  release: string;
  /** The package's version. */
  version: string;
  /** `amd64`, `cloud-amd64`, `rt-amd64`. */
  flavour: string;
}

interface ImageMeta {
  package: string;
  version: string;
}

/**
 * A kernel's image and modules, from the distribution's package. Downloaded and unpacked into the cache,
 * never installed; from the cache alone when it is there already.
 *
 * @throws RekernelError RK-TARGET-UNKNOWN (1), RK-DOWNLOAD (1), RK-DISK-FULL (1), RK-TOOL-MISSING (5)
 */
export async function bootableKernel(release: string, options: WorkOptions = {}): Promise<BootableKernel> {
  const folder = await imageFolder(release);
  if (!(await isFolder(folder))) {
    const offered = await findImagePackage(release, options);
    await fetchPackages([imageWork(release, folder, offered, options)], options);
  }
  return readBootable(release, folder);
}

/**
 * A kernel with everything that building for it needs: image, modules, configuration, Module.symvers and the
 * source package of exactly the same version.
 *
 * @throws RekernelError as {@link bootableKernel}; RK-TARGET-NO-SOURCE (1) when the archive has no such source any more
 */
export async function targetKernel(release: string, options: WorkOptions = {}): Promise<TargetKernel> {
  const image = await imageFolder(release);
  const headers = join(await kernelFolder(release), "headers");
  const known = await readMeta(image);
  const offered = known ? undefined : await findImagePackage(release, options);
  const version = known?.version ?? offered!.version;

  const work: PackageFolder[] = [];
  if (offered) work.push(imageWork(release, image, offered, options));
  if (!(await isFolder(headers))) {
    const name = `linux-headers-${release}`;
    const found = (await offeredVersions([name], options)).find((one) => one.version === version);
    if (!found) throw noSource(`kernel ${release}`, `${name} ${version}`);
    work.push({
      package: found,
      folder: headers,
      unpack: (deb, into) =>
        unpackDeb(
          deb,
          into,
          ["Module.symvers", ".config", "include/generated/autoconf.h"].map((file) => `./usr/src/*/${file}`),
          options,
        ),
    });
  }
  const source = await sourceFolder(version);
  if (!(await isFolder(source.folder))) work.push(await sourceWork(source, `kernel ${release}`, options));
  await fetchPackages(work, options);

  const build = join(headers, "usr/src", `linux-headers-${release}`);
  const target: TargetKernel = {
    ...(await readBootable(release, image)),
    packageVersion: version,
    config: join(build, ".config"),
    symvers: join(build, "Module.symvers"),
    autoconf: join(build, "include/generated/autoconf.h"),
    source: { kind: "tarball", path: await tarballIn(source.folder) },
  };
  for (const path of [target.config, target.symvers, target.autoconf!])
    if (!(await isFile(path))) throw damaged(headers);
  return target;
}

/**
 * The source of a kernel package's version alone, as the distribution's package has it.
 *
 * @param version of the package, for example `6.12.117-1~deb12u1`
 * @returns path of the tar archive, in the cache
 * @throws RekernelError RK-TARGET-NO-SOURCE (1) when the archive has no such source, RK-DOWNLOAD (1), RK-DISK-FULL (1)
 */
export async function sourceTarball(version: string, options: WorkOptions = {}): Promise<string> {
  const source = await sourceFolder(version);
  if (!(await isFolder(source.folder)))
    await fetchPackages([await sourceWork(source, `version ${version}`, options)], options);
  return tarballIn(source.folder);
}

interface SourceFolder {
  name: string;
  version: string;
  folder: string;
}

async function sourceFolder(imageVersion: string): Promise<SourceFolder> {
  // The image may have been rebuilt without a change of its source (binNMU, "+b1"): the source has no such version.
  const version = imageVersion.replace(/\+b\d+$/, "");
  const series = /^(?:\d+:)?(\d+\.\d+)/.exec(version)?.[1];
  const name = `linux-source-${series}`;
  return { name, version, folder: join(await cacheFolder("sources"), `${name}_${version}`) };
}

async function sourceWork(
  { name, version, folder }: SourceFolder,
  of: string,
  options: WorkOptions,
): Promise<PackageFolder> {
  const offered = await offeredVersions([name], options);
  const found = offered.find((one) => one.version === version);
  if (!found)
    throw noSource(
      of,
      `${name} ${version}`,
      offered.map((one) => one.version),
    );
  return {
    package: found,
    folder,
    unpack: (deb, into) => unpackDeb(deb, into, ["./usr/src/*.tar.*"], options),
  };
}

async function tarballIn(folder: string): Promise<string> {
  const tarball = (await readdir(join(folder, "usr/src"))).find((file) => file.startsWith("linux-source-"));
  if (tarball === undefined) throw damaged(folder);
  return join(folder, "usr/src", tarball);
}

/**
 * A target from files given by hand; its release is what the image says of itself.
 *
 * @throws RekernelError RK-TARGET-FILE (2) naming the file and what is wrong with it
 */
export async function targetFromPaths(paths: {
  image: string;
  config: string;
  source: string;
  symvers: string;
  modules?: string | undefined;
}): Promise<TargetKernel> {
  const image = await requireFile("image", paths.image);
  const config = await requireFile("configuration", paths.config);
  const symvers = await requireFile("Module.symvers", paths.symvers);
  const configText = await readFile(config, "utf8");
  if (!/^CONFIG_[A-Z0-9_]+=/m.test(configText) || !configText.includes("CONFIG_CC_VERSION_TEXT="))
    throw badFile("configuration", config, "it is not a kernel configuration (no CONFIG_CC_VERSION_TEXT)");
  if (!/^CONFIG_X86_64=y$/m.test(configText))
    throw badFile("configuration", config, "it is not of an x86-64 kernel");
  const symversStart = (await readFile(symvers, "utf8")).slice(0, 65536);
  if (!/^0x[0-9a-f]{8}\t\S+\t\S+\tEXPORT_SYMBOL/m.test(symversStart))
    throw badFile("Module.symvers", symvers, "it has no line of the form CRC, symbol, owner, EXPORT_SYMBOL");

  const sourcePath = resolve(paths.source);
  const found = await statOrThrow("source", sourcePath);
  let source: TargetKernel["source"];
  if (found.isDirectory()) {
    for (const file of ["Makefile", "Kconfig", "arch/x86/Makefile", "scripts/Makefile.build"])
      if (!(await isFile(join(sourcePath, file))))
        throw badFile("source", sourcePath, `it is not a kernel source tree (no ${file})`);
    source = { kind: "tree", path: sourcePath };
  } else if (/\.tar(\.(xz|gz|zst|bz2))?$|\.tgz$/.test(sourcePath)) {
    source = { kind: "tarball", path: sourcePath };
  } else throw badFile("source", sourcePath, "it is neither a folder nor a tar archive");

  const target: TargetKernel = {
    release: await imageRelease(image),
    image,
    config,
    symvers,
    source,
  };
  if (paths.modules !== undefined) {
    const modules = resolve(paths.modules);
    if (!(await statOrThrow("modules", modules)).isDirectory() || !(await isFolder(join(modules, "kernel"))))
      throw badFile(
        "modules",
        modules,
        "it is not a folder that holds kernel/ (such as /lib/modules/RELEASE)",
      );
    target.modules = modules;
  }
  return target;
}

/** The kernels whose images apt offers on this machine, newest first. */
export async function availableKernels(options: WorkOptions = {}): Promise<AvailableKernel[]> {
  const names = (await packageNames("linux-image-", options)).filter(
    (name) => releaseOfPackage(name) !== undefined,
  );
  const kernels = new Map<string, AvailableKernel>();
  for (const found of await offeredVersions(names, options)) {
    const release = releaseOfPackage(found.name)!;
    if (kernels.has(release)) continue;
    const flavour = /-((?:[a-z]+-)?[a-z0-9]+)$/.exec(release)?.[1] ?? "";
    kernels.set(release, { release, version: found.version, flavour });
  }
  return [...kernels.values()].sort(
    (a, b) => compareDebianVersions(b.version, a.version) || a.flavour.length - b.flavour.length,
  );
}

/** The release in a package's name; undefined for meta packages (linux-image-amd64) and debug packages. */
function releaseOfPackage(packageName: string): string | undefined {
  const release = /^linux-image-(\d+\.\d+\.\d.*?-[a-z0-9]+)(?:-unsigned)?$/.exec(packageName)?.[1];
  return release?.endsWith("-dbg") || release?.endsWith("-template") ? undefined : release;
}

async function imageFolder(release: string): Promise<string> {
  // The release becomes part of paths and package names.
  if (!/^\d+\.\d+[A-Za-z0-9.+~_-]*$/.test(release) || release.includes(".."))
    throw new RekernelError("usage", "RK-TARGET-UNKNOWN", `“${release}” is not a kernel release.`, {
      hint: "Give a release as uname -r prints it, for example 6.12.115+deb12-amd64.",
    });
  return join(await kernelFolder(release), "image");
}

async function findImagePackage(release: string, options: WorkOptions): Promise<DebianPackage> {
  // Unsigned first: its vmlinuz carries no signature, so that one can be put on it (a second one is not looked at).
  const names = [`linux-image-${release}-unsigned`, `linux-image-${release}`];
  const offered = await offeredVersions(names, options);
  const newest = offered[0]?.version;
  const found = names
    .map((name) => offered.find((one) => one.name === name && one.version === newest))
    .find((one) => one !== undefined);
  if (found) return found;
  throw await unknownTarget(release, options);
}

async function unknownTarget(release: string, options: WorkOptions): Promise<RekernelError> {
  const available = await availableKernels(options);
  const hint =
    available.length === 0
      ? "apt knows no kernel image at all: run apt-get update, or give --image, --config, --source, --symvers and --modules."
      : `Nearest that apt offers: ${nearestReleases(
          release,
          available.map((kernel) => kernel.release),
        ).join(", ")}. If this release is newer, run apt-get update; ` +
        "for a kernel that is not from a package give --image, --config, --source, --symvers and --modules.";
  return new RekernelError("failed", "RK-TARGET-UNKNOWN", `apt offers no image of kernel ${release}.`, {
    hint,
  });
}

/** Up to four releases of the same flavour and series, the closest in number first. Pure. */
export function nearestReleases(release: string, available: readonly string[]): string[] {
  const numbers = (text: string): number[] => (text.match(/\d+/g) ?? []).slice(0, 4).map(Number);
  const flavour = (text: string): string => text.replace(/^[\d.]+(?:[-+][a-z]*\d+)*-?/, "");
  const wanted = numbers(release);
  const distance = (candidate: string): number => {
    const have = numbers(candidate);
    const weights = [1e9, 1e6, 1e3, 1];
    let sum = flavour(candidate) === flavour(release) ? 0 : 1e5;
    for (const [i, weight] of weights.entries()) sum += Math.abs((wanted[i] ?? 0) - (have[i] ?? 0)) * weight;
    return sum;
  };
  return [...available].sort((a, b) => distance(a) - distance(b)).slice(0, 4);
}

function imageWork(
  release: string,
  folder: string,
  offered: DebianPackage,
  options: WorkOptions,
): PackageFolder {
  return {
    package: offered,
    folder,
    unpack: async (deb, into) => {
      await unpackDeb(deb, into, ["./boot/*", "./lib/modules/*"], options);
      await makeModulesDep(into, release, options);
      const meta: ImageMeta = { package: offered.name, version: offered.version };
      await writeFile(join(into, "package.json"), JSON.stringify(meta));
    },
  };
}

/** Debian makes modules.dep when a kernel is installed; nothing is installed here. */
async function makeModulesDep(root: string, release: string, options: WorkOptions): Promise<void> {
  try {
    await runTool("depmod", ["-b", root, release], {
      // A user's PATH has no sbin.
      env: { PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` },
      signal: options.signal,
    });
  } catch (error) {
    if (!(error instanceof RekernelError && error.code === "RK-TOOL-MISSING")) throw error;
  }
}

async function readMeta(folder: string): Promise<ImageMeta | undefined> {
  const text = await readFile(join(folder, "package.json"), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  return JSON.parse(text) as ImageMeta;
}

async function readBootable(
  release: string,
  folder: string,
): Promise<BootableKernel & { modules: string; config: string }> {
  const kernel = {
    release,
    image: join(folder, "boot", `vmlinuz-${release}`),
    modules: join(folder, "lib/modules", release),
    config: join(folder, "boot", `config-${release}`),
  };
  if (!(await isFile(kernel.image)) || !(await isFolder(join(kernel.modules, "kernel"))))
    throw damaged(folder);
  return kernel;
}

function damaged(folder: string): RekernelError {
  return new RekernelError(
    "failed",
    "RK-CACHE-DAMAGED",
    `The unpacked package in ${folder} is not complete.`,
    {
      hint: `Remove it and try again: rm -r ${folder}`,
    },
  );
}

function noSource(of: string, what: string, offered: readonly string[] = []): RekernelError {
  return new RekernelError(
    "failed",
    "RK-TARGET-NO-SOURCE",
    `apt does not offer ${what}, which belongs to ${of}.`,
    {
      hint:
        (offered.length > 0 ? `It offers the versions ${offered.join(", ")}. ` : "") +
        "The archive keeps the source of older kernels only for a while. Run apt-get update, choose a newer kernel, " +
        "or give --image, --config, --source, --symvers and --modules.",
    },
  );
}

async function imageRelease(image: string): Promise<string> {
  const { KernelImage } = await import("./image.ts");
  return (await KernelImage.open(image)).release;
}

async function requireFile(what: string, path: string): Promise<string> {
  const full = resolve(path);
  const found = await statOrThrow(what, full);
  if (!found.isFile()) throw badFile(what, full, "it is not a file");
  if (found.size === 0) throw badFile(what, full, "it is empty");
  return full;
}

async function statOrThrow(what: string, path: string) {
  try {
    await access(path, constants.R_OK);
    return await stat(path);
  } catch (error) {
    const reason = hasErrno(error)
      ? error.code === "ENOENT"
        ? "it does not exist"
        : error.code === "EACCES"
          ? "this user may not read it"
          : error.message
      : String(error);
    throw badFile(what, path, reason);
  }
}

function badFile(what: string, path: string, reason: string): RekernelError {
  return new RekernelError(
    "usage",
    "RK-TARGET-FILE",
    `The ${what} ${basename(path)} cannot be used: ${reason}.`,
    {
      hint: `Given was ${path}.`,
    },
  );
}

function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
