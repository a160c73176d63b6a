import { type Command, Option } from "commander";
import type { KexecRequest } from "../kexec/plan.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { describeChoice } from "./kexec-list.ts";
import { showKexecPlan } from "./kexec-plan.ts";

interface LoadOptions {
  initrd?: string[];
  overlay?: string;
  profile?: string;
  dryRun?: boolean;
  commandLine?: string;
  append?: string;
  reuseCmdline?: boolean;
  root?: string;
}

/** `rekernel kexec load`: check a kernel and hand it to the running one for the next jump. */
export function registerKexecLoad(parent: Command): void {
  const command = parent
    .command("load")
    .summary("load the kernel that kexec exec will start")
    .description(
      "Check a kernel image and load it for the next jump (kexec_file_load). The\n" +
        "running kernel verifies its signature where it demands one. Nothing is\n" +
        "started yet; a kernel that was loaded before is replaced.\n\n" +
        "Without an image it is the kernel that a reboot would start, with the initrd\n" +
        "and the command line that the boot loader gives it: see rekernel kexec list.",
    )
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
    .option("--root <dir>", "without an image: choose from the system below this folder")
    .option("--dry-run", "show what would be loaded; needs no root, and changes nothing")
    .action(
      action<LoadOptions, [string | undefined]>(async (context, options, image) => {
        const { loadKexec } = await import("../kexec/load.ts");
        const request = await requestOf(context, options, image);
        const plan = await loadKexec(request, {
          onProgress: context.onProgress,
          signal: context.signal,
          dryRun: options.dryRun,
        });
        showKexecPlan(context, plan, options.dryRun !== true);
      }),
    );
  examples(
    command,
    "rekernel kexec load",
    "rekernel kexec load /boot/vmlinuz-6.12.117+deb12-amd64 \\\n" +
      "      --initrd /boot/initrd.img-6.12.117+deb12-amd64 --reuse-cmdline",
    "rekernel kexec load /efi/EFI/Linux/debian.efi --overlay /run/keys --dry-run",
  );
}

/** The named image, or what a reboot would start, which is told before it is loaded. */
async function requestOf(
  context: CommandContext,
  options: LoadOptions,
  image: string | undefined,
): Promise<KexecRequest> {
  const { profile, initrd: initrds, overlay, commandLine, append, reuseCmdline: reuse, root } = options;
  const wishes = { profile, initrds, overlay, commandLine, append, reuse };
  if (image !== undefined) {
    if (root === undefined) return { image, ...wishes };
    const { RekernelError } = await import("../core/errors.ts");
    throw new RekernelError(
      "usage",
      "RK-USAGE",
      "An image was named, so there is nothing to choose in --root.",
      {
        hint: "Leave out one of the two.",
      },
    );
  }
  const { chooseKernel } = await import("../kexec/choice/choose.ts");
  const { requestOfChoice } = await import("../kexec/choice/request.ts");
  const choice = await chooseKernel({ root });
  context.print(describeChoice(context, choice));
  return requestOfChoice(choice, wishes);
}

function inOrder(file: string, before: string[] | undefined): string[] {
  return [...(before ?? []), file];
}
