/** Programs of the administrator that run on the way into the next kernel. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { listNames } from "../host/pseudo-files.ts";

/** `pre-load`: before a kernel is loaded; `pre-exec`: before anything is stopped for the jump. */
export type HookStage = "pre-load" | "pre-exec";

/** What hooks learn about the next kernel. */
export interface NextKernel {
  release?: string | undefined;
  /** Path of its image. */
  image?: string | undefined;
  commandLine?: string | undefined;
}

export interface HookOptions extends WorkOptions {
  /** Default /etc/rekernel/kexec.d, which holds one folder for each stage. */
  hookFolder?: string | undefined;
  /** How long each may take. Default 300,000. */
  hookTimeoutMs?: number | undefined;
  /** Run none. */
  noHooks?: boolean | undefined;
}

/** A hook that ran, and succeeded. */
export interface HookRun {
  stage: HookStage;
  path: string;
  /** The end of what it printed. */
  output: string;
}

const defaultFolder = "/etc/rekernel/kexec.d";
const defaultTimeoutMs = 300_000;
/** Of a hook's output its end is kept: that is where the reason stands. */
const keptBytes = 4096;

/** run-parts(8) takes no other names: editors' and packages' leftovers (`x~`, `x.dpkg-old`) do not run. */
export function isHookName(name: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(name);
}

/** What a hook finds in its environment. What is not known is empty. */
export function hookEnvironment(stage: HookStage, next: NextKernel): Record<string, string> {
  return {
    REKERNEL_KEXEC_STAGE: stage,
    REKERNEL_KEXEC_RELEASE: next.release ?? "",
    REKERNEL_KEXEC_IMAGE: next.image ?? "",
    REKERNEL_KEXEC_COMMAND_LINE: next.commandLine ?? "",
  };
}

/** Paths of the hooks of one stage, in the order in which they run: by the bytes of their names. */
export async function hooksOf(stage: HookStage, folder = defaultFolder): Promise<string[]> {
  const paths: string[] = [];
  for (const name of await listNames(join(folder, stage))) {
    const path = join(folder, stage, name);
    const usable =
      isHookName(name) &&
      (await stat(path).catch(() => undefined))?.isFile() === true &&
      (await access(path, constants.X_OK).then(
        () => true,
        () => false,
      ));
    if (usable) paths.push(path);
  }
  return paths;
}

/**
 * Runs the hooks of a stage one after the other. The first that fails, or takes too long, ends it; its processes
 * are killed with it.
 *
 * @throws RekernelError RK-KEXEC-HOOK (4) with the end of its output
 */
export async function runHooks(
  stage: HookStage,
  next: NextKernel,
  options: HookOptions = {},
): Promise<HookRun[]> {
  if (options.noHooks === true) return [];
  const paths = await hooksOf(stage, options.hookFolder);
  if (paths.length === 0) return [];
  return runStep(
    options,
    "hooks",
    `Run ${paths.length === 1 ? "the hook" : `${paths.length} hooks`} of ${stage}`,
    async (update) => {
      const runs: HookRun[] = [];
      for (const path of paths) {
        update(path);
        runs.push({ stage, path, output: await runHook(path, hookEnvironment(stage, next), options) });
      }
      return runs;
    },
  );
}

async function runHook(
  path: string,
  environment: Record<string, string>,
  { hookTimeoutMs = defaultTimeoutMs, signal }: HookOptions,
): Promise<string> {
  signal?.throwIfAborted();
  const child = spawn(path, [], {
    cwd: "/",
    env: { ...process.env, ...environment },
    // A group of its own, so that what it started ends with it.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = once(child, "close").catch(() => {});
  let output = "";
  const collect = (chunk: Buffer) => {
    output = `${output}${chunk.toString("utf8")}`.slice(-keptBytes);
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  let late = false;
  const end = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {}
    // What left the group may hold the pipes open.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const timer = setTimeout(() => {
    late = true;
    end();
  }, hookTimeoutMs);
  signal?.addEventListener("abort", end);
  try {
    const how = await new Promise<string | undefined>((resolve) => {
      child.on("error", (error) => resolve(`it cannot be started: ${error.message}`));
      // A hook is over when it is, not when a daemon that it started closes its output.
      child.on("exit", (code, name) =>
        resolve(
          code === 0 ? undefined : code === null ? `it was ended by ${name}` : `it exited with ${code}`,
        ),
      );
    });
    signal?.throwIfAborted();
    // What it printed last may still be in the pipe, which a daemon of its may hold open for ever.
    await Promise.race([closed, sleep(200, undefined, { ref: false })]);
    const reason = late ? `it took longer than ${hookTimeoutMs / 1000} seconds` : how;
    if (reason === undefined) return output;
    throw new RekernelError("refused", "RK-KEXEC-HOOK", `The hook ${path} stops the kexec: ${reason}.`, {
      hint: "See to what it says, or go without hooks: --no-hooks",
      ...(output.trim() === "" ? {} : { details: output.trimEnd() }),
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}
