import type { Command } from "commander";
import type { PatchedObject } from "../host/livepatches.ts";
import { action, examples } from "./context.ts";

const taintMeaning: Readonly<Record<string, string>> = {
  K: "live patch",
  O: "out of tree",
  E: "unsigned",
  P: "proprietary",
};

/** `rekernel patch status`: all that the kernel tells about its live patches. */
export function registerPatchStatus(parent: Command): void {
  const command = parent
    .command("status")
    .summary("show live patches in detail: objects, functions, waiting tasks")
    .description(
      "Show the live patches of the running kernel in detail: what each one replaces,\n" +
        "and, while one is in transition, which tasks it waits for.",
    )
    .argument("[name]", "one patch only")
    .action(
      action<object, [string | undefined]>(async (context, _options, name) => {
        const { patchStatus } = await import("../livepatch/manage/status.ts");
        const { explainWaiting } = await import("../livepatch/manage/transition.ts");
        const { describeState } = await import("./patch-text.ts");
        const patches = await patchStatus(name);
        context.result({ patches });
        if (patches.length === 0) return context.print("No live patch is loaded.");
        for (const patch of patches) {
          const lines = [`${context.style("bold", patch.name)}: ${describeState(patch)}`];
          if (patch.replace === true) lines.push("  replaces all patches before it");
          if (patch.stackOrder !== undefined) lines.push(`  position ${patch.stackOrder} in the stack`);
          const taint = patch.module?.taint ?? "";
          if (taint !== "")
            lines.push(`  taint: ${[...taint].map((letter) => taintMeaning[letter] ?? letter).join(", ")}`);
          for (const object of patch.objects) {
            lines.push(`  ${object.name}${object.patched === false ? ` (${whyUnpatched(object)})` : ""}`);
            for (const { name: functionName, sympos } of object.functions)
              lines.push(`    ${functionName}${sympos > 1 ? ` (symbol ${sympos} of that name)` : ""}`);
          }
          if (patch.transition) {
            lines.push(`  waiting for ${patch.waiting.length}:`);
            for (const line of explainWaiting(patch.waiting).split("\n")) lines.push(`    ${line}`);
          }
          context.print(lines.join("\n"));
        }
      }),
    );
  examples(command, "rekernel patch status", "rekernel patch status fix --json");
}

function whyUnpatched(object: PatchedObject): string {
  return object.name === "vmlinux" ? "not patched" : "not loaded: patched when it comes";
}
