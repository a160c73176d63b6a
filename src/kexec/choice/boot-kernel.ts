/** One way in which a machine can be booted, and the choice among them. */

export interface BootKernel {
  /**
   * Where it is written: `grub` GRUB's menu, `entry` a type 1 entry of the Boot Loader Specification,
   * `unified-image` a type 2 entry (one EFI file with kernel, initrd and command line), `folder` a vmlinuz in /boot
   * that no boot loader's configuration names.
   */
  source: "grub" | "entry" | "unified-image" | "folder";
  /** As the boot loader names it: of a GRUB submenu's entry with `>`, of an entry file without counters and suffix. */
  id: string;
  title: string;
  version: string | undefined;
  /** Undefined for what is no Linux kernel, such as another operating system. */
  image: string | undefined;
  /** In the order in which they are laid one over the other. */
  initrds: string[];
  /** Undefined where the boot loader does not say: a unified image has its own. */
  commandLine: string | undefined;
  /** The file that says all this. */
  file: string;
  /** Boot counting: boots that may still be tried. With 0 the entry counts as bad. */
  triesLeft: number | undefined;
  triesDone: number | undefined;
  /** Why kexec cannot load it, for people. */
  problem: string | undefined;
}

/** What a boot loader offers, and which of it the next boot takes. */
export interface KernelChoice {
  /** Whose rules decided; `none` where the newest kernel of /boot is taken. */
  loader: "grub" | "systemd-boot" | "specification" | "none";
  /** In the boot loader's order; then kernels that it does not know. */
  kernels: BootKernel[];
  /** Number in `kernels`, from 0, of the one that a reboot would start. */
  chosen: number;
  /** Why that one, as a sentence. */
  reason: string;
  /** What was skipped or is uncertain, as sentences. */
  notes: string[];
}

/** What a boot loader offers, before kernels that it does not know are added. */
export interface LoaderMenu extends Omit<KernelChoice, "notes" | "chosen"> {
  /** Undefined for an empty menu. */
  chosen: number | undefined;
}
