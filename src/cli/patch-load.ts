import type { Command } from "commander";
import { action, examples } from "./context.ts";
import { parseSeconds } from "./seconds.ts";

/** `rekernel patch load`: load a live patch and watch it to the end of its transition. */
export function registerPatchLoad(parent: Command): void {
  const command = parent
    .command("load")
    .summary("load a live patch into the running kernel")
    .description(
      "Load a live patch into the running kernel and wait until every task uses it.\n" +
        "When the transition does not end in time, the patch is taken back and the\n" +
        "machine is as it was before.",
    )
    .argument("<module>", "the live patch, as rekernel patch build made it (.ko)")
    .option("--timeout <seconds>", "how long the transition may take (default: 60)", parseSeconds)
    .action(
      action<{ timeout?: number }, [string]>(async (context, options, path) => {
        const { loadPatch } = await import("../livepatch/manage/load.ts");
        const result = await loadPatch(path, {
          timeoutMs: options.timeout,
          onProgress: context.onProgress,
          signal: context.signal,
        });
        const { patch, transitionMs, replaced } = result;
        const count = patch.objects.reduce((sum, object) => sum + object.functions.length, 0);
        context.print(
          `${context.style("green", patch.name)} is live: ${count} ${count === 1 ? "function" : "functions"} replaced, ` +
            `transition in ${(transitionMs / 1000).toFixed(2)} s.`,
        );
        if (replaced.length > 0) context.print(`It took the place of ${replaced.join(", ")}.`);
        context.result(result);
      }),
    );
  examples(command, "rekernel patch load fix.ko", "rekernel patch load fix.ko --timeout 120");
}
