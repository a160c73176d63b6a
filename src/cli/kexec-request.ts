/** Options that say what to load, for every command that loads. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { KernelChoice } from "../kexec/choice/boot-kernel.ts";
import type { KexecMethod } from "../kexec/method.ts";
import type { KexecRequest } from "../kexec/plan.ts";
import type { DigestKind } from "../kexec/purgatory/request.ts";

export interface RequestOptions {
  initrd?: string[];
  overlay?: string;
  profile?: string;
  commandLine?: string;
  append?: string;
  reuseCmdline?: boolean;
  root?: string;
  syscall?: "auto" | KexecMethod;
  entry32bit?: boolean;
  memoryMap?: string;
  digest?: DigestKind;
  /** False with --no-unpack. */
  unpack: boolean;
  serial?: number;
  module?: string[];
}

/** Declares them, and the image as the command's argument. */
export function addRequestOptions(command: Command): Command {
  return command
    .argument("[image]", "the kernel: vmlinuz (bzImage), vmlinux (ELF), a unified or a multiboot image")
    .option("--initrd <file>", "an initial RAM disk; several are unpacked in their order", inOrder)
    .option(
      "--module <file and words>",
      "a file for a multiboot kernel, with its own command line; several in their order",
      inOrder,
    )
    .option("--overlay <folder>", "lay the files of a folder over the initrd")
    .option("--profile <name>", "profile of a unified kernel image: its number or ID (default: the first)")
    .addOption(
      new Option("--command-line <text>", "the whole command line of the next kernel").conflicts(
        "reuseCmdline",
      ),
    )
    .option("--reuse-cmdline", "take the running kernel's command line (without BOOT_IMAGE=)")
    .option("--append <text>", "add words at the end of the command line")
    .option("--root <dir>", "without an image: choose from the system below this folder")
    .addOption(
      new Option("--syscall <name>", "the system call; the plan says why")
        .choices(["auto", "kexec_file_load", "kexec_load"])
        .default("auto"),
    )
    .option("--entry-32bit", "enter the kernel in 32-bit protected mode (kexec_load)")
    .addOption(
      new Option("--digest <kind>", "how the segments are verified after the jump (kexec_load)").choices([
        "sha256",
        "sum",
      ]),
    )
    .option("--no-unpack", "let kernel and initrd unpack themselves after the jump")
    .option("--serial <port>", "I/O port on which the purgatory speaks, such as 0x3f8 (kexec_load)", ioPort)
    .option("--memory-map <file>", "plan by this copy of /proc/iomem, or of a log's BIOS-e820 lines");
}

/**
 * What to load: the named image, or what a reboot would start, then with the choice, so that it can be told before
 * anything is loaded.
 */
export async function requestOf(
  options: RequestOptions,
  image: string | undefined,
): Promise<{ request: KexecRequest; choice: KernelChoice | undefined }> {
  const { profile, initrd: initrds, overlay, commandLine, append, reuseCmdline: reuse, root } = options;
  const { unpack, syscall, entry32bit: entry32Bit, memoryMap, digest, serial: serialPort } = options;
  const { moduleRequest } = await import("../kexec/modules.ts");
  const modules = options.module?.map(moduleRequest);
  const wishes = {
    profile,
    initrds,
    modules,
    overlay,
    commandLine,
    append,
    reuse,
    syscall,
    entry32Bit,
    memoryMap,
    digest,
    serialPort,
    unpack,
  };
  if (image !== undefined) {
    if (root === undefined) return { request: { image, ...wishes }, choice: undefined };
    const { RekernelError } = await import("../core/errors.ts");
    throw new RekernelError(
      "usage",
      "RK-USAGE",
      "An image was named, so there is nothing to choose in --root.",
      { hint: "Leave out one of the two." },
    );
  }
  const { chooseKernel } = await import("../kexec/choice/choose.ts");
  const { requestOfChoice } = await import("../kexec/choice/request.ts");
  const choice = await chooseKernel({ root });
  return { request: requestOfChoice(choice, wishes), choice };
}

/** For options that can be given several times. */
export function inOrder(file: string, before: string[] | undefined): string[] {
  return [...(before ?? []), file];
}

function ioPort(text: string): number {
  const port = /^(0x[0-9a-f]{1,4}|\d{1,5})$/i.test(text) ? Number(text) : Number.NaN;
  // A serial line takes eight ports.
  if (!(port > 0 && port <= 0xfff8)) throw new InvalidArgumentError("It must be a number from 1 to 0xfff8.");
  return port;
}
