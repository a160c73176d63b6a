/**
 * Exit codes of every rekernel command.
 *
 * 0 done, 1 failed, 2 wrong usage, 3 nothing to do (no functional change),
 * 4 refused (cannot be done safely), 5 this machine cannot (permission, kernel feature or tool missing).
 */
export const exitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  nothingToDo: 3,
  refused: 4,
  machineCannot: 5,
} as const;

export type ErrorKind = Exclude<keyof typeof exitCode, "done">;

export interface ErrorOptions {
  /** What the reader can do about it, as one or more full sentences. */
  hint?: string;
  /** Longer evidence (compiler output, a list of functions), printed below the message. */
  details?: string;
  cause?: unknown;
}

/**
 * The one error type for everything that is expected to go wrong.
 *
 * `code` is stable and documented in docs/errors.md (`RK-…`); `kind` decides the exit code;
 * `message` names the thing and the reason.
 */
export class RekernelError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly hint: string | undefined;
  readonly details: string | undefined;

  constructor(kind: ErrorKind, code: string, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RekernelError";
    this.kind = kind;
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
  }

  get exitCode(): number {
    return exitCode[this.kind];
  }
}

/** True for system errors that carry an errno name, such as those of node:fs. */
export function hasErrno(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && "code" in error && typeof error.code === "string";
}
