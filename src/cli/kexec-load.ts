import type { Command } from "commander";
import { action, examples } from "./context.ts";
import { describeChoice } from "./kexec-list.ts";
import { showKexecPlan } from "./kexec-plan.ts";
import { addRequestOptions, type RequestOptions, requestOf } from "./kexec-request.ts";

interface LoadOptions extends RequestOptions {
  dryRun?: boolean;
}

/** `rekernel kexec load`: check a kernel and hand it to the running one for the next jump. */
export function registerKexecLoad(parent: Command): void {
  const command = addRequestOptions(parent.command("load"))
    .summary("load the kernel that kexec exec will start")
    .description(
      "Check a kernel image and load it for the next jump (kexec_file_load). The\n" +
        "running kernel verifies its signature where it demands one. Nothing is\n" +
        "started yet; a kernel that was loaded before is replaced.\n\n" +
        "Without an image it is the kernel that a reboot would start, with the initrd\n" +
        "and the command line that the boot loader gives it: see rekernel kexec list.",
    )
    .option("--dry-run", "show what would be loaded; needs no root, and changes nothing")
    .action(
      action<LoadOptions, [string | undefined]>(async (context, options, image) => {
        const { loadKexec } = await import("../kexec/load.ts");
        const { request, choice } = await requestOf(options, image);
        if (choice !== undefined) context.print(describeChoice(context, choice));
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
