/**
 * A 32-bit Linux as ELF file (arch/i386's vmlinux), started by the 32-bit boot protocol
 * (Documentation/arch/x86/boot.rst) at the address that it is linked to.
 */
import { RekernelError } from "../../core/errors.ts";
import { readExecutable } from "../../formats/elf/executable.ts";
import { LayoutBuilder } from "../segments/layout.ts";
import { fourGiB, type SegmentLayout } from "../segments/segment.ts";
import { elfPieces, physicalEntry } from "./elf-pieces.ts";
import { startLinux } from "./linux.ts";
import type { LoaderInput } from "./loader.ts";
import { putPieces, spanOf } from "./pieces.ts";

/** Where the memory ends that a 32-bit kernel maps for itself: hdr.initrd_addr_max of its bzImage. */
const initrdBelow = 0x38000000n;

/**
 * @throws RekernelError RK-KEXEC-NO-ROOM, RK-BAD-IMAGE, RK-BAD-ELF (1); RK-KEXEC-KIND (4) for what is no Linux:
 *   an ELF file by itself does not say what its program wants to be told
 */
export function loadElf32(input: LoaderInput): SegmentLayout {
  const { kernel, kernelName } = input;
  const elf = readExecutable(kernel, kernelName);
  if (!Buffer.from(kernel.buffer, kernel.byteOffset, kernel.length).includes("Linux version "))
    throw new RekernelError(
      "refused",
      "RK-KEXEC-KIND",
      `${kernelName} is an ELF file of 32 bits without a Multiboot header, and it is not Linux: it does not say how it wants to be started.`,
      { hint: "Such programs know one boot loader only; use that one." },
    );
  const pieces = elfPieces(elf);
  spanOf(pieces, fourGiB, kernelName);
  const builder = new LayoutBuilder(input.room);
  putPieces(builder, pieces, kernelName);
  return startLinux(builder, input, {
    mode: "linux-32",
    entry: physicalEntry(elf, kernelName),
    setupHeader: undefined,
    code32Start: 0,
    kaslr: false,
    takesEfi: false,
    parametersBelow: fourGiB,
    initrdBelow,
  });
}
