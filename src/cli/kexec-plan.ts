import type { PlannedLayout } from "../kexec/lay-out.ts";
import type { KexecPlan } from "../kexec/plan.ts";
import type { KexecPrediction } from "../kexec/signature/predict.ts";
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
    ...(plan.initrds.length + plan.modules.length === 0 ? [["initrd", "none"] as [string, string]] : []),
    ...plan.initrds.map(({ from, bytes }, index): [string, string] => [
      index === 0 ? "initrd" : "",
      `${printable(from)} (${mebibytes(bytes)})`,
    ]),
    ...plan.modules.map(({ path, commandLine, bytes }, index): [string, string] => [
      index === 0 ? "module" : "",
      `${printable(path)} (${mebibytes(bytes)})${commandLine === "" ? "" : `: ${printable(commandLine)}`}`,
    ]),
    ["command line", commandLine],
    ["system call", `${plan.method}: ${printable(plan.methodReason)}`],
    ...(plan.prediction === undefined || loaded
      ? []
      : [["verdict", predictionText(plan.prediction)] as [string, string]]),
  ];
  return [
    loaded ? `${context.style("green", name)} is loaded.` : `${context.style("bold", name)} would be loaded:`,
    ...rows.map(([label, value]) => `  ${label.padEnd(14)}${value}`),
    ...(plan.layout === undefined ? [] : layoutTable(plan.layout).map((line) => `  ${line}`)),
    ...plan.notes.map((note) => `${context.style("yellow", "note:")} ${printable(note)}`),
  ].join("\n");
}

/** What the running kernel is expected to answer. */
function predictionText({ outcome, errno, reason }: KexecPrediction): string {
  const said = {
    accepted: "The running kernel will take it.",
    refused: `The running kernel will refuse it (${errno}).`,
    unknown: "Whether the running kernel will take it is not known.",
  }[outcome];
  return printable(`${said} ${reason}`);
}

/** What lies where, the addresses as /proc/iomem prints them. */
function layoutTable({ segments, entry, kernelEntry, digest }: PlannedLayout): string[] {
  const rows = [
    ["segment", "physical range", "bytes", "memory"],
    ...segments.map(({ name, start, end, bytes, memoryBytes }) => [
      printable(name),
      `${start.toString(16)}-${(end - 1n).toString(16)}`,
      String(bytes),
      mebibytes(memoryBytes),
    ]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  return [
    ...rows.map(([name, range, bytes, memory]) =>
      [name!.padEnd(widths[0]!), range!.padStart(widths[1]!), bytes!.padStart(widths[2]!), memory].join("  "),
    ),
    `entry 0x${entry.toString(16)} in the purgatory, which verifies ${digest === "sha256" ? "their SHA-256" : "a sum of each"} and goes on at 0x${kernelEntry.toString(16)}`,
  ];
}

function mebibytes(bytes: number): string {
  return bytes < 100 << 10 ? `${bytes} bytes` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
