/**
 * A bzImage as it is: its protected-mode code unpacks itself after the jump.
 *
 * Source: Documentation/arch/x86/boot.rst ("32-bit boot protocol", "64-bit boot protocol");
 * arch/x86/boot/compressed/head_64.S.
 */
import { RekernelError } from "../../core/errors.ts";
import { LOADED_HIGH } from "../../formats/boot-params/fields.ts";
import { type BzImageHeader, badImage, protocolText, readBzImage } from "../../formats/bzimage.ts";
import { LayoutBuilder } from "../segments/layout.ts";
import { pageSize, type SegmentLayout } from "../segments/segment.ts";
import { startLinux } from "./linux.ts";
import type { LoaderInput } from "./loader.ts";

/** The 64-bit entry lies here in the protected-mode code. */
const entry64 = 0x200;
const oneMiB = 0x100000n;
const fourGiB = 1n << 32n;

/** @throws as every {@link import("./loader.ts").Loader} */
export function loadBzImage(input: LoaderInput): SegmentLayout {
  const { kernel, kernelName } = input;
  const { header, setupHeader, protectedMode } = readBzImage(kernel, kernelName);
  // Before 2.10 the header does not tell how much memory the kernel needs to unpack itself.
  if (header.protocol < 0x020a)
    throw new RekernelError(
      "refused",
      "RK-IMAGE-TOO-OLD",
      `${kernelName} does not say where it can be loaded (boot protocol ${protocolText(header.protocol)}).`,
      { hint: "Use a kernel of Linux 2.6.31 or later." },
    );
  if ((header.loadflags & LOADED_HIGH) === 0)
    throw badImage(kernelName, "it is a zImage, which loads below 1 MiB");
  const has64 = header.protocol >= 0x020c && header.xloadflags.kernel64;
  // XLF_5LEVEL, since Linux 4.14; on the way to the 32-bit entry the purgatory switches it off.
  const entersPaging = !input.fiveLevelPaging || header.xloadflags.fiveLevel;
  const mode = has64 && entersPaging && !input.entry32Bit ? "linux-64" : "linux-32";
  const anywhere = mode === "linux-64" && header.xloadflags.canBeLoadedAbove4G;
  const below = anywhere ? undefined : fourGiB;

  const layout = new LayoutBuilder(input.room);
  const { address } = layout.add(
    { name: "kernel", ...whereItRuns(header, protectedMode.length, kernelName, below) },
    protectedMode,
  );
  return startLinux(layout, input, {
    mode,
    entry: mode === "linux-64" ? address + BigInt(entry64) : address,
    setupHeader,
    // A field of 32 bits, which the 64-bit entry does not read.
    code32Start: Number(address & 0xffffffffn),
    kaslr: false,
    takesEfi: header.xloadflags.efiKexec,
    parametersBelow: below,
    initrdBelow: anywhere ? undefined : initrdEnd(header),
  });
}

/** It runs where it is loaded, though never below its preferred address: there it would move itself. */
function whereItRuns(header: BzImageHeader, bytes: number, name: string, below: bigint | undefined) {
  const { kernelAlignment, prefAddress, initSize, relocatable } = header;
  const isPowerOfTwo = kernelAlignment > 0 && Number.isInteger(Math.log2(kernelAlignment));
  if (!isPowerOfTwo)
    throw badImage(name, `its alignment 0x${kernelAlignment.toString(16)} is no power of two`);
  const size = Math.ceil(Math.max(initSize, bytes) / pageSize) * pageSize;
  const min = prefAddress > oneMiB ? prefAddress : oneMiB;
  return relocatable
    ? { size, align: Math.max(kernelAlignment, pageSize), min, max: below, from: "bottom" as const }
    : { size, min, max: min + BigInt(size), from: "bottom" as const };
}

function initrdEnd({ initrdAddrMax }: BzImageHeader): bigint {
  return BigInt(initrdAddrMax) + 1n;
}
