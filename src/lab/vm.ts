import { constants } from "node:fs";
import { copyFile, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { RekernelError } from "../core/errors.ts";
import { writeError } from "../core/files.ts";
import type { CpioEntry } from "../formats/cpio.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { Agent, type Boot, type RunOptions, shown, writeJob } from "./agent.ts";
import { consoleSign, describeEnd, lastLines, type VmEnd } from "./end.ts";
import { copyVariables, type Firmware, firmwareFiles, signForFirmware } from "./firmware.ts";
import { type GuestSetup, onBootJob } from "./guest-scripts.ts";
import { type GuestFiles, guestFileEntries, guestInitramfs } from "./initramfs.ts";
import { modulesInLoadOrder } from "./kernel-modules.ts";
import { onLines } from "./lines.ts";
import { Monitor } from "./monitor.ts";
import { type SupervisedProcess, startSupervised } from "./process.ts";
import {
  type PortForward,
  qemuCommand,
  requireBootableImage,
  requireBusybox,
  requireEmulator,
  type SharedFolder,
} from "./qemu.ts";

/** A kernel that a virtual machine can start. */
export interface LabKernel {
  /** `uname -r` */
  release: string;
  /** Path of its bzImage (vmlinuz). */
  image: string;
  /** lib/modules/RELEASE; without it, the kernel must have 9p over virtio built in (and overlayfs, for `hostRoot`). */
  modules?: string | undefined;
}

export interface VmOptions {
  kernel: LabKernel;
  /**
   * Default `bios`. With `uefi-secure-boot` the guest's kernel and `nextKernels` are signed with the key in
   * the firmware's db, in copies; the kernel then is locked down. EFI variables are the machine's own, and
   * readable at /sys/firmware/efi/efivars where the kernel has efivarfs.
   */
  firmware?: Firmware | undefined;
  /** Default 1024. */
  memoryMiB?: number | undefined;
  /** Processors. Default 1; under TCG more are no faster, they take turns. */
  cpus?: number | undefined;
  /** Appended to the kernel's command line. */
  commandLine?: string | undefined;
  /** Put into the guest's root before anything runs, at every boot. */
  files?: GuestFiles | undefined;
  /** Kernel modules to load at every boot, besides those that the lab needs. */
  modules?: readonly string[] | undefined;
  /**
   * Default true: commands see the host's root, read-only below a layer in memory, and /lib/modules/RELEASE
   * of the guest's kernel. What changes on the host while the guest runs may go unseen there: use `share`.
   * False: commands see the initramfs, which holds busybox and `files`.
   */
  hostRoot?: boolean | undefined;
  /** A host folder that the guest sees, writable, at /share. */
  share?: string | undefined;
  /** Raw disk images, the first as /dev/vda. The guest may write to them; all of it is gone when it ends. */
  disks?: readonly string[] | undefined;
  /**
   * Boot the system on the first disk, which holds one ext4 file system: its own init is process 1, and commands run
   * in it as root. Only for systemd.
   */
  ownSystem?: boolean | undefined;
  /** Further devices, as QEMU's -device takes them: `i6300esb`. */
  devices?: readonly string[] | undefined;
  /** TCP ports; implies `network`. */
  forwards?: readonly PortForward[] | undefined;
  /** eth0 at 10.0.2.15 behind the emulator's user networking. Default false. */
  network?: boolean | undefined;
  /**
   * Other kernels that the guest is to enter by kexec. For each, the guest finds
   * `/lab/kernels/RELEASE/{vmlinuz,initrd,cmdline}`, which bring this same set-up back under that kernel.
   * The first kernel's own are always there.
   */
  nextKernels?: readonly LabKernel[] | undefined;
  /** A shell command started in the background at every boot, before the boot is announced. */
  onBoot?: string | undefined;
  /** How long the guest may be silent before it counts as hung. Default 60,000. */
  hangAfterMs?: number | undefined;
  /** How long the first boot may take. Default 300,000. */
  bootTimeoutMs?: number | undefined;
  /** Ends the machine. */
  signal?: AbortSignal | undefined;
  /** Called with each line that the console prints. */
  onConsole?: ((line: string) => void) | undefined;
}

export interface RunResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** A running virtual machine. Every method fails with RK-LAB-ENDED, -PANIC or -HANG once the guest is gone. */
export interface Vm {
  /** Runs a shell command, or a program with its arguments, and returns what it printed. */
  run(command: string | readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Starts a command in the background; it goes on when the caller does not. */
  start(command: string | readonly string[], options?: RunOptions): Promise<{ pid: number }>;
  /** Writes a file in the guest, with the folders it needs. */
  writeFile(path: string, data: string | Uint8Array): Promise<void>;
  readFile(path: string): Promise<Uint8Array>;
  /** All that the console printed so far, over all boots. */
  console(): string;
  dmesg(): Promise<string>;
  /** /proc/sys/kernel/random/boot_id of the kernel that runs. */
  bootId(): string;
  /** `uname -r` of the kernel that runs. */
  release(): string;
  /**
   * Waits for a boot later than the last one that `bootVm` or `waitForBoot` returned for: after a kexec or a
   * reboot that something in the guest began, whether it is still to come or already over.
   */
  waitForBoot(options?: { timeoutMs?: number }): Promise<void>;
  /** Resets the machine as its button would, and waits until the first kernel is up again. */
  reset(): Promise<void>;
  /** Waits until the machine has ended, by itself or by `stop`. */
  waitForEnd(): Promise<VmEnd>;
  /** The port of 127.0.0.1 that leads to a port in `forwards`. */
  forwardedPort(guest: number): number;
  /** Ends the machine and removes all it left. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Boots a kernel in a virtual machine and returns when its user space takes commands.
 *
 * The kernel starts directly, without boot loader, with `console=ttyS0 panic=0 oops=panic no_timer_check`: a
 * crash stays on the console, whole, and ends the machine. The machine never outlives this process.
 *
 * @throws RekernelError RK-TOOL-MISSING (5), RK-BAD-IMAGE (1), RK-LAB-MODULE (1), RK-LAB-FILE (1),
 *   RK-DISK-FULL (1), RK-LAB-BOOT (1) when user space is not reached, with the console's last lines
 */
export async function bootVm(options: VmOptions): Promise<Vm> {
  options.signal?.throwIfAborted();
  await requireEmulator();
  const busybox = await requireBusybox();
  await requireBootableImage(options.kernel.image);
  const accelerator = await chooseAccelerator(options.kernel.image, busybox);
  const forwards = options.forwards ?? [];
  const network = options.network ?? forwards.length > 0;
  const hostRoot = usesHostRoot(options);
  const share = options.share === undefined ? undefined : await shareFolder(options.share);
  options.signal?.throwIfAborted();

  const folder = await mkdtemp(join(tmpdir(), "rekernel-lab-")).catch((error) => {
    throw writeError(tmpdir(), error);
  });
  const lab = join(folder, "lab");
  const initramfs = join(folder, "initramfs");
  const firmware = options.firmware ?? "bios";
  const flash = await firmwareFiles(firmware, folder).catch(async (error) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  const signed = firmware === "uefi-secure-boot";
  const signedImage = ({ release }: LabKernel) => join(folder, `vmlinuz-${release}`);
  // no_timer_check: a busy host may keep the emulator from running while the kernel waits for a few ticks, and it
  // panics then.
  const commandLine =
    `console=ttyS0 panic=0 oops=panic no_timer_check rdinit=/init ${options.commandLine ?? ""}`.trim();
  const shares: SharedFolder[] = [{ tag: "lab", path: lab, writable: true }];
  if (hostRoot) shares.push({ tag: "root", path: "/", writable: false });
  if (share !== undefined) shares.push({ tag: "share", path: share, writable: true });
  const command = qemuCommand({
    accelerator,
    firmware: flash,
    kernel: signed ? signedImage(options.kernel) : options.kernel.image,
    initramfs,
    commandLine,
    memoryMiB: options.memoryMiB ?? 1024,
    cpus: options.cpus ?? 1,
    shares,
    network,
    forwards,
    ...(options.disks === undefined ? {} : { disks: options.disks }),
    ...(options.devices === undefined ? {} : { devices: options.devices }),
  });
  // From here on the supervisor answers for the folder, whatever becomes of this process.
  const vm = new LabVm(startSupervised(command, folder), lab, options);
  const work: Promise<unknown>[] = [];
  try {
    await mkdir(join(lab, "jobs"), { recursive: true });
    if (options.onBoot !== undefined) await writeJob(lab, onBootJob, options.onBoot);
    if (flash !== undefined) await copyVariables(firmware, flash);
    const kernels = [options.kernel, ...(options.nextKernels ?? [])];
    if (signed)
      for (const kernel of kernels) {
        await signForFirmware(kernel.image, signedImage(kernel));
        options.signal?.throwIfAborted();
      }
    const files = await guestFileEntries(options.files ?? {}, hostRoot);
    await writeOrExplain(initramfs, await initramfsFor(options.kernel, options, busybox, files));
    options.signal?.throwIfAborted();
    // The guest boots while the kernels that it may enter are laid out.
    work.push(vm.powerOn(forwards));
    for (const kernel of kernels)
      work.push(
        placeKernel(
          join(lab, "kernels", kernel.release),
          signed ? signedImage(kernel) : kernel.image,
          commandLine,
          () => initramfsFor(kernel, options, busybox, files),
        ),
      );
    await Promise.all(work);
    return vm;
  } catch (error) {
    await vm.stop();
    await Promise.allSettled(work);
    // Work that was under way may have written after the supervisor's clean-up.
    await rm(folder, { recursive: true, force: true });
    options.signal?.throwIfAborted();
    throw error;
  }
}

function usesHostRoot({ hostRoot, ownSystem }: VmOptions): boolean {
  return hostRoot ?? ownSystem !== true;
}

async function initramfsFor(
  kernel: LabKernel,
  options: VmOptions,
  busybox: string,
  files: readonly CpioEntry[],
): Promise<Uint8Array> {
  const hostRoot = usesHostRoot(options);
  const ownSystem = options.ownSystem === true;
  const network = options.network ?? (options.forwards ?? []).length > 0;
  const uefi = (options.firmware ?? "bios") !== "bios";
  const asked = [
    ...["virtio_pci", "9pnet_virtio", "9p"],
    ...(hostRoot ? ["overlay"] : []),
    ...(network ? ["virtio_net"] : []),
    ...(uefi ? ["efivarfs"] : []),
    ...((options.disks ?? []).length > 0 ? ["virtio_blk"] : []),
    // ext4 asks for the checksum by its cipher's name, which no dependency tells.
    ...(ownSystem ? ["ext4", "crc32c_generic"] : []),
    ...(options.modules ?? []),
  ];
  const modules = kernel.modules === undefined ? [] : await modulesInLoadOrder(kernel.modules, asked);
  const setup: GuestSetup = {
    modules: modules.map(({ name }) => name),
    hostRoot,
    share: options.share !== undefined,
    network,
    uefi,
    modulesFolder: kernel.modules === undefined ? undefined : await realpath(kernel.modules),
    release: kernel.release,
    files: (hostRoot || ownSystem) && files.length > 0,
    ownSystem,
    onBoot: options.onBoot !== undefined,
  };
  return guestInitramfs({ busybox, setup, modules, files });
}

async function placeKernel(
  folder: string,
  image: string,
  commandLine: string,
  initramfs: () => Promise<Uint8Array>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await copyFile(image, join(folder, "vmlinuz"), constants.COPYFILE_FICLONE).catch((error) => {
    throw writeError(join(folder, "vmlinuz"), error);
  });
  await writeOrExplain(join(folder, "cmdline"), `${commandLine}\n`);
  await writeOrExplain(join(folder, "initrd"), await initramfs());
}

async function shareFolder(path: string): Promise<string> {
  return realpath(path).catch((error: Error) => {
    throw new RekernelError("failed", "RK-LAB-FILE", `Cannot share ${path}: ${error.message}.`, {
      cause: error,
    });
  });
}

async function writeOrExplain(path: string, data: Uint8Array | string): Promise<void> {
  await writeFile(path, data).catch((error) => {
    throw writeError(path, error);
  });
}

/** Resets in a row without user space that count as a kernel that cannot boot; firmware alone makes two or three. */
const resetLimit = 12;
/** Console output that is kept: the newest. */
const consoleLimit = 32 << 20;

class LabVm implements Vm {
  readonly #process: SupervisedProcess;
  readonly #monitor: Monitor;
  readonly #agent: Agent;
  readonly #options: VmOptions;
  readonly #ports = new Map<number, number>();
  readonly #ended: Promise<VmEnd>;
  readonly #watch: NodeJS.Timeout;
  readonly #waitingForBoot = new Set<{ resolve: () => void; reject: (error: Error) => void }>();
  #console = "";
  #boot: Boot | undefined;
  /** Id of the newest boot that the caller knows of. */
  #knownBoot: string | undefined;
  /** Between two user spaces, the console is the only sign of life. */
  #booting = true;
  #silentSeconds = 0;
  #resets = 0;
  #shutdownReason: string | undefined;
  #fate: VmEnd | undefined;

  constructor(machine: SupervisedProcess, labFolder: string, options: VmOptions) {
    this.#process = machine;
    this.#options = options;
    this.#monitor = new Monitor(machine.monitor, ({ event, data }) => {
      if (event === "SHUTDOWN") this.#shutdownReason = data.reason;
      if (event === "RESET") this.#onReset();
    });
    this.#agent = new Agent(machine.control, labFolder, {
      sign: () => {
        this.#silentSeconds = 0;
      },
      boot: (boot) => this.#onBoot(boot),
      fail: (reason) =>
        this.#finish({ kind: "killed", reason: `the guest cannot be set up: ${reason}`, log: "" }),
    });
    onLines(machine.console, (line) => this.#onConsoleLine(line));
    // Counted in ticks, not by the clock: a host that was suspended or busy must not blame the guest.
    this.#watch = setInterval(() => {
      const limitMs = options.hangAfterMs ?? 60_000;
      if (++this.#silentSeconds * 1000 >= limitMs) this.#finish({ kind: "hang", silentMs: limitMs, log: "" });
    }, 1000);
    const onAbort = () => this.#finish({ kind: "killed", reason: "the work was aborted", log: "" });
    options.signal?.addEventListener("abort", onAbort);
    this.#ended = machine.ended.then(() => {
      this.#finish(
        this.#shutdownReason === "guest-shutdown"
          ? { kind: "poweroff", log: "" }
          : { kind: "killed", reason: this.#emulatorEnd(), log: "" },
      );
      options.signal?.removeEventListener("abort", onAbort);
      return { ...this.#fate!, log: this.#console };
    });
    this.#ended.catch(() => {});
    if (options.signal?.aborted) onAbort();
  }

  /** Starts the machine, waits for its first boot and learns the forwarded ports. */
  async powerOn(forwards: readonly PortForward[]): Promise<void> {
    this.#process.start();
    try {
      await this.waitForBoot({ timeoutMs: this.#options.bootTimeoutMs ?? 300_000 });
    } catch (error) {
      await this.stop();
      const fate = this.#fate!;
      const reason =
        fate.kind === "killed" && fate.reason === stopped ? "it took too long" : describeEnd(fate);
      throw new RekernelError(
        "failed",
        "RK-LAB-BOOT",
        `Kernel ${this.#options.kernel.release} did not reach user space in the lab: ${reason}.`,
        { details: lastLines(this.#console) || this.#process.stderr(), cause: error },
      );
    }
    if (forwards.length === 0) return;
    const table = String(
      await this.#monitor.execute("human-monitor-command", { "command-line": "info usernet" }),
    );
    for (const [, host, guest] of table.matchAll(/TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)/g))
      this.#ports.set(Number(guest), Number(host));
  }

  async run(command: string | readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { exitCode, stdout, stderr } = await this.#agent.run(command, options);
    return { exitCode, stdout: Buffer.from(stdout).toString(), stderr: Buffer.from(stderr).toString() };
  }

  start(command: string | readonly string[], options: RunOptions = {}): Promise<{ pid: number }> {
    return this.#agent.start(command, options);
  }

  async writeFile(path: string, data: string | Uint8Array): Promise<void> {
    const command = ["sh", "-c", 'mkdir -p "$1" && cat >"$2"', "sh", dirname(path), path];
    await this.#runOk(command, { input: data });
  }

  async readFile(path: string): Promise<Uint8Array> {
    return this.#runOk(["cat", "--", path]);
  }

  async #runOk(command: readonly string[], options: RunOptions = {}): Promise<Uint8Array> {
    const { exitCode, stdout, stderr } = await this.#agent.run(command, options);
    if (exitCode !== 0)
      throw new RekernelError(
        "failed",
        "RK-LAB-COMMAND",
        `The guest's command failed with exit code ${exitCode}: ${shown(command)}.`,
        { details: Buffer.from(stderr).toString() },
      );
    return stdout;
  }

  console(): string {
    return this.#console;
  }

  async dmesg(): Promise<string> {
    return Buffer.from(await this.#runOk(["dmesg"])).toString();
  }

  bootId(): string {
    return this.#boot!.id;
  }

  release(): string {
    return this.#boot!.release;
  }

  async waitForBoot(options: { timeoutMs?: number } = {}): Promise<void> {
    if (this.#fate) throw this.#endError(this.#fate);
    if (this.#boot === undefined || this.#boot.id === this.#knownBoot) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const waiter = { resolve, reject };
      this.#waitingForBoot.add(waiter);
      const limitMs = options.timeoutMs ?? 300_000;
      const timer = setTimeout(
        () =>
          reject(
            new RekernelError("failed", "RK-LAB-TIMEOUT", `The guest did not boot within ${limitMs} ms.`),
          ),
        limitMs,
      );
      await promise.finally(() => {
        clearTimeout(timer);
        this.#waitingForBoot.delete(waiter);
      });
    }
    this.#knownBoot = this.#boot!.id;
  }

  async reset(): Promise<void> {
    if (this.#fate) throw this.#endError(this.#fate);
    this.#knownBoot = this.#boot?.id;
    await this.#monitor.execute("system_reset");
    await this.waitForBoot();
  }

  waitForEnd(): Promise<VmEnd> {
    return this.#ended;
  }

  forwardedPort(guest: number): number {
    const port = this.#ports.get(guest);
    if (port === undefined)
      throw new RekernelError("usage", "RK-USAGE", `Port ${guest} of the guest is not forwarded.`);
    return port;
  }

  async stop(): Promise<void> {
    this.#finish({ kind: "killed", reason: stopped, log: "" });
    await this.#ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #onBoot(boot: Boot): void {
    this.#boot = boot;
    this.#booting = false;
    this.#resets = 0;
    for (const { resolve } of this.#waitingForBoot) resolve();
  }

  #onReset(): void {
    this.#silentSeconds = 0;
    this.#booting = true;
    if (++this.#resets >= resetLimit)
      this.#finish({
        kind: "killed",
        reason: "the machine resets again and again before user space",
        log: "",
      });
  }

  #onConsoleLine(line: string): void {
    this.#console = `${this.#console}${line}\n`.slice(-consoleLimit);
    this.#options.onConsole?.(line);
    if (/\] Linux version /.test(line)) this.#booting = true;
    if (this.#booting) this.#silentSeconds = 0;
    const sign = consoleSign(line);
    if (sign) this.#finish({ ...sign, log: "" });
  }

  /** The first reason counts; the log is read when the machine is gone. */
  #finish(end: VmEnd): void {
    if (this.#fate) return;
    this.#fate = end;
    clearInterval(this.#watch);
    const error = this.#endError(end);
    this.#agent.close(error);
    for (const { reject } of this.#waitingForBoot) reject(error);
    this.#process.kill();
  }

  #endError(end: VmEnd): Error {
    const reason = this.#options.signal?.reason;
    if (this.#options.signal?.aborted && reason instanceof Error) return reason;
    const code = { panic: "RK-LAB-PANIC", hang: "RK-LAB-HANG", halt: "RK-LAB-HANG" }[end.kind as string];
    return new RekernelError(
      "failed",
      code ?? "RK-LAB-ENDED",
      `The virtual machine has ended: ${describeEnd(end)}.`,
      { details: lastLines(this.#console) },
    );
  }

  #emulatorEnd(): string {
    const said = this.#process.stderr().trim();
    return `the emulator ended${said === "" ? "" : `: ${said}`}`;
  }
}

const stopped = "the machine was stopped";
