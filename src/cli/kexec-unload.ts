import type { Command } from "commander";
import { action, examples } from "./context.ts";

/** `rekernel kexec unload`: drop the loaded kernel. */
export function registerKexecUnload(parent: Command): void {
  const command = parent
    .command("unload")
    .summary("drop the loaded kernel")
    .description("Drop the kernel that was loaded for kexec.")
    .action(
      action(async (context) => {
        const { unloadKexec } = await import("../kexec/load.ts");
        await unloadKexec({ onProgress: context.onProgress, signal: context.signal });
        context.print("The loaded kernel is dropped.");
        context.result({ loaded: false });
      }),
    );
  examples(command, "rekernel kexec unload");
}
