import { z } from "zod";
import type { BzImageHeader } from "../formats/bzimage.ts";
import type { KernelFeatures } from "../kernel/image.ts";
import { documentOf } from "./document.ts";

const features = documentOf<KernelFeatures>()(
  z.strictObject({
    livepatch: z.boolean(),
    kexec: z.boolean(),
    kexecFile: z.boolean(),
    crashDump: z.boolean(),
    modversions: z.boolean(),
    moduleSignatures: z.boolean(),
    ftrace: z.boolean(),
    kprobes: z.boolean(),
    kaslr: z.boolean(),
    ibt: z.boolean(),
    btf: z.boolean(),
    orc: z.boolean(),
    lockdown: z.boolean(),
  }),
);

const boot = documentOf<Omit<BzImageHeader, "protocol"> & { protocol: string }>()(
  z.strictObject({
    protocol: z.string().describe("version of the boot protocol, such as `2.15`"),
    setupSects: z.int(),
    syssize: z.int(),
    kernelVersion: z.string(),
    loadflags: z.int(),
    code32Start: z.int(),
    initrdAddrMax: z.int(),
    kernelAlignment: z.int(),
    relocatable: z.boolean(),
    minAlignment: z.int(),
    xloadflags: z.strictObject({
      kernel64: z.boolean(),
      canBeLoadedAbove4G: z.boolean(),
      efiHandover32: z.boolean(),
      efiHandover64: z.boolean(),
      efiKexec: z.boolean(),
      fiveLevel: z.boolean(),
      fiveLevelEnabled: z.boolean(),
      memoryEncryption: z.boolean(),
    }),
    xloadflagsRaw: z.int(),
    cmdlineSize: z.int().describe("the longest command line, in bytes"),
    hardwareSubarch: z.int(),
    payloadOffset: z.int(),
    payloadLength: z.int(),
    setupData: z.string(),
    prefAddress: z.string(),
    initSize: z.int(),
    handoverOffset: z.int(),
    kernelInfoOffset: z.int(),
  }),
);

const uki = z.strictObject({
  signed: z.boolean().describe("the image as a whole has a signature: see `signatures`"),
  hasProfiles: z.boolean(),
  profiles: z.array(
    z.strictObject({
      index: z.int().describe("N of `@N`"),
      id: z.string().nullable(),
      title: z.string().nullable(),
      osName: z.string().nullable().describe("PRETTY_NAME of .osrel"),
      commandLine: z.string().nullable().describe("of .cmdline"),
      sections: z
        .array(z.strictObject({ name: z.string(), bytes: z.int() }))
        .describe("those that this profile uses, the base profile's included"),
    }),
  ),
});

const signature = z.strictObject({
  of: z
    .enum(["file", "kernel"])
    .describe("kernel: of the kernel inside a unified kernel image, which kexec looks at"),
  signers: z.array(
    z.strictObject({
      name: z.string(),
      issuer: z.string().nullable().describe("who certifies the signer; null where it is not included"),
      sha256: z.string().nullable().describe("of the signer's certificate"),
    }),
  ),
  hash: z.string().nullable(),
  digestValid: z.boolean().describe("the file was not changed since"),
  signatureValid: z.boolean().describe("the signers' certificates, included in it, verify it"),
  problem: z.string().nullable().describe("why it cannot be read"),
});

/** `rekernel image info` of a kernel. */
export const imageInfoDocument = z.strictObject({
  path: z.string(),
  kind: z.enum(["vmlinuz", "vmlinux", "uki"]),
  release: z.string(),
  version: z.string().describe("as `uname -v` prints it"),
  banner: z.string().describe("linux_banner, the first line of the kernel's log"),
  compiler: z.string(),
  linker: z.string(),
  buildId: z.string().nullable(),
  fileSizeBytes: z.int(),
  vmlinuxSizeBytes: z.int().describe("unpacked"),
  compression: z.string().describe("`none`, `gzip`, `xz`, `zstd`, `lz4` …"),
  boot: boot.nullable().describe("the boot header (Documentation/arch/x86/boot.rst); null for a vmlinux"),
  uki: uki.nullable().describe("what a unified kernel image holds besides the kernel"),
  signatures: z
    .array(signature)
    .describe("in the file's order, of which kernels look at the first; nobody is asked whom to trust"),
  features,
  symbols: z.strictObject({ total: z.int(), functions: z.int() }),
  exports: z.strictObject({ total: z.int(), gplOnly: z.int() }),
});

/** `rekernel image info` of a module. */
export const moduleInfoDocument = z.strictObject({
  path: z.string(),
  kind: z.literal("module"),
  name: z.string(),
  vermagic: z.string(),
  buildId: z.string().nullable(),
  dependencies: z.array(z.string()),
  livepatch: z.boolean(),
  modinfo: z.record(z.string(), z.array(z.string())).describe("all fields of .modinfo; one can occur twice"),
  exports: z.strictObject({ total: z.int() }),
  versions: z.strictObject({ total: z.int() }).describe("imported symbols with a CRC"),
});

/** `rekernel image symbols` */
export const imageSymbolsDocument = z.strictObject({
  symbols: z.array(
    z.strictObject({
      address: z.string().describe("link-time address as `0x…`; for a module the offset in its section"),
      type: z.string().describe("the letter of /proc/kallsyms"),
      name: z.string(),
    }),
  ),
});
