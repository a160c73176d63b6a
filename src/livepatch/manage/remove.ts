import { setTimeout as sleep } from "node:timers/promises";
import { RekernelError } from "../../core/errors.ts";
import { deleteModule } from "../../host/modules.ts";
import { SyscallError } from "../../host/syscall.ts";

/** The kernel drops its own reference a little after the transition's end, from a work queue. */
const patienceMs = 10_000;
const retryMs = 50;

/**
 * Removes a live patch's module once nothing uses it; a module that is gone already is fine.
 *
 * @throws RekernelError RK-MODULE-IN-USE (1) when it stays in use
 */
export async function removeModule(name: string): Promise<void> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await deleteModule(name);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.code === "ENOENT") return;
      const mayPass = error.code === "EAGAIN" || error.code === "EBUSY";
      if (!mayPass || performance.now() >= endMs)
        throw new RekernelError(
          "failed",
          "RK-MODULE-IN-USE",
          `The patch ${name} is off, but its module stays in the kernel (${error.code}).`,
          {
            hint: "Something still uses it, its transition was forced, or it has no exit function: it goes with the next boot and does no harm.",
            cause: error,
          },
        );
    }
    await sleep(retryMs);
  }
}
