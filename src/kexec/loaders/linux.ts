/** What every Linux kernel needs besides itself: initrd, boot_params with the command line, and the purgatory. */
import { writeBootParams } from "../../formats/boot-params/write.ts";
import { buildPurgatory, purgatoryLimit, purgatoryMemoryBytes } from "../purgatory/purgatory.ts";
import type { Handover } from "../purgatory/request.ts";
import type { LayoutBuilder } from "../segments/layout.ts";
import type { SegmentLayout } from "../segments/segment.ts";
import type { LoaderInput } from "./loader.ts";

/** How a kernel that lies in memory already wants to be started. */
export interface LinuxStart {
  /** Long mode or protected mode. */
  mode: "linux-64" | "linux-32";
  entry: bigint;
  /** Bytes from 0x1f1 of the image; undefined for a vmlinux. */
  setupHeader: Uint8Array | undefined;
  /** Where a bzImage's protected-mode code lies; 0 for a vmlinux. */
  code32Start: number;
  /** The kernel proper was moved by the loader (KASLR_FLAG). */
  kaslr: boolean;
  /** It takes EFI's facts from boot_params (XLF_EFI_KEXEC). */
  takesEfi: boolean;
  /** The first address that boot_params and the command line must not reach; undefined for none. */
  parametersBelow: bigint | undefined;
  /** The same for the initrd. */
  initrdBelow: bigint | undefined;
}

/**
 * Places the rest around a kernel and puts the layout together. The initrd goes to the top of memory, out of
 * the way of a kernel that looks for a random place.
 *
 * @param layout holds the kernel's own segments
 * @throws RekernelError RK-KEXEC-NO-ROOM (1)
 */
export function startLinux(layout: LayoutBuilder, input: LoaderInput, start: LinuxStart): SegmentLayout {
  const { mode, entry, takesEfi } = start;
  const initrd = placeInitrd(layout, input, start.initrdBelow);

  const contents = {
    setupHeader: start.setupHeader,
    code32Start: start.code32Start,
    commandLine: input.commandLine,
    initrd,
    memory: input.memory,
    firmware: input.firmware,
    takesEfi,
    kaslr: start.kaslr,
    rngSeed: input.rngSeed,
    deviceTree: input.deviceTree,
  };
  const { address: bootParams } = reserveFor(layout, contents, start.parametersBelow);

  const handover: Handover =
    mode === "linux-64"
      ? { kind: mode, entry, bootParams }
      : { kind: mode, entry: Number(entry), bootParams: Number(bootParams) };
  return {
    ...addPurgatory(layout, input, handover),
    kernelEntry: entry,
    notes: [
      ...input.firmware.notes,
      ...(input.firmware.efi !== undefined && !takesEfi
        ? ["This kernel does not take EFI's facts from kexec: it starts without EFI's run-time services."]
        : []),
    ],
  };
}

function placeInitrd(layout: LayoutBuilder, { initrd }: LoaderInput, below: bigint | undefined) {
  const bytes = initrd.reduce((sum, part) => sum + part.length, 0);
  if (bytes === 0) return undefined;
  // Only one segment may hold it, and a copy of hundreds of megabytes is spared where it is one piece.
  const [only, ...others] = initrd;
  const data = others.length === 0 ? only! : Buffer.concat(initrd, bytes);
  const { address } = layout.add({ name: "initrd", max: below, from: "top" }, data);
  return { address, bytes };
}

function reserveFor(
  layout: LayoutBuilder,
  contents: Parameters<typeof writeBootParams>[0],
  below: bigint | undefined,
) {
  const { length } = writeBootParams(contents, 0n);
  const place = layout.reserve({ name: "boot_params", size: length, max: below, from: "top" });
  layout.put("boot_params", place, writeBootParams(contents, place.address));
  return place;
}

/**
 * Adds the purgatory, which verifies all segments that are there by then.
 *
 * @throws RekernelError RK-KEXEC-NO-ROOM (1)
 */
export function addPurgatory(
  layout: LayoutBuilder,
  { digest, serialPort }: LoaderInput,
  handover: Handover,
): Pick<SegmentLayout, "segments" | "entry"> {
  const { data, entryOffset } = buildPurgatory({ handover, digest, segments: layout.segments, serialPort });
  const { address } = layout.add(
    {
      name: "purgatory",
      size: purgatoryMemoryBytes,
      max: purgatoryLimit(handover.kind),
      from: "top",
    },
    data,
  );
  return { segments: layout.segments, entry: address + BigInt(entryOffset) };
}
