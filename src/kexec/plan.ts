/** What will be handed to the kernel: decided, checked and shown before anything is touched. */
import { readBzImage } from "../formats/bzimage.ts";
import type { AddressRange } from "../formats/memory-map.ts";
import { ukiCommandLine, ukiSection } from "../formats/uki.ts";
import type { KexecFile } from "../host/kexec.ts";
import { readFirmwareMemmap } from "../host/memory-map.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { readProcessor } from "../host/processor.ts";
import { readInputFile } from "../kernel/input-file.ts";
import { profileName } from "../kernel/uki-profile.ts";
import { type UnwrappedKernel, unwrapKernel } from "../kernel/unwrap.ts";
import { carriedState } from "./carried-state.ts";
import {
  type CommandLineChoice,
  type CommandLineOrigin,
  checkCommandLine,
  commandLineOrigin,
  nextCommandLine,
} from "./command-line.ts";
import { prepareInitrd } from "./initrd-files.ts";
import { layOutUnpacked, type PlannedLayout } from "./lay-out.ts";
import { leftBehind } from "./left-behind.ts";
import { type ImageKind, imageKind } from "./loaders/kind.ts";
import { chooseMethod, type KexecMethod, lostRanges } from "./method.ts";
import { type ModuleRequest, readModules } from "./modules.ts";
import { missingModules } from "./next-modules.ts";
import type { DigestKind } from "./purgatory/request.ts";
import type { SegmentLayout } from "./segments/segment.ts";
import { assessImage, type ImageAssessment } from "./signature/assess.ts";
import { readSignatureFacts } from "./signature/facts.ts";
import type { KexecPrediction } from "./signature/predict.ts";
import type { SignatureVerdict } from "./signature/verify.ts";
import { isUnpackingFailure, unpackObstacle } from "./unpack.ts";

export interface KexecRequest extends CommandLineChoice {
  /** Path of the kernel: a bzImage, an ELF file or a multiboot image, packed or not, or a unified kernel image. */
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
  /** Files for a multiboot kernel, each with its own command line. */
  modules?: readonly ModuleRequest[] | undefined;
  /** The system call. Default `auto`: by image and machine, with the reason in the plan. */
  syscall?: "auto" | KexecMethod | undefined;
  /** Enter the kernel by its 32-bit entry. */
  entry32Bit?: boolean | undefined;
  /** False: kernel and initrd unpack themselves after the jump. Default: before it, where kexec_load is possible. */
  unpack?: boolean | undefined;
  /** How the purgatory verifies the segments of kexec_load. Default: by what can be verified before the jump. */
  digest?: DigestKind | undefined;
  /** I/O port of the serial line on which the purgatory speaks. Default: that of the next kernel's console. */
  serialPort?: number | undefined;
  /** A file with another machine's memory map, to plan by. */
  memoryMap?: string | undefined;
  /** Addresses that segments of kexec_load may take. Default: all of the RAM. */
  within?: AddressRange | undefined;
  /** Whether kexec_load tells the next kernel of EFI's services. Default true. */
  efi?: boolean | undefined;
}

/** A checked request as a plain value. */
export interface KexecPlan {
  image: string;
  kind: ImageKind;
  /** Release of the kernel in the image, from its boot header; undefined where the header has none. */
  release: string | undefined;
  /** Where the kernel is taken from, in words: the image, or what of it. */
  kernelFrom: string;
  kernelBytes: number;
  /** As it is, or unpacked beforehand so that it need not do that after the jump. */
  kernelForm: "as-is" | "decompressed";
  /** The profile of a unified kernel image with profiles: `@0 (regular)`. */
  profile: string | undefined;
  /** What the initrd is made of, in the order in which it is unpacked. */
  initrds: readonly { from: string; bytes: number }[];
  /** All of them together as they are handed over, with what stands between them. */
  initrdBytes: number;
  /** Whether anything of it was unpacked beforehand. */
  initrdForm: "as-is" | "decompressed";
  modules: readonly { path: string; commandLine: string; bytes: number }[];
  commandLine: string;
  /** Where it comes from, apart from what is appended. */
  commandLineFrom: CommandLineOrigin;
  method: KexecMethod;
  /** Why this system call, in a full sentence. */
  methodReason: string;
  /** Whether the running kernel will take it; undefined where the plan is for another machine. */
  prediction: KexecPrediction | undefined;
  /** What the running kernel makes of the image's signature; undefined where it is not asked. */
  signature: SignatureVerdict | undefined;
  /** What lies where at the jump; undefined for kexec_file_load, where the running kernel decides that. */
  layout: PlannedLayout | undefined;
  /** What the administrator should know, in full sentences. */
  notes: readonly string[];
}

/** What the system call gets. */
export type KexecHandover =
  | { by: "kexec_file_load"; kernel: KexecFile; initrd: KexecFile | undefined }
  | { by: "kexec_load"; layout: SegmentLayout };

/** A plan with what is handed over. */
export interface PreparedKexec {
  plan: KexecPlan;
  handover: KexecHandover;
}

/**
 * Checks a request against the image and turns it into a plan. Touches nothing.
 *
 * @param runningCommandLine of /proc/cmdline, for `reuse`
 * @param host where the machine shows its memory and firmware; tests give folders
 * @throws RekernelError RK-BAD-IMAGE, RK-BAD-COMPRESSION, RK-UNSUPPORTED-COMPRESSION, RK-FILE, RK-KEXEC-NO-ROOM,
 *   RK-KEXEC-LAYOUT, RK-BAD-MEMORY-MAP (1); RK-USAGE (2); RK-IMAGE-TOO-OLD, RK-KEXEC-VMLINUX, RK-KEXEC-KIND,
 *   RK-COMMAND-LINE-TOO-LONG, RK-INITRD-ORDER, RK-OVERLAY (4); RK-PERMISSION, RK-NO-MEMORY-MAP (5)
 */
export async function planKexec(
  request: KexecRequest,
  runningCommandLine: string,
  host: HostPaths = thisHost,
): Promise<KexecPlan> {
  return (await prepareKexec(request, runningCommandLine, host)).plan;
}

/** {@link planKexec} with the bytes. */
export async function prepareKexec(
  request: KexecRequest,
  runningCommandLine: string,
  host: HostPaths = thisHost,
): Promise<PreparedKexec> {
  try {
    return await prepare(request, runningCommandLine, host);
  } catch (error) {
    if (request.unpack === false || !isUnpackingFailure(error)) throw error;
    // What is wrong with the packed image, too, is told by it.
    const packed = await prepare({ ...request, unpack: false }, runningCommandLine, host);
    const note = `Kernel and initrd are not unpacked before the jump: ${error.message}`;
    return { ...packed, plan: { ...packed.plan, notes: [note, ...packed.plan.notes] } };
  }
}

async function prepare(
  request: KexecRequest,
  runningCommandLine: string,
  host: HostPaths,
): Promise<PreparedKexec> {
  const { image, memoryMap } = request;
  const file = await readInputFile(image, "kernel image");
  const unwrapped = unwrapKernel(file, image, request.profile);
  const { kernel, uki, profile } = unwrapped;
  const kernelFrom = kernelOrigin(unwrapped, image);
  const kind = imageKind(kernel, kernelFrom);
  const modules = await readModules(request.modules, kind, kernelFrom);
  const bzImage = kind === "bzimage" ? readBzImage(kernel, kernelFrom) : undefined;
  const ofImage = profile && ukiCommandLine(profile);
  const commandLine = nextCommandLine(request, runningCommandLine, ofImage);
  const entry32Bit = request.entry32Bit === true;
  const givenMap = memoryMap !== undefined;
  const obstacle = await unpackObstacle(
    {
      wanted: request.unpack !== false,
      image: bzImage,
      entry32Bit,
      commandLine,
      runningCommandLine,
      givenMap,
    },
    host,
  );
  checkCommandLine(commandLine, bzImage?.header.cmdlineSize, image);
  const [facts, firmwareMap, processor, carried] = await Promise.all([
    readSignatureFacts(host),
    readFirmwareMemmap(host),
    readProcessor(host),
    carriedState(runningCommandLine, host),
  ]);
  const fiveLevelPaging = !givenMap && processor.fiveLevelPaging;
  const memoryRanges = firmwareMap?.length ?? 0;
  const { method, reason } = chooseMethod(
    {
      wish: request.syscall ?? "auto",
      name: kernelFrom,
      kind,
      header: bzImage?.header,
      entry32Bit,
      givenMap,
      modules: modules.length > 0,
      fiveLevelPaging,
      commandLineBytes: Buffer.byteLength(commandLine) + 1,
      memoryRanges,
      carried,
      unpackObstacle: obstacle,
    },
    facts.rules,
  );
  const byKernel = method === "kexec_file_load";
  const initrd = await prepareInitrd(request, profile, byKernel);
  const laidOut = byKernel
    ? undefined
    : await layOutUnpacked(
        {
          kind,
          kernel,
          kernelName: kernelFrom,
          imagePath: image,
          initrd: (initrd.file ?? []) as readonly Uint8Array[],
          modules,
          commandLine,
          entry32Bit,
          fiveLevelPaging,
          deviceTree: profile && ukiSection(profile, ".dtb"),
          serialPort: request.serialPort,
          memoryMap,
          within: request.within,
          efi: request.efi,
        },
        obstacle === undefined ? bzImage : undefined,
        request,
        runningCommandLine,
        host,
      );
  const release = bzImage && releaseOf(bzImage.header.kernelVersion);
  const unequipped = release === undefined ? undefined : await missingModules(release);
  const kernelForm = laidOut !== undefined && obstacle === undefined ? "decompressed" : "as-is";
  const assessment: Partial<ImageAssessment> = givenMap
    ? {}
    : assessImage(kernel, kernelFrom, method, facts, kernelForm === "decompressed");
  const lost = byKernel ? lostRanges(memoryRanges) : givenMap ? undefined : carried;
  const plan: KexecPlan = {
    image,
    kind,
    release,
    kernelFrom,
    kernelBytes: kernel.length,
    kernelForm,
    profile: uki?.hasProfiles && profile ? profileName(profile) : undefined,
    initrds: initrd.parts,
    initrdBytes: laidOut?.initrdBytes ?? initrd.bytes,
    initrdForm: laidOut?.initrdForm ?? "as-is",
    modules: modules.map(({ name, commandLine, data }) => ({ path: name, commandLine, bytes: data.length })),
    commandLine,
    commandLineFrom: commandLineOrigin(request, ofImage),
    method,
    methodReason: reason,
    prediction: assessment.prediction,
    signature: assessment.signature,
    layout: laidOut?.planned,
    notes: [
      ...(lost === undefined ? [] : [lost]),
      ...(profile ? leftBehind(profile, method) : []),
      ...initrd.notes,
      ...(laidOut?.notes ?? []),
      ...(unequipped === undefined || givenMap ? [] : [unequipped]),
      ...(assessment.notes ?? []),
    ],
  };
  const handover: KexecHandover = laidOut
    ? { by: "kexec_load", layout: laidOut.layout }
    : { by: "kexec_file_load", kernel: kernel === file ? image : [kernel], initrd: initrd.file };
  return { plan, handover };
}

function kernelOrigin({ uki, packedWith }: UnwrappedKernel, image: string): string {
  const file = packedWith === "none" ? image : `${image} (packed with ${packedWith})`;
  return uki ? `.linux of ${file}` : file;
}

/** The release is the first word of the boot header's text. */
export function releaseOf(kernelVersion: string): string | undefined {
  return /^\S+/.exec(kernelVersion)?.[0];
}
