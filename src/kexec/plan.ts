/** What will be handed to the kernel: decided, checked and shown before anything is touched. */
import { readFile, stat } from "node:fs/promises";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { badImage, protocolText, readBzImage } from "../formats/bzimage.ts";
import { type CommandLineChoice, nextCommandLine } from "./command-line.ts";

export interface KexecRequest extends CommandLineChoice {
  /** Path of the kernel image. */
  image: string;
  /** Path of the initrd; without one the next kernel must find its root by itself. */
  initrd?: string | undefined;
}

/** A checked request as a plain value. */
export interface KexecPlan {
  image: string;
  /** Release of the kernel in the image, from its boot header; undefined where the header has none. */
  release: string | undefined;
  initrd: string | undefined;
  initrdBytes: number;
  commandLine: string;
}

/**
 * Checks a request against the image and turns it into a plan. Touches nothing.
 *
 * @param runningCommandLine of /proc/cmdline, for `reuse`
 * @throws RekernelError RK-BAD-IMAGE, RK-FILE (1); RK-IMAGE-TOO-OLD, RK-COMMAND-LINE-TOO-LONG (4)
 */
export async function planKexec(request: KexecRequest, runningCommandLine: string): Promise<KexecPlan> {
  const { image, initrd } = request;
  const { header } = readBzImage(await readWhole(image, "kernel image"), image);
  // arch/x86/kernel/kexec-bzimage64.c bzImage64_probe.
  if (header.protocol < 0x020c || !header.xloadflags.kernel64 || !header.xloadflags.canBeLoadedAbove4G)
    throw new RekernelError(
      "refused",
      "RK-IMAGE-TOO-OLD",
      `${image} cannot be started by kexec_file_load: it has no 64-bit entry that can be loaded anywhere (boot protocol ${protocolText(header.protocol)}).`,
      { hint: "Use an x86-64 kernel of Linux 3.8 or later." },
    );
  const commandLine = nextCommandLine(request, runningCommandLine);
  const bytes = Buffer.byteLength(commandLine) + 1;
  if (bytes > header.cmdlineSize)
    throw new RekernelError(
      "refused",
      "RK-COMMAND-LINE-TOO-LONG",
      `The command line takes ${bytes} bytes, but ${image} accepts ${header.cmdlineSize} at most.`,
      { hint: "The kernel would cut it off. Leave out what the next kernel does not need." },
    );
  if (commandLine.includes("\0"))
    throw new RekernelError("usage", "RK-USAGE", "The command line holds a NUL byte.");
  return {
    image,
    release: releaseOf(header.kernelVersion),
    initrd,
    initrdBytes: initrd === undefined ? 0 : await initrdSize(initrd),
    commandLine,
  };
}

/** The release is the first word of the boot header's text. */
export function releaseOf(kernelVersion: string): string | undefined {
  return /^\S+/.exec(kernelVersion)?.[0];
}

async function readWhole(path: string, what: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > maxImageBytes) throw badImage(path, `it is larger than any ${what}`);
    return await readFile(path);
  } catch (error) {
    throw fileError(path, what, error);
  }
}

/** Far above any kernel, far below what would exhaust this process. */
const maxImageBytes = 512 << 20;

async function initrdSize(path: string): Promise<number> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is not a file.`);
    if (found.size === 0) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is empty.`);
    return found.size;
  } catch (error) {
    throw fileError(path, "initrd", error);
  }
}

function fileError(path: string, what: string, error: unknown): unknown {
  if (!hasErrno(error) || error instanceof RekernelError) return error;
  const reason =
    error.code === "ENOENT"
      ? "there is no such file"
      : error.code === "EISDIR"
        ? "it is a folder"
        : error.code;
  const permission = error.code === "EACCES" || error.code === "EPERM";
  return permission
    ? new RekernelError(
        "machineCannot",
        "RK-PERMISSION",
        `Cannot read the ${what} ${path}: permission denied.`,
        {
          hint: "Run the same command with sudo, or as root.",
          cause: error,
        },
      )
    : new RekernelError("failed", "RK-FILE", `Cannot read the ${what} ${path}: ${reason}.`, { cause: error });
}
