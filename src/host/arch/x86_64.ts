/**
 * Numbers of the system calls that rekernel makes, for x86-64.
 * Source: arch/x86/entry/syscalls/syscall_64.tbl.
 */
export const syscallNumber = {
  lseek: 8,
  ioctl: 16,
  sync: 162,
  umount2: 166,
  reboot: 169,
  init_module: 175,
  delete_module: 176,
  kexec_load: 246,
  keyctl: 250,
  finit_module: 313,
  memfd_create: 319,
  kexec_file_load: 320,
} as const;

/** The machine name that `uname -m` gives for these numbers. */
export const machine = "x86_64";
