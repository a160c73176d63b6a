/** The jump into the loaded kernel. */
import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { runTool } from "../core/tools.ts";
import { initSystem } from "../host/init-system.ts";
import { requireCapability } from "../host/privilege.ts";
import { rebootKexec, remountReadOnly, sync } from "../host/reboot.ts";
import { SyscallError } from "../host/syscall.ts";
import { requireKexec } from "./load.ts";

export interface ExecOptions extends WorkOptions {
  /** Jump at once, without stopping services, also under an init system that could stop them. */
  now?: boolean | undefined;
}

/** How the jump was begun. `init`: the init system stops everything first and jumps by itself. */
export interface ExecStarted {
  by: "init";
}

/**
 * Starts the loaded kernel. Under systemd that is `systemctl kexec`, which stops all services first and
 * returns at once. Elsewhere, or with `now`, file systems are written out and made read-only and the jump
 * happens here: then this never returns.
 *
 * @throws RekernelError RK-KEXEC-NOT-LOADED (1); RK-NOT-ROOT, RK-NO-KEXEC (5); RK-KEXEC-FAILED (1)
 */
export async function execKexec(options: ExecOptions = {}): Promise<ExecStarted> {
  const state = await requireKexec();
  if (state.loaded !== true)
    throw new RekernelError("failed", "RK-KEXEC-NOT-LOADED", "No kernel is loaded for kexec.", {
      hint: "Load one first: rekernel kexec load VMLINUZ --initrd INITRD --reuse-cmdline",
    });
  await requireCapability("CAP_SYS_BOOT", "Starting another kernel");
  if (options.now !== true && (await initSystem()).kind === "systemd") {
    await runStep(options, "stop", "Ask systemd to stop everything and jump", () =>
      jumpThroughSystemd(options),
    );
    return { by: "init" };
  }
  await runStep(options, "sync", "Write out the file systems", async () => {
    await sync();
    await remountReadOnly();
  });
  // No way back and no clean-up after this line: Ctrl-C counts up to here.
  options.signal?.throwIfAborted();
  try {
    return await rebootKexec();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new RekernelError("failed", "RK-KEXEC-FAILED", `The kernel did not jump (${error.code}).`, {
      hint: "File systems are read-only now: mount -o remount,rw what is needed, or reboot. The kernel's log (dmesg) may say why.",
      cause: error,
    });
  }
}

async function jumpThroughSystemd(options: WorkOptions): Promise<void> {
  const { exitCode, stderr } = await runTool("systemctl", ["kexec"], { signal: options.signal });
  if (exitCode === 0) return;
  throw new RekernelError("failed", "RK-KEXEC-FAILED", "systemd refused to start the loaded kernel.", {
    hint: "To jump at once without stopping services: rekernel kexec exec --now",
    details: stderr.trim(),
  });
}
