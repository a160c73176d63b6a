import { type Command, Option } from "commander";
import { action, examples } from "./context.ts";

interface LoadOptions {
  initrd?: string;
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
    .argument("<image>", "the kernel (vmlinuz, bzImage)")
    .option("--initrd <file>", "the initial RAM disk; without it the kernel gets none")
    .addOption(
      new Option("--command-line <text>", "the whole command line of the next kernel").conflicts(
        "reuseCmdline",
      ),
    )
    .option("--reuse-cmdline", "take the running kernel's command line (without BOOT_IMAGE=)")
    .option("--append <text>", "add words at the end of the command line")
    .action(
      action<LoadOptions, [string]>(async (context, options, image) => {
        const { loadKexec } = await import("../kexec/load.ts");
        const plan = await loadKexec(
          {
            image,
            initrd: options.initrd,
            commandLine: options.commandLine,
            append: options.append,
            reuse: options.reuseCmdline,
          },
          { onProgress: context.onProgress, signal: context.signal },
        );
        context.print(`${context.style("green", plan.release ?? plan.image)} is loaded.`);
        context.print(
          plan.initrd === undefined
            ? "  initrd        none"
            : `  initrd        ${plan.initrd} (${(plan.initrdBytes / 2 ** 20).toFixed(1)} MiB)`,
        );
        context.print(`  command line  ${plan.commandLine === "" ? "(empty)" : plan.commandLine}`);
        context.print("Start it with: rekernel kexec exec");
        context.result(plan);
      }),
    );
  examples(
    command,
    "rekernel kexec load /boot/vmlinuz-6.12.117+deb12-amd64 \\\n" +
      "      --initrd /boot/initrd.img-6.12.117+deb12-amd64 --reuse-cmdline",
  );
}
