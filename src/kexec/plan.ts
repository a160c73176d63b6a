/** What will be handed to the kernel: decided, checked and shown before anything is touched. */
import { stat } from "node:fs/promises";
import { hasErrno, RekernelError } from "../core/errors.ts";
import { protocolText, readBzImage } from "../formats/bzimage.ts";
import { type UkiProfile, ukiCommandLine, ukiSection } from "../formats/uki.ts";
import type { KexecFile } from "../host/kexec.ts";
import { isElf } from "../kernel/architecture.ts";
import { readInputFile } from "../kernel/input-file.ts";
import { profileName } from "../kernel/uki-profile.ts";
import { type UnwrappedKernel, unwrapKernel } from "../kernel/unwrap.ts";
import {
  type CommandLineChoice,
  type CommandLineOrigin,
  commandLineOrigin,
  nextCommandLine,
} from "./command-line.ts";
import { type InitrdPart, joinInitrds } from "./initrd.ts";
import { overlayArchive } from "./overlay.ts";

export interface KexecRequest extends CommandLineChoice {
  /** Path of the kernel: a bzImage, packed or not, or a unified kernel image. */
  image: string;
  /** Profile of a unified kernel image, by number or ID; its first without one. */
  profile?: string | undefined;
  /**
   * Paths of initrds, unpacked in this order, behind those of a unified kernel image. Without any the next
   * kernel must find its root by itself.
   */
  initrds?: readonly string[] | undefined;
  /** A folder whose content is laid over the initrd. */
  overlay?: string | undefined;
}

/** A checked request as a plain value. */
export interface KexecPlan {
  image: string;
  /** Release of the kernel in the image, from its boot header; undefined where the header has none. */
  release: string | undefined;
  /** Where the kernel is taken from, in words: the image, or what of it. */
  kernelFrom: string;
  kernelBytes: number;
  /** The profile of a unified kernel image with profiles: `@0 (regular)`. */
  profile: string | undefined;
  /** What the initrd is made of, in the order in which it is unpacked. */
  initrds: readonly { from: string; bytes: number }[];
  /** All of them together, with what stands between them. */
  initrdBytes: number;
  commandLine: string;
  /** Where it comes from, apart from what is appended. */
  commandLineFrom: CommandLineOrigin;
  /** What of the image does not reach the next kernel, in full sentences. */
  notes: readonly string[];
}

/** A plan with what is handed over. */
export interface PreparedKexec {
  plan: KexecPlan;
  kernel: KexecFile;
  initrd: KexecFile | undefined;
}

/**
 * Checks a request against the image and turns it into a plan. Touches nothing.
 *
 * @param runningCommandLine of /proc/cmdline, for `reuse`
 * @throws RekernelError RK-BAD-IMAGE, RK-BAD-COMPRESSION, RK-UNSUPPORTED-COMPRESSION, RK-FILE (1); RK-USAGE (2);
 *   RK-IMAGE-TOO-OLD, RK-KEXEC-VMLINUX, RK-COMMAND-LINE-TOO-LONG, RK-INITRD-ORDER, RK-OVERLAY (4);
 *   RK-PERMISSION (5)
 */
export async function planKexec(request: KexecRequest, runningCommandLine: string): Promise<KexecPlan> {
  return (await prepareKexec(request, runningCommandLine)).plan;
}

/** {@link planKexec} with the bytes. */
export async function prepareKexec(
  request: KexecRequest,
  runningCommandLine: string,
): Promise<PreparedKexec> {
  const { image } = request;
  const file = await readInputFile(image, "kernel image");
  const unwrapped = unwrapKernel(file, image, request.profile);
  const { kernel, uki, profile } = unwrapped;
  const kernelFrom = kernelOrigin(unwrapped, image);
  const header = checkKernel(kernel, kernelFrom);
  const ofImage = profile && ukiCommandLine(profile);
  const commandLine = nextCommandLine(request, runningCommandLine, ofImage);
  checkCommandLine(commandLine, header.cmdlineSize, image);
  const initrd = await prepareInitrd(request, profile);
  return {
    plan: {
      image,
      release: releaseOf(header.kernelVersion),
      kernelFrom,
      kernelBytes: kernel.length,
      profile: uki?.hasProfiles && profile ? profileName(profile) : undefined,
      initrds: initrd.parts,
      initrdBytes: initrd.bytes,
      commandLine,
      commandLineFrom: commandLineOrigin(request, ofImage),
      notes: profile ? leftBehind(profile) : [],
    },
    kernel: kernel === file ? image : [kernel],
    initrd: initrd.file,
  };
}

function kernelOrigin({ uki, packedWith }: UnwrappedKernel, image: string): string {
  const file = packedWith === "none" ? image : `${image} (packed with ${packedWith})`;
  return uki ? `.linux of ${file}` : file;
}

function checkKernel(kernel: Uint8Array, name: string) {
  if (isElf(kernel))
    throw new RekernelError(
      "refused",
      "RK-KEXEC-VMLINUX",
      `${name} is an ELF file, and kexec_file_load starts nothing but bzImages on x86-64.`,
      {
        hint: "If it is a vmlinux, use the vmlinuz of the same kernel; in a build tree it is arch/x86/boot/bzImage.",
      },
    );
  const { header } = readBzImage(kernel, name);
  // arch/x86/kernel/kexec-bzimage64.c bzImage64_probe.
  if (header.protocol < 0x020c || !header.xloadflags.kernel64 || !header.xloadflags.canBeLoadedAbove4G)
    throw new RekernelError(
      "refused",
      "RK-IMAGE-TOO-OLD",
      `${name} cannot be started by kexec_file_load: it has no 64-bit entry that can be loaded anywhere (boot protocol ${protocolText(header.protocol)}).`,
      { hint: "Use an x86-64 kernel of Linux 3.8 or later." },
    );
  return header;
}

function checkCommandLine(commandLine: string, limit: number, image: string): void {
  const bytes = Buffer.byteLength(commandLine) + 1;
  if (bytes > limit)
    throw new RekernelError(
      "refused",
      "RK-COMMAND-LINE-TOO-LONG",
      `The command line takes ${bytes} bytes, but ${image} accepts ${limit} at most.`,
      { hint: "The kernel would cut it off. Leave out what the next kernel does not need." },
    );
  if (commandLine.includes("\0"))
    throw new RekernelError("usage", "RK-USAGE", "The command line holds a NUL byte.");
}

/** The release is the first word of the boot header's text. */
export function releaseOf(kernelVersion: string): string | undefined {
  return /^\S+/.exec(kernelVersion)?.[0];
}

interface PreparedInitrd {
  file: KexecFile | undefined;
  parts: { from: string; bytes: number }[];
  bytes: number;
}

/** systemd-stub's order: .ucode, then .initrd, then what is added. */
async function prepareInitrd(
  request: KexecRequest,
  profile: UkiProfile | undefined,
): Promise<PreparedInitrd> {
  const { image, overlay, initrds = [] } = request;
  const parts: InitrdPart[] = [];
  for (const name of [".ucode", ".initrd"] as const) {
    const data = profile && ukiSection(profile, name);
    if (data && data.length > 0) parts.push({ from: `${name} of ${image}`, data });
  }
  const [only] = initrds;
  if (parts.length === 0 && overlay === undefined && initrds.length === 1 && only !== undefined) {
    // The kernel reads it by itself.
    const bytes = await initrdSize(only);
    return { file: only, parts: [{ from: only, bytes }], bytes };
  }
  for (const path of initrds) parts.push({ from: path, data: await readInputFile(path, "initrd") });
  if (overlay !== undefined) parts.push({ from: `overlay ${overlay}`, data: await overlayArchive(overlay) });
  const chunks = joinInitrds(parts);
  return {
    file: parts.length === 0 ? undefined : chunks,
    parts: parts.map(({ from, data }) => ({ from, bytes: data.length })),
    bytes: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
  };
}

/** Only its size matters here: the kernel reads it, and nobody checks what is in it. */
async function initrdSize(path: string): Promise<number> {
  const found = await stat(path).catch((cause: unknown) => {
    throw hasErrno(cause)
      ? new RekernelError("failed", "RK-FILE", `Cannot read the initrd ${path}: ${cause.message}.`, {
          hint: "Check the path.",
          cause,
        })
      : cause;
  });
  if (!found.isFile()) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is not a file.`);
  if (found.size === 0) throw new RekernelError("failed", "RK-FILE", `The initrd ${path} is empty.`);
  return found.size;
}

function leftBehind(profile: UkiProfile): string[] {
  const has = (...names: string[]) => profile.sections.some(({ name }) => names.includes(name));
  return [
    ...(has(".dtb", ".dtbauto")
      ? ["Its device tree is not passed on: kexec_file_load has no way for it on x86-64."]
      : []),
    ...(has(".pcrsig", ".pcrpkey")
      ? ["Nothing is measured into the TPM: what is sealed to this image's PCR 11 does not open."]
      : []),
  ];
}
