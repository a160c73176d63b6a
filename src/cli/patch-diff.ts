import type { Command } from "commander";
import { exitCode } from "../core/errors.ts";
import type { ObjectDiff } from "../livepatch/build/object-diff.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { cautionLines, indented } from "./patch-build.ts";

/** `rekernel patch diff`: the object difference alone. */
export function registerPatchDiff(parent: Command): void {
  const command = parent
    .command("diff")
    .summary("compare two objects of one translation unit")
    .description(
      "Compare two objects of one translation unit, compiled from the original and from the\n" +
        "patched source with -ffunction-sections -fdata-sections: which functions a live patch\n" +
        "replaces, what it brings along, and why. No kernel is needed.\n\n" +
        "Exits with 0 when the change can be patched, 3 when nothing changes, 4 when it cannot.",
    )
    .argument("<original>", "object of the original source (.o)")
    .argument("<patched>", "object of the patched source (.o)")
    .action(
      action<object, [string, string]>(async (context, _options, original, patched) => {
        const { readInputFile } = await import("../kernel/input-file.ts");
        const { diffObjects } = await import("../livepatch/build/object-diff.ts");
        const diff = diffObjects(
          await readInputFile(original, "object"),
          await readInputFile(patched, "object"),
          { original, patched },
        );
        context.print(diffText(diff, context));
        context.result(diff);
        return { patchable: exitCode.done, unchanged: exitCode.nothingToDo, refused: exitCode.refused }[
          diff.verdict
        ];
      }),
    );
  examples(command, "rekernel patch diff original/cgroup.o patched/cgroup.o");
}

function diffText(diff: ObjectDiff, { style }: CommandContext): string {
  const verdict = {
    patchable: style("green", "Patchable."),
    unchanged: "No functional change.",
    refused: style("red", "Cannot be patched."),
  }[diff.verdict];
  const lines = [verdict];
  for (const { name, code, reason, hint, source } of diff.reasons) {
    const place = source === undefined || reason.includes(source) ? "" : `${source}: `;
    lines.push(`  ${name === undefined ? code : style("bold", name)}: ${place}${reason}`);
    if (hint !== undefined) lines.push(indented(hint));
  }
  const along = diff.included.filter(({ name }) => !diff.changed.includes(name));
  if (along.length > 0) lines.push("", "Taken along:");
  for (const { name, section, sizeBytes, reason } of along)
    lines.push(`  ${name} (${section}, ${sizeBytes} bytes): ${reason}`);
  const tables = diff.included.flatMap(({ name, tables: entries }) =>
    Object.entries(entries).map(([table, count]) => `  ${table}: ${count} of ${name}`),
  );
  if (tables.length > 0) lines.push("", "Entries of the kernel's tables:", ...tables);
  lines.push(...cautionLines(diff.cautions, style));
  if (diff.removed.length > 0) lines.push("", `Gone: ${diff.removed.join(", ")}`);
  return lines.join("\n");
}
