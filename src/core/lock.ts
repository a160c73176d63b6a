import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { hasErrno, RekernelError } from "./errors.ts";

/** A held lock; {@link Lock.release} may be called more than once. */
export interface Lock {
  release(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Takes an exclusive lock on a file (created when missing) and waits until it is free.
 *
 * A flock(2) lock held by a child process that lives exactly as long as its standard input: it goes away
 * with this process however that ends, so no lock is ever stale. The child has its own session, because
 * Ctrl-C at a terminal must not release the lock before the work under it has cleaned up.
 *
 * @param onWait called once when another process holds the lock
 * @throws RekernelError RK-TOOL-MISSING (5), RK-LOCK (1)
 */
export async function lockFile(
  path: string,
  options: { signal?: AbortSignal | undefined; onWait?: (() => void) | undefined } = {},
): Promise<Lock> {
  const immediate = await tryLockFile(path, options);
  if (immediate) return immediate;
  options.onWait?.();
  const lock = await startHolder(path, [], options.signal);
  if (!lock) throw lockError(path, "flock ended without the lock");
  return lock;
}

/** Like {@link lockFile}, but gives undefined at once when another holds the lock. */
export async function tryLockFile(
  path: string,
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Lock | undefined> {
  await mkdir(dirname(path), { recursive: true });
  return startHolder(path, ["--nonblock"], options.signal);
}

/** Runs `work` under the lock. */
export async function withLock<T>(
  path: string,
  options: { signal?: AbortSignal | undefined; onWait?: (() => void) | undefined },
  work: () => Promise<T>,
): Promise<T> {
  await using _lock = await lockFile(path, options);
  return await work();
}

const busyExitCode = 75;

function startHolder(
  path: string,
  flags: string[],
  signal: AbortSignal | undefined,
): Promise<Lock | undefined> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const child = spawn(
      "flock",
      [...flags, "--conflict-exit-code", String(busyExitCode), path, "sh", "-c", "echo held; exec cat"],
      { stdio: ["pipe", "pipe", "pipe"], detached: true },
    );
    const ended = new Promise<void>((done) => child.once("close", () => done()));
    const release = async (): Promise<void> => {
      child.stdin.end();
      await ended;
    };
    const abort = (): void => {
      // A waiting flock does not read its input: it has to be told.
      child.kill("SIGTERM");
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    let messages = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      messages += text;
    });
    child.stdin.on("error", () => {});
    child.stdout.once("data", () => {
      signal?.removeEventListener("abort", abort);
      resolve({ release, [Symbol.asyncDispose]: release });
    });
    child.once("error", (error) => {
      signal?.removeEventListener("abort", abort);
      reject(
        hasErrno(error) && error.code === "ENOENT"
          ? new RekernelError("machineCannot", "RK-TOOL-MISSING", "This machine has no flock.", {
              hint: "Install it: apt-get install util-linux",
            })
          : error,
      );
    });
    child.once("close", (code) => {
      signal?.removeEventListener("abort", abort);
      if (code === busyExitCode) resolve(undefined);
      else reject(lockError(path, messages.trim() || `flock ended with exit code ${code}`));
    });
  });
}

function lockError(path: string, reason: string): RekernelError {
  return new RekernelError("failed", "RK-LOCK", `Cannot lock ${path}: ${reason}.`, {
    hint: "The cache must be a writable folder on a file system that supports locks; XDG_CACHE_HOME moves it.",
  });
}
