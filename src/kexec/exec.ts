/** The jump into the loaded kernel. */
import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { runTool } from "../core/tools.ts";
import { initSystem } from "../host/init-system.ts";
import { logToKernel } from "../host/kernel-log.ts";
import { requireCapability } from "../host/privilege.ts";
import { rebootKexec, sync } from "../host/reboot.ts";
import { SyscallError } from "../host/syscall.ts";
import { type HookOptions, type HookRun, type NextKernel, runHooks } from "./hooks.ts";
import { requireKexec } from "./load.ts";
import { recallLoaded } from "./loaded-record.ts";
import { type ShutdownReport, shutDownHere } from "./shutdown.ts";
import { type BeforeJump, verifyBeforeJump } from "./verify.ts";

export interface ExecOptions extends HookOptions {
  /** Jump at once, without ending programs, also under an init system that could stop them in order. */
  now?: boolean | undefined;
  /** What is loaded, for the hooks. */
  next?: NextKernel | undefined;
  /** Called when all that can refuse has agreed, before anything is stopped: the last moment to say something. */
  onLeaving?: ((leaving: Leaving) => Promise<void> | void) | undefined;
}

/** How the machine goes down: through its `init` system, which stops everything first, or `here`. */
export interface Leaving {
  by: "init" | "here";
  /** The hooks of pre-exec, which ran. */
  hooks: HookRun[];
  /** Whether the loaded kernel was verified at the last moment. */
  before: BeforeJump;
}

/** How the jump was begun. `init`: the init system stops everything first and jumps by itself. */
export interface ExecStarted extends Leaving {
  by: "init";
}

/**
 * Starts the loaded kernel, after the hooks of pre-exec. Under systemd that is `systemctl kexec`, which stops all
 * services in order and returns at once. Elsewhere all programs are asked to end, file systems are unmounted or made
 * read-only, and the jump happens here; with `now` nothing is ended. Then this never returns.
 *
 * @throws RekernelError RK-KEXEC-NOT-LOADED (1); RK-NOT-ROOT, RK-NO-KEXEC (5); RK-KEXEC-HOOK (4);
 *   RK-KEXEC-CHANGED (4); RK-KEXEC-FAILED (1)
 */
export async function execKexec(options: ExecOptions = {}): Promise<ExecStarted> {
  const state = await requireKexec();
  if (state.loaded !== true)
    throw new RekernelError("failed", "RK-KEXEC-NOT-LOADED", "No kernel is loaded for kexec.", {
      hint: "Load one first: rekernel kexec load VMLINUZ --initrd INITRD --reuse-cmdline",
    });
  await requireCapability("CAP_SYS_BOOT", "Starting another kernel");
  const throughInit = options.now !== true && (await initSystem()).kind === "systemd";
  const next = options.next ?? (await recallLoaded()) ?? {};
  const hooks = await runHooks("pre-exec", next, options);
  options.signal?.throwIfAborted();
  const before = await verifyBeforeJump(options);
  // Most of it is written while programs still run; what comes after is little.
  await sync();
  const by = throughInit ? ("init" as const) : ("here" as const);
  await options.onLeaving?.({ by, hooks, before });
  await logToKernel(
    `rekernel: going down for kexec${next.release === undefined ? "" : ` into ${next.release}`}`,
  );
  if (throughInit) {
    await runStep(options, "stop", "Ask systemd to stop everything and jump", () =>
      jumpThroughSystemd(options),
    );
    return { by: "init", hooks, before };
  }
  // Once programs end there is no way back: whoever reads our output may be one of them.
  const now = options.now === true;
  const report = await shutDownHere(now ? options : { ...options, signal: undefined });
  if (now) options.signal?.throwIfAborted();
  try {
    return await rebootKexec();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new RekernelError("failed", "RK-KEXEC-FAILED", `The kernel did not jump (${error.code}).`, {
      hint: `${leftBehind(report)} The kernel's log (dmesg) may say why.`,
      cause: error,
    });
  }
}

function leftBehind({ asked, unmounted }: ShutdownReport): string {
  const ended = asked === undefined ? "" : "Programs were ended";
  const gone = unmounted.length === 0 ? "" : `, ${unmounted.join(", ")} unmounted`;
  return `${ended === "" ? "File systems are" : `${ended}${gone}, and file systems are`} read-only now: mount -o remount,rw what is needed, or reboot.`;
}

async function jumpThroughSystemd(options: WorkOptions): Promise<void> {
  const { exitCode, stderr } = await runTool("systemctl", ["kexec"], { signal: options.signal });
  if (exitCode === 0) return;
  throw new RekernelError("failed", "RK-KEXEC-FAILED", "systemd refused to start the loaded kernel.", {
    hint: "To jump at once without stopping services: rekernel kexec exec --now",
    details: stderr.trim(),
  });
}
