/** The first words are those of kexec-tools' version, for scripts that look at it. */
export function compatVersion(rekernelVersion: string): string {
  return `kexec-tools 2.0.32 options, by rekernel ${rekernelVersion}`;
}

/** What `kexec --help` prints. */
export function compatUsage(version: string): string {
  return `${version}
Usage: kexec [OPTION]... [kernel]
Directly reboot into a new kernel

 -h, --help            Print this help.
 -v, --version         Print the version.
 -l, --load            Load a kernel for the next jump.
 -e, --exec            Jump into the loaded kernel: sync, network down, jump.
                       Services are not stopped.
 -f, --force           Load and jump, as -l and -e in one.
 -u, --unload          Drop the loaded kernel; with -p the crash kernel.
 -S, --status          Exit 1 if a crash kernel is loaded, else 0; with -l the
                       same for the next kernel.
 -p, --load-panic      Load a crash kernel: not yet, use kexec-tools.
     --print-ckr-size  Print the size of the memory reserved for crash kernels.
 -t, --type=TYPE       Expect an image of this type.
 -a, --kexec-syscall-auto   kexec_file_load, and kexec_load where the kernel
                       knows neither the call nor the image (default).
 -s, --kexec-file-syscall   Only kexec_file_load.
 -c, --kexec-syscall   Only kexec_load.
 -x, --no-ifdown       Leave network interfaces up.
 -y, --no-sync         Do not write out file systems.
 -i, --no-checks       Verify a sum of the segments, not their SHA-256 (-c).
 -d, --debug           Say what is loaded.
     --command-line=TEXT, --append=TEXT
                       The command line; behind --reuse-cmdline more of it.
     --reuse-cmdline   The running kernel's, without BOOT_IMAGE= and initrd=.
     --initrd=FILE, --ramdisk=FILE
                       The initial RAM disk.
     --reuseinitrd     That of this boot (retain_initrd, Linux 6.5 and later).
     --module="FILE arguments"   A module for a multiboot kernel; repeatable.
     --entry-32bit     Enter the kernel in protected mode (kexec_load).
     --mem-min=ADDRESS, --mem-max=ADDRESS
                       Bounds for what kexec_load places.
     --noefi           Tell the next kernel nothing of EFI (kexec_load).
     --console-serial, --serial=PORT, --serial-baud=RATE
                       Let the purgatory speak on ttyS0, ttyS1 or 0xPORT.

Without -l, -e, -f, -u, -p or -S the kernel is loaded and shutdown -r now called.

Taken without effect: --reset-vga --console-vga --args-linux --reuse-video-type
  --force-dtb, and for crash kernels --hotplug --no-cma
  --pass-memmap-cmdline --elf32-core-headers --elf64-core-headers.
Refused: --load-preserve-context --load-jump-back-helper --entry --real-mode
  --args-elf --args-none --dtb --load-live-update --exec-live-update.
`;
}
