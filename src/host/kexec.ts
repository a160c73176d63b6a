/** kexec of the running kernel: its state, loading and unloading an image, and the jump. */
import { type FileHandle, open } from "node:fs/promises";
import { syscallNumber } from "./arch/x86_64.ts";
import { memoryFile } from "./memory-file.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { readFlag, readInteger } from "./pseudo-files.ts";
import { syscall } from "./syscall.ts";

/** Flags of kexec_file_load, from include/uapi/linux/kexec.h. */
const KEXEC_FILE_UNLOAD = 0x1;
const KEXEC_FILE_ON_CRASH = 0x2;
const KEXEC_FILE_NO_INITRAMFS = 0x4;

/** What the running kernel says about kexec. A field is undefined where the kernel does not tell it. */
export interface KexecState {
  /** Built with CONFIG_KEXEC_CORE at all. */
  supported: boolean;
  /** An image waits for reboot(LINUX_REBOOT_CMD_KEXEC). */
  loaded: boolean | undefined;
  /** A crash kernel waits for a panic. */
  crashLoaded: boolean | undefined;
  /** Memory that crashkernel= reserved, in bytes. */
  crashSizeBytes: number | undefined;
  /** kernel.kexec_load_disabled: once true, nothing can be loaded or unloaded until the next boot. */
  loadDisabled: boolean | undefined;
  /** How many more loads the kernel allows; -1 is any number (since 6.3). */
  loadLimitReboot: number | undefined;
  loadLimitPanic: number | undefined;
}

/**
 * Source: kernel/ksysfs.c (files directly below /sys/kernel), since 6.19 kernel/kexec_core.c
 * (/sys/kernel/kexec/); Documentation/admin-guide/sysctl/kernel.rst.
 */
export async function readKexecState(host: HostPaths = thisHost): Promise<KexecState> {
  const kernel = `${host.sys}/kernel`;
  const sysctl = `${host.proc}/sys/kernel`;
  const either = async <T>(
    read: (path: string) => Promise<T | undefined>,
    since619: string,
    before: string,
  ) => (await read(`${kernel}/kexec/${since619}`)) ?? (await read(`${kernel}/${before}`));
  const [loaded, crashLoaded, crashSizeBytes, loadDisabled, loadLimitReboot, loadLimitPanic] =
    await Promise.all([
      either(readFlag, "loaded", "kexec_loaded"),
      either(readFlag, "crash_loaded", "kexec_crash_loaded"),
      either(readInteger, "crash_size", "kexec_crash_size"),
      readFlag(`${sysctl}/kexec_load_disabled`),
      readInteger(`${sysctl}/kexec_load_limit_reboot`),
      readInteger(`${sysctl}/kexec_load_limit_panic`),
    ]);
  return {
    supported: loaded !== undefined,
    loaded,
    crashLoaded,
    crashSizeBytes,
    loadDisabled,
    loadLimitReboot,
    loadLimitPanic,
  };
}

/** What the kernel is to read: a file by its path, or bytes in memory, one chunk behind the other. */
export type KexecFile = string | readonly Uint8Array[];

/**
 * Hands an image and its initrd to the kernel, which verifies, unpacks and places them.
 *
 * @param commandLine passed with its NUL; the kernel counts that byte against the image's limit
 * @throws SyscallError; RekernelError RK-NO-MEMORY (1); the system error of opening a file
 */
export async function kexecFileLoad(
  image: KexecFile,
  initrd: KexecFile | undefined,
  commandLine: string,
): Promise<void> {
  const kernelFile = await openKexecFile(image, "kernel");
  try {
    const initrdFile = initrd === undefined ? undefined : await openKexecFile(initrd, "initrd");
    try {
      const line = Buffer.from(`${commandLine}\0`);
      await syscall(
        "kexec_file_load",
        syscallNumber.kexec_file_load,
        kernelFile.fd,
        initrdFile?.fd ?? -1,
        line.length,
        line,
        initrdFile === undefined ? KEXEC_FILE_NO_INITRAMFS : 0,
      );
    } finally {
      await initrdFile?.close();
    }
  } finally {
    await kernelFile.close();
  }
}

function openKexecFile(file: KexecFile, name: string): Promise<FileHandle> {
  return typeof file === "string" ? open(file, "r") : memoryFile(name, file);
}

/**
 * Drops the loaded image, or the crash kernel. Nothing loaded is no error.
 *
 * @throws SyscallError
 */
export async function kexecFileUnload(which: "next" | "crash" = "next"): Promise<void> {
  const flags = which === "crash" ? KEXEC_FILE_UNLOAD | KEXEC_FILE_ON_CRASH : KEXEC_FILE_UNLOAD;
  await syscall("kexec_file_load", syscallNumber.kexec_file_load, -1, -1, 0, 0, flags);
}
