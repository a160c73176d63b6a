/** What will be handed to the kernel: decided, checked and shown before anything is touched. */
import { stat } from "node:fs/promises";
import { RekernelError } from "../core/errors.ts";
import { protocolText, readBzImage } from "../formats/bzimage.ts";
import { readInputFile } from "../kernel/input-file.ts";
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
  const { header } = readBzImage(await readInputFile(image, "kernel image"), image);
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

/** Only its size matters here: the kernel reads it, and nobody checks what is in it. */
async function initrdSize(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isFile()) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is not a file.`);
  if (found.size === 0) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is empty.`);
  return found.size;
}
