import type { Command } from "commander";
import { exitCode } from "../core/errors.ts";
import type { Finding, Remedy, Severity } from "../kexec/preflight/finding.ts";
import type { KexecPreflight } from "../kexec/preflight/preflight.ts";
import type { Quieted } from "../kexec/quiesce/quiesce.ts";
import { action, type CommandContext, examples } from "./context.ts";
import { inOrder } from "./kexec-request.ts";
import { printable } from "./printable.ts";

const marks = {
  blocks: ["red", "blocks"],
  warns: ["yellow", "warns"],
  unknown: ["yellow", "unknown"],
  notes: ["dim", "notes"],
} as const;

/** More names than this say no more; --json has all of them. */
const shownItems = 12;

/** Of the option that several commands have. */
export const unbindText =
  "take this PCI device (0000:01:00.0) from its driver, unless a disk or mount needs it";

/** `rekernel kexec preflight`: what a kexec would cost this machine. */
export function registerKexecPreflight(parent: Command): void {
  const command = parent
    .command("preflight")
    .summary("list what may come up in a bad state or be lost")
    .description(
      "List what may come up in a bad state or be lost when this machine kexecs, and\nwhat to do about it. Nothing is changed. Needs no root, and says what only root\ncould have looked at.\n\n" +
        "With --quiesce it does what it can about its findings: it unmounts file systems\n" +
        "on the network, takes devices without a driver the right to write to memory,\n" +
        "arms a watchdog and writes data out; then it looks again.\n\n" +
        "Exits 4 when something blocks: it has to be seen to first. Else 0.",
    )
    .option("--quiesce", "do what can be done about the findings; needs root")
    .option("--unbind <address>", unbindText, inOrder)
    .action(
      action<{ quiesce?: boolean; unbind?: string[] }, []>(async (context, { quiesce, unbind }) => {
        const { preflightKexec } = await import("../kexec/preflight/preflight.ts");
        const found = await preflightKexec();
        if (quiesce !== true && unbind === undefined) {
          context.result(found);
          context.print(describePreflight(found, context));
          return found.blocked ? exitCode.refused : exitCode.done;
        }
        const { quiesceMachine } = await import("../kexec/quiesce/quiesce.ts");
        const quieted = await quiesceMachine(quiesce === true ? found.findings : [], {
          unbind,
          onProgress: context.onProgress,
          signal: context.signal,
        });
        const report = await preflightKexec();
        context.result({ ...report, quieted });
        context.print(describeQuieted(quieted, context));
        context.print(describePreflight(report, context));
        return report.blocked ? exitCode.refused : exitCode.done;
      }),
    );
  examples(
    command,
    "rekernel kexec preflight",
    "rekernel kexec preflight && rekernel kexec exec",
    "sudo rekernel kexec preflight --quiesce",
    `rekernel kexec preflight --json | jq '.findings[] | select(.severity == "blocks")'`,
  );
}

/** All findings; with `briefNotes` those that are only good to know in one line each. */
export function describePreflight(
  { running, findings }: KexecPreflight,
  { style }: CommandContext,
  { briefNotes = false } = {},
): string {
  const lines = findings.flatMap((finding) =>
    briefNotes && finding.severity === "notes"
      ? [`${style("dim", "notes  ")}  ${printable(finding.subject)}`]
      : [...renderFinding(finding, style), ""],
  );
  if (lines.length > 0 && lines.at(-1) !== "") lines.push("");
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
    ...(finding.remedies === undefined || finding.remedies.length === 0
      ? []
      : [`${indent}--quiesce: ${printable(finding.remedies.map(remedyText).join(", "))}`]),
  ];
}

const remedyTexts: Readonly<Record<Remedy["action"], string>> = {
  unmount: "unmount",
  "bus-master-off": "switch off bus mastering of",
  "arm-watchdog": "arm",
  "write-out": "write it out",
  unbind: "take from its driver",
};

function remedyText({ action: name, target }: Remedy): string {
  return `${remedyTexts[name]} ${target}`.trim();
}

/** What `--quiesce` did, each with how it stood before and how it stands now. */
export function describeQuieted(quieted: readonly Quieted[], { style }: CommandContext): string {
  if (quieted.length === 0) return "There was nothing to quiesce.";
  return quieted
    .map(({ done, before, after, ...remedy }) => {
      const mark = done ? style("green", "done   ") : style("red", "failed ");
      return `${mark}  ${printable(`${remedyText(remedy)}: ${before === "" ? "" : `${before} -> `}${after}`)}`;
    })
    .join("\n");
}
