import type { Command } from "commander";
import type { PatchModule } from "../livepatch/inspect.ts";
import { action, type CommandContext, examples } from "./context.ts";

/** `rekernel patch inspect`: say what a live patch module will do, without loading it. */
export function registerPatchInspect(parent: Command): void {
  const command = parent
    .command("inspect")
    .summary("say what a live patch module will do")
    .description(
      "Say what a live patch module will do: which functions it replaces, in which\nkernel, and which symbols livepatch has to bind. Nothing is loaded.",
    )
    .argument("<module>", "a live patch (.ko)")
    .action(
      action<object, [string]>(async (context, _options, path) => {
        const { inspectPatchModule } = await import("../livepatch/inspect.ts");
        const module = await inspectPatchModule(path);
        context.print(patchModuleText(module, context));
        context.result(module);
      }),
    );
  examples(command, "rekernel patch inspect fix.ko");
}

function patchModuleText(module: PatchModule, { style }: CommandContext): string {
  const functions = module.objects.flatMap(({ object, functions: list }) =>
    list.map(
      ({ name, sympos, newSizeBytes }) =>
        `  ${style("bold", name)}${sympos === 0 ? "" : `,${sympos}`} of ${object}  (${newSizeBytes} bytes)`,
    ),
  );
  return [
    `${style("bold", module.name)} is a live patch for ${module.release}.`,
    ...(module.description === undefined ? [] : [module.description]),
    "",
    functions.length > 0
      ? "It replaces:"
      : "Its tables of functions are not static: what it replaces cannot be told from the file.",
    ...functions,
    "",
    `Bound by livepatch: ${module.klpSymbols.length} symbols, ${module.klpRelocations} relocations`,
    ...module.klpSymbols.map(({ object, name, sympos }) => `  ${name},${sympos} of ${object}`),
    `Imported: ${module.imports.length} exported symbols`,
  ].join("\n");
}
