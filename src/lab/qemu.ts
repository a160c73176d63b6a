import { access, constants, open } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { RekernelError } from "../core/errors.ts";
import { readBzImage } from "../formats/bzimage.ts";
import { readInputFile } from "../kernel/input-file.ts";
import type { FirmwareFiles } from "./firmware.ts";

/** How guest code is executed. */
export type Accelerator = "kvm" | "tcg";

/** A folder of the host that the guest may mount over 9p. */
export interface SharedFolder {
  tag: string;
  path: string;
  writable: boolean;
}

/** A port of the guest that is reachable on 127.0.0.1 of the host; host port 0 lets the system choose. */
export interface PortForward {
  host: number;
  guest: number;
}

/** Everything that decides the emulator's command line. */
export interface MachineSettings {
  accelerator: Accelerator;
  /** Of a UEFI machine; SeaBIOS without. */
  firmware?: FirmwareFiles | undefined;
  kernel: string;
  initramfs: string;
  commandLine: string;
  memoryMiB: number;
  cpus: number;
  shares: readonly SharedFolder[];
  network: boolean;
  forwards: readonly PortForward[];
  /** Raw images, the first as /dev/vda; what is written to them is thrown away. */
  disks?: readonly string[];
  /** Further devices in QEMU's words: `i6300esb`. */
  devices?: readonly string[];
}

const emulator = "qemu-system-x86_64";

/**
 * The emulator's command: direct kernel boot, console on descriptor 3, agent on 4, monitor on 5.
 * All CPUs in one thread: the multi-threaded TCG of QEMU 7.2 crashes guests that modify their own code.
 * A small store of translated code (MiB): where a kexec or a boot loader overwrites the old kernel, each piece that
 * was translated there is thrown out by itself. With the default of 1 GiB that took a busy guest a minute.
 */
export function qemuCommand(machine: MachineSettings): string[] {
  const cpu = machine.accelerator === "kvm" ? "host" : "max";
  const command = [
    emulator,
    ...["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"],
    ...["-machine", machineType(machine.firmware), "-smp", String(machine.cpus)],
    ...["-m", `${machine.memoryMiB}M`, "-cpu", cpu],
    ...["-accel", machine.accelerator === "kvm" ? "kvm" : "tcg,thread=single,tb-size=64"],
    ...firmwareOptions(machine.firmware),
    ...["-kernel", machine.kernel, "-initrd", machine.initramfs, "-append", machine.commandLine],
    ...["-chardev", "socket,id=console,fd=3", "-serial", "chardev:console"],
    ...["-chardev", "socket,id=control,fd=4", "-serial", "chardev:control"],
    ...["-chardev", "socket,id=monitor,fd=5", "-mon", "chardev=monitor,mode=control"],
  ];
  for (const { tag, path, writable } of machine.shares)
    command.push(
      "-fsdev",
      `local,id=${tag},path=${optionValue(path)},security_model=none,multidevs=remap${writable ? "" : ",readonly=on"}`,
      "-device",
      `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`,
    );
  if (machine.network) {
    const forwards = machine.forwards.map(({ host, guest }) => `,hostfwd=tcp:127.0.0.1:${host}-:${guest}`);
    command.push("-netdev", `user,id=net,restrict=off${forwards.join("")}`);
    command.push("-device", "virtio-net-pci,netdev=net,romfile=");
  }
  for (const [index, path] of (machine.disks ?? []).entries())
    command.push(
      ...["-drive", `file=${optionValue(path)},format=raw,if=none,id=disk${index},snapshot=on`],
      ...["-device", `virtio-blk-pci,drive=disk${index}`],
    );
  for (const device of machine.devices ?? []) command.push("-device", device);
  return command;
}

/** Secure Boot needs system management mode, which only q35 emulates wholly. */
function machineType(firmware: FirmwareFiles | undefined): string {
  return firmware === undefined ? "pc" : firmware.secure ? "q35,smm=on" : "q35";
}

/** Two flash chips: the code, which the guest cannot change, and the EFI variables. */
function firmwareOptions(firmware: FirmwareFiles | undefined): string[] {
  if (firmware === undefined) return [];
  return [
    ...(firmware.secure
      ? ["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]
      : []),
    ...["-drive", `if=pflash,format=raw,unit=0,readonly=on,file=${optionValue(firmware.code)}`],
    ...["-drive", `if=pflash,format=raw,unit=1,file=${optionValue(firmware.variables)}`],
  ];
}

/** A comma ends a value in QEMU's option syntax unless it is doubled. */
function optionValue(text: string): string {
  return text.replaceAll(",", ",,");
}

/** @throws RekernelError RK-TOOL-MISSING (5) */
export async function requireEmulator(): Promise<void> {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    try {
      await access(join(folder, emulator), constants.X_OK);
      return;
    } catch {}
  }
  throw new RekernelError("machineCannot", "RK-TOOL-MISSING", `This machine has no ${emulator}.`, {
    hint: "Install it: apt-get install qemu-system-x86",
  });
}

/**
 * Path of a statically linked busybox, the guest's own user space.
 *
 * @throws RekernelError RK-TOOL-MISSING (5)
 */
export async function requireBusybox(): Promise<string> {
  for (const path of ["/bin/busybox", "/usr/bin/busybox"]) if (await isStatic(path)) return path;
  throw new RekernelError(
    "machineCannot",
    "RK-TOOL-MISSING",
    "This machine has no statically linked busybox.",
    {
      hint: "Install it: apt-get install busybox-static",
    },
  );
}

/** Whether an ELF program needs no interpreter: it has no PT_INTERP (3) segment. */
async function isStatic(path: string): Promise<boolean> {
  const handle = await open(path).catch(() => undefined);
  if (!handle) return false;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, 0);
    const head = buffer.subarray(0, bytesRead);
    if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46) return false;
    const [offset, size, count] = [
      Number(head.readBigUInt64LE(32)),
      head.readUInt16LE(54),
      head.readUInt16LE(56),
    ];
    for (let index = 0; index < count; index++) {
      const at = offset + index * size;
      if (at + 4 <= head.length && head.readUInt32LE(at) === 3) return false;
    }
    return true;
  } finally {
    await handle.close();
  }
}

/**
 * Refuses what QEMU would boot into nothing: a file that is no whole bzImage.
 *
 * @throws RekernelError RK-FILE, RK-BAD-IMAGE (1), RK-PERMISSION (5)
 */
export async function requireBootableImage(path: string): Promise<void> {
  readBzImage(await readInputFile(path, "kernel image"), path);
}
