import type { Command } from "commander";
import { action, examples } from "./context.ts";

/** `rekernel patch list`: one line for each live patch of the running kernel. */
export function registerPatchList(parent: Command): void {
  const command = parent
    .command("list")
    .summary("list the live patches of the running kernel")
    .description("List the live patches of the running kernel.")
    .action(
      action(async (context) => {
        const { listPatches } = await import("../livepatch/manage/status.ts");
        const { describeState } = await import("./patch-text.ts");
        const patches = await listPatches();
        context.result({ patches });
        if (patches.length === 0) return context.print("No live patch is loaded.");
        const width = Math.max(4, ...patches.map(({ name }) => name.length));
        context.print(`${"NAME".padEnd(width)}  ${"STATE".padEnd(12)}  FUNCTIONS  OBJECTS`);
        for (const patch of patches) {
          const count = patch.objects.reduce((sum, object) => sum + object.functions.length, 0);
          const objects = patch.objects.map(({ name }) => name).join(", ");
          context.print(
            `${patch.name.padEnd(width)}  ${describeState(patch).padEnd(12)}  ${String(count).padStart(9)}  ${objects}`,
          );
        }
      }),
    );
  examples(command, "rekernel patch list", "rekernel patch list --json");
}
