import { Argument, type Command } from "commander";
import { exitCode } from "../core/errors.ts";
import type { CapabilityName, Check, MachineReport } from "../doctor/report.ts";
import { action, type CommandContext, examples } from "./context.ts";

const marks = {
  ok: ["green", "ok"],
  note: ["yellow", "note"],
  missing: ["red", "missing"],
  unknown: ["yellow", "unknown"],
} as const;

/** `rekernel doctor [capability...]` */
export function registerDoctor(parent: Command): void {
  const command = parent
    .command("doctor")
    .summary("tell what this machine can do, and how to get what is missing")
    .description(
      "Tells what this machine can do with rekernel, what is missing for the rest, and how to get it.\nExits 0 when every capability asked for is there, and 5 when one is not.",
    )
    .addArgument(
      new Argument("[capability...]", "what to look at (default: all)").choices([
        "build",
        "livepatch",
        "kexec",
        "lab",
      ]),
    )
    .option("-a, --all", "list every check, not only those with something to say")
    .action(
      action(async (context, options: { all?: true }, names: CapabilityName[]) => {
        const { examineMachine } = await import("../doctor/doctor.ts");
        const report = await examineMachine(names.length === 0 ? undefined : names, context);
        context.result(report);
        context.print(render(report, options.all === true, context));
        return report.capabilities.every(({ available }) => available)
          ? exitCode.done
          : exitCode.machineCannot;
      }),
    );
  examples(command, "rekernel doctor", "rekernel doctor build lab --json");
}

function render(report: MachineReport, all: boolean, { style }: CommandContext): string {
  const lines = [`This machine runs kernel ${report.kernelRelease}.`];
  for (const { name, title, available, checks } of report.capabilities) {
    const verdict = available ? style("green", "yes") : style("red", "no");
    lines.push("", `${style("bold", name)}: ${title}: ${verdict}`);
    for (const check of checks) if (all || check.state !== "ok") lines.push(...renderCheck(check, style));
  }
  if (report.installCommand !== undefined)
    lines.push("", "This installs the missing packages:", `  ${report.installCommand}`);
  return lines.join("\n");
}

function renderCheck({ name, state, finding, hint }: Check, style: CommandContext["style"]): string[] {
  const [colour, word] = marks[state];
  const lines = [`  ${style(colour, word.padEnd(8))} ${name}: ${finding}`];
  if (hint !== undefined) lines.push(`${" ".repeat(11)}${hint}`);
  return lines;
}
