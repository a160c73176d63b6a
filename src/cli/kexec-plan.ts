import type { KexecPlan } from "../kexec/plan.ts";
import type { CommandContext } from "./context.ts";
import { printable } from "./printable.ts";

const originTexts = {
  given: "given",
  "boot-loader": "the boot loader's",
  running: "the running kernel's",
  image: "the image's own",
} as const;

/** Shows what was loaded, or with a dry run would be. */
export function showKexecPlan(context: CommandContext, plan: KexecPlan, loaded: boolean): void {
  context.print(describeKexecPlan(context, plan, loaded));
  if (loaded) context.print("Start it with: rekernel kexec exec");
  context.result({ ...plan, loaded });
}

/** What is handed to the kernel, as a table. */
export function describeKexecPlan(context: CommandContext, plan: KexecPlan, loaded: boolean): string {
  const name = printable(plan.release ?? plan.image);
  const commandLine =
    plan.commandLineFrom === "none"
      ? printable(plan.commandLine) || "empty: none was chosen"
      : `${printable(plan.commandLine) || "empty"} (${originTexts[plan.commandLineFrom]})`;
  const rows: [string, string][] = [
    ["kernel", `${printable(plan.kernelFrom)} (${mebibytes(plan.kernelBytes)})`],
    ...(plan.profile === undefined ? [] : [["profile", printable(plan.profile)] as [string, string]]),
    ...(plan.initrds.length === 0 ? [["initrd", "none"] as [string, string]] : []),
    ...plan.initrds.map(({ from, bytes }, index): [string, string] => [
      index === 0 ? "initrd" : "",
      `${printable(from)} (${mebibytes(bytes)})`,
    ]),
    ["command line", commandLine],
  ];
  return [
    loaded ? `${context.style("green", name)} is loaded.` : `${context.style("bold", name)} would be loaded:`,
    ...rows.map(([label, value]) => `  ${label.padEnd(14)}${value}`),
    ...plan.notes,
  ].join("\n");
}

function mebibytes(bytes: number): string {
  return bytes < 100 << 10 ? `${bytes} bytes` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
