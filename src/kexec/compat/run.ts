/** Does what a command line of kexec-tools asks for, with rekernel's own functions. */
import { access, constants } from "node:fs/promises";
import { hasErrno, RekernelError } from "../../core/errors.ts";
import type { WorkOptions } from "../../core/progress.ts";
import { runTool } from "../../core/tools.ts";
import { errnoText } from "../../host/errno.ts";
import { readKexecState } from "../../host/kexec.ts";
import { takeInterfacesDown } from "../../host/network-interfaces.ts";
import { requireCapability } from "../../host/privilege.ts";
import { rebootKexec, sync } from "../../host/reboot.ts";
import { runningKernel } from "../../host/running-kernel.ts";
import { SyscallError } from "../../host/syscall.ts";
import { dropLoaded, loadKexec, requireKexec } from "../load.ts";
import { forgetLoaded } from "../loaded-record.ts";
import { type ImageKind, kindNames } from "../loaders/kind.ts";
import { moduleRequest } from "../modules.ts";
import { type KexecPlan, type KexecRequest, planKexec } from "../plan.ts";
import { verifyBeforeJump } from "../verify.ts";
import { type CompatCommand, type CompatLoad, type CompatWork, compatExit } from "./command.ts";
import type { ImageType } from "./options.ts";

/** Where kexec-tools prints: results on standard output, the rest on standard error. */
export interface CompatOutput {
  out(line: string): void;
  error(line: string): void;
}

/** A command that needs the machine: help and version are the caller's. */
export type CompatTask = Extract<CompatCommand, { kind: "status" | "crash-size" | "work" }>;

export interface CompatResult {
  /** {@link compatExit}; with `-S` 1 for loaded and 0 for not loaded. */
  exitCode: number;
  /** What was loaded. */
  plan?: KexecPlan;
}

/** Ends the work with a message and an exit code of kexec-tools. */
class Ended extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * Runs one command. Never returns where it jumps.
 *
 * @throws RekernelError for what rekernel refuses, which kexec-tools' callers see as 255
 */
export async function runCompat(
  task: CompatTask,
  output: CompatOutput,
  options: WorkOptions = {},
): Promise<CompatResult> {
  if (task.kind === "crash-size") {
    output.out(String((await readKexecState()).crashSizeBytes ?? 0));
    return { exitCode: compatExit.done };
  }
  if (task.kind === "status") {
    const { loaded, crashLoaded } = await readKexecState();
    const answer = task.of === "crash" ? crashLoaded : loaded;
    return { exitCode: answer === undefined ? compatExit.failed : answer ? 1 : 0 };
  }
  for (const note of task.work.notes) output.error(`kexec: ${note}`);
  try {
    return await runWork(task.work, output, options);
  } catch (error) {
    if (!(error instanceof Ended)) throw error;
    output.error(error.message);
    return { exitCode: error.exitCode };
  }
}

async function runWork(work: CompatWork, output: CompatOutput, options: WorkOptions): Promise<CompatResult> {
  if (work.load?.crash) await refuseCrashKernel();
  if (work.unload !== undefined) await unload(work.unload);
  const plan = work.load && (await load(work.load, options));
  if (work.debug && plan !== undefined) for (const line of describePlan(plan)) output.error(line);
  if (work.shutdown || work.exec) {
    // Before anything is taken down: kexec-tools finds out behind it on a kernel without kexec, or without root.
    if ((await readKexecState()).loaded !== true)
      throw new Ended("Nothing has been loaded!", compatExit.died);
    await requireCapability("CAP_SYS_BOOT", "Starting another kernel");
    await verifyBeforeJump(options);
  }
  const loaded = plan === undefined ? {} : { plan };
  if (work.shutdown) return { exitCode: await shutDown(output), ...loaded };
  if (work.sync) await sync();
  if (work.interfacesDown)
    for (const problem of await takeInterfacesDown()) output.error(`kexec: ${problem}`);
  if (work.exec) await jump();
  return { exitCode: compatExit.done, ...loaded };
}

async function refuseCrashKernel(): Promise<never> {
  const { crashSizeBytes = 0 } = await readKexecState();
  throw crashSizeBytes === 0
    ? new Ended(
        'Memory for crashkernel is not reserved\nPlease reserve memory by passing"crashkernel=Y@X" parameter ' +
          "to kernel\nThen try to loading kdump kernel",
        compatExit.died,
      )
    : new Ended(
        "-p: rekernel does not load crash kernels yet. Use kexec-tools for it.",
        compatExit.noCrashKernel,
      );
}

/** Content when there is nothing to unload, as the system calls are. */
async function unload(which: "next" | "crash"): Promise<void> {
  await requireKexec();
  try {
    await dropLoaded(which);
    if (which === "next") await forgetLoaded();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new Ended(`kexec unload failed: ${errorText(error.errno)}`, compatExit.failed);
  }
}

/** Where the kernel shows the initrd that it was booted with, under `retain_initrd` (since Linux 6.5). */
const retainedInitrd = "/sys/firmware/initrd";

async function load(wanted: CompatLoad, options: WorkOptions): Promise<KexecPlan> {
  const { kernel = "", append, call } = wanted;
  await requireReadable(kernel, (reason) => `Cannot open \`${kernel}': ${reason}`, compatExit.died);
  if (wanted.initrd !== undefined)
    await requireReadable(
      wanted.initrd,
      (reason) => `Could not open initrd file ${wanted.initrd}: ${reason}`,
      // kexec-tools reads it by itself for kexec_load only.
      call === "kexec_load" ? compatExit.died : compatExit.failed,
    );
  let initrd = wanted.initrd;
  if (wanted.reuseInitrd) {
    await access(retainedInitrd, constants.R_OK).catch(() => {
      throw new Ended(
        "unrecoverable error: current boot didn't retain the initrd for reuse.",
        compatExit.died,
      );
    });
    initrd ??= retainedInitrd;
  }
  const request: KexecRequest = {
    image: kernel,
    ...(initrd === undefined ? {} : { initrds: [initrd] }),
    // Without --reuse-cmdline what is "appended" is the whole line.
    ...(wanted.reuseCommandLine ? { reuse: true, append } : { commandLine: append }),
    modules: wanted.modules.map(moduleRequest),
    syscall: call,
    entry32Bit: wanted.entry32,
    digest: wanted.noChecks ? "sum" : undefined,
    serialPort: wanted.serialPort,
    within: wanted.within,
    efi: !wanted.noEfi,
  };
  if (wanted.type !== undefined) await checkType(wanted.type, request);
  try {
    return await loadKexec(request, options);
  } catch (error) {
    if (call === "kexec_load" || !(error instanceof RekernelError) || !isNotForFileLoad(error)) throw error;
    if (call === "kexec_file_load")
      throw new Ended([error.message, error.hint ?? []].flat().join("\n"), compatExit.noFallback);
    return loadKexec({ ...request, syscall: "kexec_load" }, options);
  }
}

const kindOfType: Readonly<Partial<Record<ImageType, ImageKind>>> = {
  "multiboot2-x86": "multiboot2",
  "elf-x86_64": "vmlinux",
  "multiboot-x86": "multiboot",
  "elf-x86": "elf32",
  bzImage64: "bzimage",
  bzImage: "bzimage",
};

async function checkType(type: ImageType, request: KexecRequest): Promise<void> {
  const { kind } = await planKexec(request, (await runningKernel()).commandLine);
  if ((kindOfType[type] ?? kind) !== kind)
    throw new Ended(`Wrong file type ${type}, file matches type ${kindNames[kind]}`, compatExit.failed);
}

/** kexec-tools' list: the kernel lacks the call or does not know the image; any other error is final. */
const fallbackErrors: ReadonlySet<string> = new Set(["ENOSYS", "EINVAL", "ENOEXEC", "EOPNOTSUPP"]);
/** What rekernel sees before the kernel does, which would answer with one of these. */
const fallbackCodes: ReadonlySet<string> = new Set([
  "RK-KEXEC-VMLINUX",
  "RK-IMAGE-TOO-OLD",
  "RK-COMMAND-LINE-TOO-LONG",
]);

function isNotForFileLoad({ code, cause }: RekernelError): boolean {
  return fallbackCodes.has(code) || (cause instanceof SyscallError && fallbackErrors.has(cause.code));
}

async function requireReadable(
  path: string,
  say: (reason: string) => string,
  exitCode: number,
): Promise<void> {
  await access(path, constants.R_OK).catch((error: unknown) => {
    const reason = hasErrno(error) && error.errno !== undefined ? errorText(-error.errno) : String(error);
    throw new Ended(say(reason), exitCode);
  });
}

/** As kexec-tools: the scripts of a shutdown notice the loaded kernel and jump into it at their end. */
async function shutDown(output: CompatOutput): Promise<number> {
  for (const program of ["/sbin/shutdown", "/etc/shutdown", "/bin/shutdown"]) {
    if (
      !(await access(program, constants.X_OK).then(
        () => true,
        () => false,
      ))
    )
      continue;
    const { exitCode, stdout, stderr } = await runTool(program, ["-r", "now"]);
    if (stdout.trim() !== "") output.out(stdout.trimEnd());
    if (stderr.trim() !== "") output.error(stderr.trimEnd());
    return exitCode;
  }
  throw new Ended("shutdown: No such file or directory", compatExit.failed);
}

async function jump(): Promise<never> {
  try {
    return await rebootKexec();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new Ended(`kexec failed: ${errorText(error.errno)}`, compatExit.failed);
  }
}

/** As strerror(3) writes it. */
function errorText(errno: number): string {
  const text = errnoText(errno);
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

function describePlan(plan: KexecPlan): string[] {
  return [
    `kernel: ${plan.kernelFrom}, ${plan.kernelBytes} bytes`,
    ...plan.initrds.map(({ from, bytes }) => `initrd: ${from}, ${bytes} bytes`),
    `command line: ${plan.commandLine}`,
    `${plan.method}: ${plan.methodReason}`,
    ...(plan.layout?.segments ?? []).map(
      ({ name, start, end }) => `segment ${name}: 0x${start.toString(16)}-0x${(end - 1n).toString(16)}`,
    ),
    ...plan.notes,
  ];
}
