import type { Command } from "commander";
import { action, examples } from "./context.ts";
import { printable } from "./printable.ts";

/** `rekernel kexec confirm`: keep the kernel on trial. */
export function registerKexecConfirm(parent: Command): void {
  const command = parent
    .command("confirm")
    .summary("keep the kernel that runs on trial (--fallback)")
    .description(
      "Keep the kernel that was started with rekernel kexec --fallback: nothing goes\n" +
        "back to the old one any more, and all that was made for that is removed.\n" +
        "Exits 3 when no kernel is on trial.",
    )
    .action(
      action(async (context) => {
        const { confirmKernel } = await import("../kexec/fallback/trial.ts");
        const confirmed = await confirmKernel({ onProgress: context.onProgress, signal: context.signal });
        context.print(`${context.style("green", printable(confirmed.running))} stays.`);
        context.result(confirmed);
      }),
    );
  examples(command, "sudo rekernel kexec confirm");
}
