import { type Command, Option } from "commander";
import { action, examples } from "./context.ts";
import { showKexecPlan } from "./kexec-plan.ts";

interface LoadOptions {
  initrd?: string[];
  overlay?: string;
  profile?: string;
  dryRun?: boolean;
  commandLine?: string;
  append?: string;
  reuseCmdline?: boolean;
}

/** `rekernel kexec load`: check a kernel and hand it to the running one for the next jump. */
export function registerKexecLoad(parent: Command): void {
  const command = parent
    .command("load")
    .summary("load the kernel that kexec exec will start")
    .description(
      "Check a kernel image and load it for the next jump (kexec_file_load). The\n" +
        "running kernel verifies its signature where it demands one. Nothing is\n" +
        "started yet; a kernel that was loaded before is replaced.",
    )
    .argument("<image>", "the kernel: vmlinuz (bzImage), or a unified kernel image")
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
    .option("--dry-run", "show what would be loaded; needs no root, and changes nothing")
    .action(
      action<LoadOptions, [string]>(async (context, options, image) => {
        const { loadKexec } = await import("../kexec/load.ts");
        const plan = await loadKexec(
          {
            image,
            profile: options.profile,
            initrds: options.initrd,
            overlay: options.overlay,
            commandLine: options.commandLine,
            append: options.append,
            reuse: options.reuseCmdline,
          },
          { onProgress: context.onProgress, signal: context.signal, dryRun: options.dryRun },
        );
        showKexecPlan(context, plan, options.dryRun !== true);
      }),
    );
  examples(
    command,
    "rekernel kexec load /boot/vmlinuz-6.12.117+deb12-amd64 \\\n" +
      "      --initrd /boot/initrd.img-6.12.117+deb12-amd64 --reuse-cmdline",
    "rekernel kexec load /efi/EFI/Linux/debian.efi --overlay /run/keys --dry-run",
  );
}

function inOrder(file: string, before: string[] | undefined): string[] {
  return [...(before ?? []), file];
}
