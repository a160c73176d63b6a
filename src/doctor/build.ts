import { mkdir, readFile, statfs } from "node:fs/promises";
import { cacheRoot } from "../core/cache.ts";
import { hasErrno, RekernelError } from "../core/errors.ts";
import type { WorkOptions } from "../core/progress.ts";
import { runTool } from "../core/tools.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { readText } from "../host/pseudo-files.ts";
import { availableKernels } from "../kernel/target.ts";
import { checkPackages } from "./packages.ts";
import type { Check } from "./report.ts";

/** A kernel's packages unpacked, two trees of its source, and what a build leaves behind. */
const neededCacheBytes = 5 * 2 ** 30;
/** kbuild with two compilers at once. */
const neededMemoryBytes = 1.5 * 2 ** 30;

/** What building a live patch needs. */
export async function checkBuild(options: WorkOptions, host: HostPaths = thisHost): Promise<Check[]> {
  return [
    ...(await checkPackages("build")),
    await checkCompiler(options, host),
    await checkKernelPackages(options),
    await checkDisk(),
    await checkMemory(host),
  ];
}

/** The compiler decides the code: a patch for the running kernel wants the one that built it. */
async function checkCompiler(options: WorkOptions, host: HostPaths): Promise<Check> {
  const name = "compiler";
  const version = (await readText(`${host.proc}/version`)) ?? "";
  const major = gccOf(version);
  if (major === undefined)
    return {
      name,
      state: "note",
      finding:
        "The running kernel was not built by a gcc that is known here; patches for Debian's kernels are not affected.",
    };
  try {
    const { stdout } = await runTool(`gcc-${major}`, ["-dumpfullversion"], { signal: options.signal });
    return {
      name,
      state: "ok",
      finding: `The running kernel was built by gcc ${major}; gcc-${major} is ${stdout.trim()}.`,
    };
  } catch (error) {
    if (!(error instanceof RekernelError) || error.code !== "RK-TOOL-MISSING") throw error;
    return {
      name,
      state: "note",
      finding: `The running kernel was built by gcc ${major}, which is not here; patches for other kernels are not affected.`,
      hint: `To build for the running kernel, install gcc ${major}.`,
    };
  }
}

/** `12` out of `… (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld …`, the form of /proc/version. */
function gccOf(version: string): string | undefined {
  return /\(\S*gcc\S* \([^)]*\) (\d+)\.\d/.exec(version)?.[1];
}

async function checkKernelPackages(options: WorkOptions): Promise<Check> {
  const name = "kernel-packages";
  const byHand = "Without apt a target is given by --image, --config, --source, --symvers and --modules.";
  try {
    const kernels = await availableKernels(options);
    if (kernels.length > 0)
      return {
        name,
        state: "ok",
        finding: `apt offers ${kernels.length} kernels, the newest is ${kernels[0]!.release}.`,
      };
    return {
      name,
      state: "note",
      finding: `apt knows no kernel packages. ${byHand}`,
      hint: "Fetch the package lists: apt-get update",
    };
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
    return { name, state: "note", finding: `${error.message} ${byHand}` };
  }
}

async function checkDisk(): Promise<Check> {
  const name = "disk-space";
  const folder = cacheRoot();
  try {
    await mkdir(folder, { recursive: true });
    const { bavail, bsize } = await statfs(folder);
    const freeBytes = bavail * bsize;
    const finding = `${gibibytes(freeBytes)} are free for the cache in ${folder}`;
    if (freeBytes >= neededCacheBytes) return { name, state: "ok", finding: `${finding}.` };
    return {
      name,
      state: "note",
      finding: `${finding}; the first build for a kernel may need ${gibibytes(neededCacheBytes)}.`,
      hint: "Free some space, or point XDG_CACHE_HOME at a larger file system.",
    };
  } catch (error) {
    if (!hasErrno(error)) throw error;
    return {
      name,
      state: "missing",
      finding: `The cache folder ${folder} cannot be used: ${error.message}.`,
      hint: "Point XDG_CACHE_HOME at a folder that can be written.",
    };
  }
}

async function checkMemory(host: HostPaths): Promise<Check> {
  const name = "memory";
  const text = await readFile(`${host.proc}/meminfo`, "latin1").catch(() => "");
  const kibibytes = /^MemAvailable:\s*(\d+) kB$/m.exec(text)?.[1];
  if (kibibytes === undefined)
    return { name, state: "unknown", finding: "The kernel does not tell how much memory is available." };
  const availableBytes = Number(kibibytes) * 1024;
  const finding = `${gibibytes(availableBytes)} of memory are available`;
  if (availableBytes >= neededMemoryBytes) return { name, state: "ok", finding: `${finding}.` };
  return { name, state: "note", finding: `${finding}; compiling may need ${gibibytes(neededMemoryBytes)}.` };
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
