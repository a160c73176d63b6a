/** Loading the next kernel, and dropping it again. */
import { RekernelError } from "../core/errors.ts";
import { runStep, type WorkOptions } from "../core/progress.ts";
import { KernelLogTail } from "../host/kernel-log.ts";
import { kexecFileLoad, kexecFileUnload, readKexecState } from "../host/kexec.ts";
import { kexecLoad, kexecUnload } from "../host/kexec-load.ts";
import { readLockdown } from "../host/lockdown.ts";
import { requireCapability } from "../host/privilege.ts";
import { runningKernel } from "../host/running-kernel.ts";
import { SyscallError } from "../host/syscall.ts";
import { explainKexecFailure } from "./explain.ts";
import { forgetLoaded, type LoadedRecord, rememberLoaded } from "./loaded-record.ts";
import { type KexecPlan, type KexecRequest, type PreparedKexec, prepareKexec } from "./plan.ts";
import { expectedImage } from "./purgatory/loaded.ts";
import type { SegmentLayout } from "./segments/segment.ts";

export interface LoadKexecOptions extends WorkOptions {
  /** Check and plan only: needs no privileges, and changes nothing. */
  dryRun?: boolean | undefined;
}

/**
 * Loads a kernel for the next jump; one that was loaded before is replaced.
 * The running kernel verifies, unpacks and places it now, not at the jump.
 *
 * @throws RekernelError RK-NOT-ROOT, RK-NO-KEXEC, RK-KEXEC-DISABLED (5); RK-KEXEC-SIGNATURE (4);
 *   RK-NO-MEMORY, RK-KEXEC-… (1); and as {@link prepareKexec}
 */
export async function loadKexec(request: KexecRequest, options: LoadKexecOptions = {}): Promise<KexecPlan> {
  const prepared = await runStep(options, "plan", "Check the kernel image", async () =>
    prepareKexec(request, (await runningKernel()).commandLine),
  );
  const { plan } = prepared;
  if (options.dryRun === true) return plan;
  if (request.memoryMap !== undefined)
    throw new RekernelError(
      "usage",
      "RK-USAGE",
      "By another machine's memory map nothing can be loaded here.",
      {
        hint: "Add --dry-run to see the plan, or leave out --memory-map.",
      },
    );
  await requireCapability("CAP_SYS_BOOT", "Loading a kernel");
  await requireKexec();
  return runStep(options, "load", `Load ${plan.release ?? plan.image}`, () =>
    handOverSomehow(prepared, request),
  );
}

/** What makes kexec_file_load worth a try where kexec_load was only the better choice. */
const kexecLoadRefusals = new Set(["ENOSYS", "EPERM", "EACCES", "EADDRNOTAVAIL", "ENOMEM"]);

async function handOverSomehow(prepared: PreparedKexec, request: KexecRequest): Promise<KexecPlan> {
  try {
    await handOver(prepared);
    return prepared.plan;
  } catch (error) {
    const { kind, method } = prepared.plan;
    const isOwnChoice =
      (request.syscall ?? "auto") === "auto" && method === "kexec_load" && kind === "bzimage";
    const { cause } = error as Error;
    if (!isOwnChoice || request.entry32Bit === true) throw error;
    if (!(cause instanceof SyscallError) || !kexecLoadRefusals.has(cause.code)) throw error;
    const other = await prepareKexec(
      { ...request, syscall: "kexec_file_load" },
      (await runningKernel()).commandLine,
    );
    await handOver(other);
    const note = `kexec_load was refused (${cause.code}): the kernel unpacks itself after the jump.`;
    return { ...other.plan, notes: [note, ...other.plan.notes] };
  }
}

async function handOver({ plan, handover }: PreparedKexec): Promise<void> {
  const log = await KernelLogTail.open();
  try {
    await forgetLoaded();
    if (handover.by === "kexec_file_load")
      await kexecFileLoad(handover.kernel, handover.initrd, plan.commandLine);
    else {
      await kexecLoad(handover.layout.segments, handover.layout.entry);
      await rememberLoaded(recordOf(plan, handover.layout));
    }
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    const lines = log.read().filter((line) => /kexec|lockdown|signature/i.test(line));
    const found = { ...(await circumstances()), signature: plan.signature };
    throw explainKexecFailure(`load ${plan.image}`, error, found, lines);
  } finally {
    log.close();
  }
}

function recordOf({ release, image, commandLine, layout }: KexecPlan, loaded: SegmentLayout): LoadedRecord {
  return { release, image, commandLine, digest: layout?.digest ?? "sha256", expected: expectedImage(loaded) };
}

/**
 * Drops the loaded kernel.
 *
 * @throws RekernelError RK-KEXEC-NOT-LOADED (3); RK-NOT-ROOT, RK-NO-KEXEC, RK-KEXEC-DISABLED (5); RK-BUSY (1)
 */
export async function unloadKexec(options: WorkOptions = {}): Promise<void> {
  const state = await requireKexec();
  if (state.loaded !== true)
    throw new RekernelError("nothingToDo", "RK-KEXEC-NOT-LOADED", "No kernel is loaded for kexec.");
  await requireCapability("CAP_SYS_BOOT", "Unloading a kernel");
  await runStep(options, "unload", "Drop the loaded kernel", async () => {
    try {
      await dropLoaded();
      await forgetLoaded();
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      throw explainKexecFailure("drop the loaded kernel", error, await circumstances());
    }
  });
}

/**
 * Either call drops what the other one loaded; under lockdown only kexec_file_load is allowed to.
 * Nothing loaded is no error.
 *
 * @throws SyscallError
 */
export async function dropLoaded(which: "next" | "crash" = "next"): Promise<void> {
  try {
    await kexecFileUnload(which);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== "ENOSYS" || which === "crash") throw error;
    await kexecUnload();
  }
}

/** @throws RekernelError RK-NO-KEXEC (5) when the running kernel cannot kexec */
export async function requireKexec() {
  const state = await readKexecState();
  if (state.supported) return state;
  throw new RekernelError("machineCannot", "RK-NO-KEXEC", "The running kernel has no kexec.", {
    hint: "/sys/kernel/kexec_loaded is missing: the kernel needs CONFIG_KEXEC_FILE=y or CONFIG_KEXEC=y, and sysfs must be mounted.",
  });
}

async function circumstances() {
  const [state, lockdown] = await Promise.all([readKexecState(), readLockdown()]);
  return { state, lockdown };
}
