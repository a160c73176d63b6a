import type { Command } from "commander";
import { exitCode } from "../core/errors.ts";
import type { Finding, Severity } from "../kexec/preflight/finding.ts";
import type { KexecPreflight } from "../kexec/preflight/preflight.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { printable } from "./printable.ts";

const marks = {
  blocks: ["red", "blocks"],
  warns: ["yellow", "warns"],
  unknown: ["yellow", "unknown"],
  notes: ["dim", "notes"],
} as const;

/** More names than this say no more; --json has all of them. */
const shownItems = 12;

/** `rekernel kexec preflight`: what a kexec would cost this machine. */
export function registerKexecPreflight(parent: Command): void {
  const command = parent
    .command("preflight")
    .summary("list what may come up in a bad state or be lost")
    .description(
      "List what may come up in a bad state or be lost when this machine kexecs, and\nwhat to do about it. Nothing is changed. Needs no root, and says what only root\ncould have looked at.\nExits 4 when something blocks: it has to be seen to first. Else 0.",
    )
    .action(
      action(async (context) => {
        const { preflightKexec } = await import("../kexec/preflight/preflight.ts");
        const report = await preflightKexec();
        context.result(report);
        context.print(render(report, context));
        return report.blocked ? exitCode.refused : exitCode.done;
      }),
    );
  examples(
    command,
    "rekernel kexec preflight",
    "rekernel kexec preflight && rekernel kexec exec",
    `rekernel kexec preflight --json | jq '.findings[] | select(.severity == "blocks")'`,
  );
}

function render({ running, findings }: KexecPreflight, { style }: CommandContext): string {
  const lines = findings.flatMap((finding) => [...renderFinding(finding, style), ""]);
  const count = (wanted: Severity) => findings.filter(({ severity }) => severity === wanted).length;
  const verdict =
    count("blocks") > 0
      ? style("red", "See to what blocks first.")
      : count("warns") + count("unknown") > 0
        ? style("yellow", "Nothing blocks; see the warnings.")
        : style("green", "Nothing serious.");
  return [`This machine runs kernel ${printable(running)}.`, "", ...lines, verdict].join("\n");
}

function renderFinding(finding: Finding, style: CommandContext["style"]): string[] {
  const [colour, word] = marks[finding.severity];
  const indent = " ".repeat(9);
  const { items } = finding;
  const shown = items.length > shownItems ? items.slice(0, shownItems - 1) : items;
  return [
    `${style(colour, word.padEnd(7))}  ${style("bold", printable(finding.subject))}`,
    ...shown.map((item) => `${indent}- ${printable(item)}`),
    ...(shown.length < items.length ? [`${indent}- and ${items.length - shown.length} more`] : []),
    `${indent}${printable(finding.why)}`,
    `${indent}${printable(finding.advice)}`,
  ];
}
