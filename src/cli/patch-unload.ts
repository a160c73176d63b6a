import type { Command } from "commander";
import { action, examples } from "./context.ts";
import { parseSeconds } from "./seconds.ts";

/** `rekernel patch unload`: take a live patch back and remove its module. */
export function registerPatchUnload(parent: Command): void {
  const command = parent
    .command("unload")
    .summary("take a live patch back")
    .description(
      "Take a live patch back: every task returns to the original code, then the\n" +
        "module is removed. When the transition does not end in time, the patch is\n" +
        "enabled again.",
    )
    .argument("<name>", "the patch, as rekernel patch list names it")
    .option("--timeout <seconds>", "how long the transition may take (default: 60)", parseSeconds)
    .action(
      action<{ timeout?: number }, [string]>(async (context, options, name) => {
        const { unloadPatch } = await import("../livepatch/manage/unload.ts");
        const result = await unloadPatch(name, {
          timeoutMs: options.timeout,
          onProgress: context.onProgress,
          signal: context.signal,
        });
        context.print(
          `${result.name} is taken back and removed, transition in ${(result.transitionMs / 1000).toFixed(2)} s.`,
        );
        context.result(result);
      }),
    );
  examples(command, "rekernel patch unload fix");
}
