/** From an image to the segments that kexec_load takes. */
import { randomBytes, randomInt } from "node:crypto";
import { type BzImage, unpackPayload } from "../formats/bzimage.ts";
import { noFirmwareFacts } from "../formats/firmware-facts.ts";
import type { AddressRange } from "../formats/memory-map.ts";
import { readFirmwareFacts } from "../host/firmware-facts.ts";
import type { HostPaths } from "../host/paths.ts";
import { readInputFile } from "../kernel/input-file.ts";
import { splitCommandLine } from "./command-line.ts";
import { type ImageKind, loaderFor } from "./loaders/kind.ts";
import type { LoaderInput } from "./loaders/loader.ts";
import { givenMemory, type KexecMemory, readKexecMemory } from "./memory.ts";
import type { DigestKind } from "./purgatory/request.ts";
import { checkSegments } from "./segments/check.ts";
import { intersect } from "./segments/ranges.ts";
import type { SegmentLayout } from "./segments/segment.ts";
import { chooseDigest, type UnpackedInitrd, unpackInitrd } from "./unpack.ts";

/** What the loader gets from the request; the rest comes from the machine. */
export type LayoutRequest = Pick<
  LoaderInput,
  | "kernel"
  | "kernelName"
  | "unpackedFrom"
  | "imagePath"
  | "initrd"
  | "modules"
  | "commandLine"
  | "entry32Bit"
  | "fiveLevelPaging"
  | "deviceTree"
  | "digest"
  | "serialPort"
> & {
  kind: ImageKind;
  /** A file with a memory map: then nothing of this machine counts. */
  memoryMap: string | undefined;
  /** Where segments may lie, of what is free. */
  within?: AddressRange | undefined;
  /** False: the next kernel is to take the firmware for a BIOS. */
  efi?: boolean | undefined;
};

/** A layout as a plain value, without the bytes. */
export interface PlannedLayout {
  /** Where the memory map comes from: the firmware, the running kernel (/proc/iomem) or a given file. */
  memoryFrom: KexecMemory["source"];
  /** How the purgatory verifies the segments. */
  digest: DigestKind;
  /** Why so, in a full sentence. */
  digestReason: string;
  /** Into the purgatory. */
  entry: bigint;
  /** Where the purgatory goes on, in the next kernel. */
  kernelEntry: bigint;
  /** By address. `end` is behind the last byte of memory; `bytes` of it are loaded, the rest is zeroed. */
  segments: readonly (AddressRange & { name: string; bytes: number; memoryBytes: number })[];
}

async function layOutSegments(
  request: LayoutRequest,
  runningCommandLine: string,
  host: HostPaths,
): Promise<{ layout: SegmentLayout; planned: Omit<PlannedLayout, "digestReason"> }> {
  const { kind, memoryMap, within, efi, ...given } = request;
  const load = await loaderFor(kind);
  const [memory, firmware] =
    memoryMap === undefined
      ? await Promise.all([readKexecMemory(runningCommandLine, host), readFirmwareFacts(host)])
      : [givenMemory(await readMap(memoryMap), memoryMap), noFirmwareFacts];
  const room = within === undefined ? memory.room : intersect(memory.room, [within]);
  const layout = load({
    ...given,
    serialPort: given.serialPort ?? serialPortOf(given.commandLine),
    memory: memory.map,
    room,
    firmware: efi === false ? { ...firmware, efi: undefined } : firmware,
    rngSeed: randomBytes(32),
    random: (limit) => randomInt(limit),
  });
  checkSegments(layout.segments, room, memory.totalRamBytes);
  return {
    layout: { ...layout, notes: [...memory.notes, ...layout.notes] },
    planned: plannedLayout(layout, memory, given.digest),
  };
}

/**
 * Segments for kexec_load, of kernel and initrd unpacked where that is possible.
 *
 * @param packed the bzImage to unpack; undefined for a kernel that is started as it is
 * @throws RekernelError RK-KEXEC-NO-ROOM, RK-KEXEC-LAYOUT, RK-BAD-IMAGE, RK-BAD-MEMORY-MAP, RK-BAD-BOOT-PARAMS,
 *   RK-FILE (1); RK-KEXEC-KIND, RK-IMAGE-TOO-OLD (4); RK-NO-MEMORY-MAP (5)
 */
export async function layOutUnpacked(
  given: Omit<LayoutRequest, "digest">,
  packed: BzImage | undefined,
  { digest: wanted, unpack }: { digest?: DigestKind | undefined; unpack?: boolean | undefined },
  runningCommandLine: string,
  host: HostPaths,
) {
  const { digest, reason } = await chooseDigest(wanted, given.memoryMap !== undefined, host);
  const kernel: Partial<LayoutRequest> =
    packed === undefined
      ? {}
      : { kind: "vmlinux", kernel: unpackPayload(packed, given.kernelName), unpackedFrom: packed };
  // SHA-256 of an unpacked initrd takes the purgatory longer than the kernel takes to unpack it.
  const initrd: UnpackedInitrd =
    unpack !== false && digest === "sum" && given.memoryMap === undefined && given.initrd.length > 0
      ? await unpackInitrd(given.initrd, (kernel.kernel ?? given.kernel).length, host)
      : { data: [...given.initrd], decompressed: false, notes: [] };
  const { layout, planned } = await layOutSegments(
    { ...given, ...kernel, initrd: initrd.data, digest },
    runningCommandLine,
    host,
  );
  return {
    layout,
    planned: { ...planned, digestReason: reason },
    initrdForm: initrd.decompressed ? ("decompressed" as const) : ("as-is" as const),
    initrdBytes: initrd.data.reduce((sum, { length }) => sum + length, 0),
    notes: [...layout.notes, ...initrd.notes],
  };
}

function plannedLayout(
  { entry, kernelEntry, segments }: SegmentLayout,
  memory: KexecMemory,
  digest: DigestKind,
): Omit<PlannedLayout, "digestReason"> {
  return {
    memoryFrom: memory.source,
    digest,
    entry,
    kernelEntry,
    segments: segments.map(({ name, address, data, memoryBytes }) => ({
      name,
      start: address,
      end: address + BigInt(memoryBytes),
      bytes: data.length,
      memoryBytes,
    })),
  };
}

async function readMap(path: string): Promise<string> {
  return Buffer.from(await readInputFile(path, "memory map")).toString("latin1");
}

/** The PC's serial lines (arch/x86/include/asm/serial.h). */
const serialPorts = [0x3f8, 0x2f8, 0x3e8, 0x2e8];

/** The I/O port of the serial line that a command line makes the console; the last one is /dev/console. */
export function serialPortOf(commandLine: string): number | undefined {
  const lines = splitCommandLine(commandLine).flatMap(
    (word) => /^console=ttyS([0-3])\b/.exec(word)?.[1] ?? [],
  );
  const last = lines.at(-1);
  return last === undefined ? undefined : serialPorts[Number(last)];
}
