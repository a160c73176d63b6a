/** Options that say what to load, for every command that loads. */
import { type Command, Option } from "commander";
import type { KernelChoice } from "../kexec/choice/boot-kernel.ts";
import type { KexecRequest } from "../kexec/plan.ts";

export interface RequestOptions {
  initrd?: string[];
  overlay?: string;
  profile?: string;
  commandLine?: string;
  append?: string;
  reuseCmdline?: boolean;
  root?: string;
}

/** Declares them, and the image as the command's argument. */
export function addRequestOptions(command: Command): Command {
  return command
    .argument("[image]", "the kernel: vmlinuz (bzImage), or a unified kernel image")
    .option("--initrd <file>", "an initial RAM disk; several are unpacked in their order", inOrder)
    .option("--overlay <folder>", "lay the files of a folder over the initrd")
    .option("--profile <name>", "profile of a unified kernel image: its number or ID (default: the first)")
    .addOption(
      new Option("--command-line <text>", "the whole command line of the next kernel").conflicts(
        "reuseCmdline",
      ),
    )
    .option("--reuse-cmdline", "take the running kernel's command line (without BOOT_IMAGE=)")
    .option("--append <text>", "add words at the end of the command line")
    .option("--root <dir>", "without an image: choose from the system below this folder");
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
  const wishes = { profile, initrds, overlay, commandLine, append, reuse };
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

function inOrder(file: string, before: string[] | undefined): string[] {
  return [...(before ?? []), file];
}
