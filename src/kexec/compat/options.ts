/** The options of kexec-tools 2.0.32 on x86-64: kexec/kexec.h, kexec/arch/i386/include/arch/options.h. */
import type { LongOption } from "./getopt.ts";

export const shortOptions = "h?vdfixyluet:pscaS";

const flag = (name: string, key = name): LongOption => ({ name, value: false, key });
const valued = (name: string, key = name): LongOption => ({ name, value: true, key });

/** In kexec-tools' order, in which ambiguous ones are listed. */
export const longOptions: readonly LongOption[] = [
  flag("help", "h"),
  flag("version", "v"),
  flag("force", "f"),
  flag("no-checks", "i"),
  flag("no-ifdown", "x"),
  flag("no-sync", "y"),
  flag("load", "l"),
  flag("unload", "u"),
  flag("exec", "e"),
  flag("exec-live-update"),
  flag("load-preserve-context"),
  flag("load-jump-back-helper"),
  flag("load-live-update"),
  valued("entry"),
  valued("type", "t"),
  flag("load-panic", "p"),
  valued("mem-min"),
  valued("mem-max"),
  flag("reuseinitrd"),
  flag("kexec-file-syscall", "s"),
  flag("kexec-syscall", "c"),
  flag("kexec-syscall-auto", "a"),
  flag("debug", "d"),
  flag("status", "S"),
  flag("print-ckr-size"),
  flag("hotplug"),
  flag("no-cma"),
  flag("force-dtb"),
  flag("reset-vga"),
  valued("serial"),
  valued("serial-baud"),
  flag("console-vga"),
  flag("console-serial"),
  flag("elf32-core-headers"),
  flag("elf64-core-headers"),
  flag("pass-memmap-cmdline"),
  flag("noefi"),
  flag("reuse-video-type"),
  valued("command-line", "append"),
  valued("append"),
  flag("reuse-cmdline"),
  valued("initrd"),
  valued("ramdisk", "initrd"),
  flag("args-elf"),
  flag("args-linux"),
  flag("args-none"),
  valued("module"),
  flag("real-mode"),
  flag("entry-32bit"),
  valued("dtb"),
];

/** They say something about the image to load, and are wrong where nothing is loaded (OPT_ARCH_MAX and above). */
export const imageOptions: ReadonlySet<string> = new Set([
  "pass-memmap-cmdline",
  "noefi",
  "reuse-video-type",
  "append",
  "reuse-cmdline",
  "initrd",
  "args-elf",
  "args-linux",
  "args-none",
  "module",
  "real-mode",
  "entry-32bit",
  "dtb",
]);

/** What `--type` may name: kexec/arch/x86_64/kexec-x86_64.c file_type. */
export const imageTypes = [
  "multiboot2-x86",
  "elf-x86_64",
  "multiboot-x86",
  "elf-x86",
  "bzImage64",
  "bzImage",
  "beoboot-x86",
  "nbi-x86",
  "uki",
] as const;

export type ImageType = (typeof imageTypes)[number];
