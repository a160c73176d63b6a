import { styleText } from "node:util";
import { type ErrorKind, exitCode, hasErrno, RekernelError } from "../core/errors.ts";
import { wrapFor } from "./wrap.ts";

/** Exit codes of a command that a signal or a closed pipe ended, as a shell would report them. */
export const signalExitCode = { SIGHUP: 129, SIGINT: 130, SIGPIPE: 141, SIGTERM: 143 } as const;

/** An error as users see it, and as `--json` prints it. */
export interface ErrorReport {
  code: string;
  message: string;
  hint?: string;
  details?: string;
  exitCode: number;
}

/** Turns anything that was thrown into something a user can act on. */
export function reportOf(error: unknown): ErrorReport {
  if (error instanceof RekernelError)
    return {
      code: error.code,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.details === undefined ? {} : { details: error.details }),
      exitCode: error.exitCode,
    };
  if (hasErrno(error) && typeof error.path === "string") return systemReport(error.code, error.path);
  return {
    code: "RK-INTERNAL",
    message: `Something went wrong that rekernel did not expect: ${error instanceof Error ? error.message : String(error)}`,
    hint: "This is a defect of rekernel. Please report it with the command line and what the same command prints with REKERNEL_DEBUG=1.",
    exitCode: exitCode.failed,
  };
}

function systemReport(errno: string, path: string): ErrorReport {
  const known: Readonly<Record<string, { code: string; reason: string; kind: ErrorKind; hint?: string }>> = {
    ENOENT: { code: "RK-FILE", reason: "there is no such file", kind: "failed" },
    ENOTDIR: { code: "RK-FILE", reason: "a part of the path is not a folder", kind: "failed" },
    EISDIR: { code: "RK-FILE", reason: "it is a folder", kind: "failed" },
    EACCES: {
      code: "RK-PERMISSION",
      reason: "permission denied",
      kind: "machineCannot",
      hint: "Run the command as a user who may, for example with sudo.",
    },
    EPERM: {
      code: "RK-PERMISSION",
      reason: "the operation is not permitted",
      kind: "machineCannot",
      hint: "Run the command as a user who may, for example with sudo.",
    },
    ENOSPC: {
      code: "RK-DISK-FULL",
      reason: "no space left on its file system",
      kind: "failed",
      hint: "Free some space, or point XDG_CACHE_HOME at a larger file system.",
    },
  };
  const { code, reason, kind, hint } = known[errno] ?? { code: "RK-FILE", reason: errno, kind: "failed" };
  return {
    code,
    message: `Cannot use ${path}: ${reason}.`,
    ...(hint === undefined ? {} : { hint }),
    exitCode: exitCode[kind],
  };
}

/** The report as text for standard error. */
export function renderReport(report: ErrorReport, stream: NodeJS.WriteStream): string {
  const said = [`${styleText(["red", "bold"], "rekernel:", { stream })} ${report.message}`];
  for (const line of report.hint?.trimEnd().split("\n") ?? []) said.push(`  ${line}`);
  const details: string[] = [];
  for (const line of report.details?.trimEnd().split("\n") ?? [])
    details.push(styleText("dim", `    ${line}`, { stream }));
  // A refusal's are findings; those of failures are other programs' words, which may point at columns.
  if (report.exitCode === exitCode.refused) said.push(...details.splice(0));
  details.push(styleText("dim", `  [${report.code}]`, { stream }));
  return `${wrapFor(stream, said.join("\n"))}\n${details.join("\n")}\n`;
}
