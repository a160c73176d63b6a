/** How a virtual machine ended. `log` is all that its console printed. */
export type VmEnd =
  /** The guest switched itself off. */
  | { kind: "poweroff"; log: string }
  /** The guest's kernel gave up; `message` is its own ("sysrq triggered crash"). */
  | { kind: "panic"; message: string; log: string }
  /** The guest's kernel stopped on purpose (`halt`): it neither runs nor switches the machine off. */
  | { kind: "halt"; log: string }
  /** The guest gave no sign of life for `silentMs`. */
  | { kind: "hang"; silentMs: number; log: string }
  /** The machine was ended from outside: `stop()`, an aborted signal, or a signal sent to the emulator. */
  | { kind: "killed"; reason: string; log: string };

/** What one line of the console tells about the guest's fate, if anything. */
export type ConsoleSign = { kind: "panic"; message: string } | { kind: "halt" };

/**
 * Reads a fate off a console line.
 *
 * The end of a panic is told by `---[ end Kernel panic - not syncing: … ]---` (kernel/panic.c), which comes
 * after the trace, and only if neither a crash kernel nor a reboot took over: a panic that kdump catches is
 * no end of the machine.
 */
export function consoleSign(line: string): ConsoleSign | undefined {
  const text = line.replace(/^(<\d+>)?\[[ \d.]+\](\[[ \w]+\])? /, "");
  const panic = /^---\[ end Kernel panic - not syncing: (.*) \]---/.exec(text);
  if (panic) return { kind: "panic", message: panic[1]! };
  if (text === "reboot: System halted") return { kind: "halt" };
  return undefined;
}

/** One sentence for people. */
export function describeEnd(end: VmEnd): string {
  switch (end.kind) {
    case "poweroff":
      return "the guest switched itself off";
    case "panic":
      return `the guest's kernel panicked: ${end.message}`;
    case "halt":
      return "the guest halted";
    case "hang":
      return `the guest hangs: no sign of life for ${Math.round(end.silentMs / 1000)} s`;
    case "killed":
      return end.reason;
  }
}

/** The last lines of a console, for error details. */
export function lastLines(log: string, count = 25): string {
  return log.trimEnd().split("\n").slice(-count).join("\n");
}

/** First line of a crash report, as kernel/panic.c, arch/x86/kernel/dumpstack.c and mm/fault.c begin it. */
const crashStart =
  /(BUG: |Oops: |Oops\[|general protection fault|kernel BUG at |invalid opcode: |divide error: |Kernel panic - not syncing)/;

/** The crash report in a console's log: from its first line to the end. Empty without one. */
export function crashText(log: string): string {
  const lines = log.trimEnd().split("\n");
  const lastBoot = lines.findLastIndex((line) => line.includes("] Linux version "));
  const start = lines.findIndex((line, index) => index > lastBoot && crashStart.test(line));
  return start === -1 ? "" : lines.slice(start).join("\n");
}
