import { type InspectColor, styleText } from "node:util";
import type { Command } from "commander";
import { exitCode, RekernelError } from "../core/errors.ts";
import type { ProgressListener } from "../core/progress.ts";
import { createProgressView } from "./progress.ts";
import { renderReport, reportOf, signalExitCode } from "./report.ts";
import { wrapFor } from "./wrap.ts";

/** What a command's action gets besides its options and arguments. */
export interface CommandContext {
  json: boolean;
  onProgress: ProgressListener;
  /** Aborted by Ctrl-C, SIGTERM, SIGHUP and by a reader that went away. */
  signal: AbortSignal;
  /** Text for people, on standard output. Does nothing with `--json`. */
  print(text: string): void;
  /** The command's one final JSON document, on standard output. Does nothing without `--json`. */
  result(value: object): void;
  /** Colours text for standard output where that is a terminal and NO_COLOR is not set. */
  style(format: InspectColor | InspectColor[], text: string): string;
}

/**
 * Wraps a command's work for commander's `.action()`: gives it a context, reports what it throws,
 * and sets the exit code it returns (nothing means 0). `--json` needs no declaration: main.ts adds it.
 */
export function action<Options extends object, Args extends unknown[]>(
  handler: (
    context: CommandContext,
    options: Options,
    ...args: Args
  ) => Promise<number | undefined> | Promise<void>,
): (this: Command, ...commanderArgs: unknown[]) => Promise<void> {
  return async (...commanderArgs) => {
    const args = commanderArgs.slice(0, -2) as Args;
    const options = commanderArgs.at(-2) as Options & { json?: boolean };
    await runCommand(options.json === true, (context) => handler(context, options, ...args));
  };
}

/** Examples at the end of a command's help: `examples(command, "rekernel image info /boot/vmlinuz")`. */
export function examples(command: Command, ...lines: string[]): Command {
  const title = lines.length === 1 ? "Example:" : "Examples:";
  return command.addHelpText("after", `\n${title}\n${lines.map((line) => `  ${line}`).join("\n")}`);
}

/** Runs one program's work in a context: signals, progress, error report, exit code. */
export async function runCommand(
  json: boolean,
  work: (context: CommandContext) => Promise<number | undefined> | Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  const view = createProgressView(process.stderr, json);
  let endedBy: keyof typeof signalExitCode | undefined;
  const end = (name: keyof typeof signalExitCode, message: string) => {
    endedBy ??= name;
    controller.abort(new RekernelError("failed", "RK-INTERRUPTED", message));
  };
  const stopListening = listenForSignals((name) => end(name, "Interrupted."));
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    end("SIGPIPE", "The reader of the output went away.");
  });
  process.stderr.on("error", () => {});

  let code: number;
  try {
    code =
      (await work({
        json,
        onProgress: (event) => view.show(event),
        signal: controller.signal,
        print(text) {
          if (json) return;
          view.clear();
          process.stdout.write(wrapFor(process.stdout, text.endsWith("\n") ? text : `${text}\n`));
        },
        result(value) {
          if (json) process.stdout.write(`${JSON.stringify(value, jsonValue, 2)}\n`);
        },
        style: (format, text) => styleText(format, text, { stream: process.stdout }),
      })) ?? exitCode.done;
  } catch (error) {
    view.close();
    if (endedBy === undefined) code = reportFailure(error, json);
    else {
      code = signalExitCode[endedBy];
      if (endedBy !== "SIGPIPE") reportFailure(controller.signal.reason, json, code);
    }
  } finally {
    view.close();
    stopListening();
  }
  process.exitCode = code;
}

/** Reports an error where the user, or the program that asked for JSON, looks for it. */
export function reportFailure(error: unknown, json: boolean, code?: number): number {
  const report = { ...reportOf(error), ...(code === undefined ? {} : { exitCode: code }) };
  if (json) process.stdout.write(`${JSON.stringify({ error: report }, undefined, 2)}\n`);
  else process.stderr.write(renderReport(report, process.stderr));
  if (process.env.REKERNEL_DEBUG === "1" && error instanceof Error) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
      process.stderr.write(`${cause.stack}\n`);
  }
  return report.exitCode;
}

/** JSON has no 64-bit integers that every reader keeps exact: addresses are printed as 0x… strings. */
function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (value instanceof Map) return Object.fromEntries(value);
  if (value instanceof Set) return [...value];
  return value;
}

function listenForSignals(onSignal: (name: "SIGINT" | "SIGTERM" | "SIGHUP") => void): () => void {
  let firstMs: number | undefined;
  const listener = (name: NodeJS.Signals) => {
    if (name !== "SIGINT" && name !== "SIGTERM" && name !== "SIGHUP") return;
    if (firstMs === undefined) {
      firstMs = performance.now();
      onSignal(name);
      return;
    }
    // npm and shells deliver one Ctrl-C twice; only a later one is the user's second.
    if (performance.now() - firstMs < 1000) return;
    process.stderr.write("rekernel: left without cleaning up.\n");
    process.exit(signalExitCode[name]);
  };
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of names) process.on(name, listener);
  return () => {
    for (const name of names) process.off(name, listener);
  };
}
