/**
 * Kernels with a Multiboot header, version 1 (Multiboot Specification 0.6.96): Xen, L4, GNU Mach, memory tests.
 */
import { badImage } from "../../formats/bzimage.ts";
import { readExecutable } from "../../formats/elf/executable.ts";
import { framebufferOf } from "../../formats/multiboot/framebuffer.ts";
import {
  findMultiboot1,
  type MultibootHeader1,
  multiboot1BootMagic,
} from "../../formats/multiboot/header-1.ts";
import { writeMultiboot1 } from "../../formats/multiboot/information-1.ts";
import { lowerAndUpperMemory, multibootMemory } from "../../formats/multiboot/memory.ts";
import { placeFile } from "../../formats/multiboot/placed-file.ts";
import { LayoutBuilder } from "../segments/layout.ts";
import { fourGiB, type SegmentLayout } from "../segments/segment.ts";
import { elfPieces, physicalEntry } from "./elf-pieces.ts";
import { addPurgatory } from "./linux.ts";
import type { LoaderInput } from "./loader.ts";
import {
  bootLoaderName,
  multibootCommandLine,
  putInformation,
  putModules,
  putSections,
} from "./multiboot-files.ts";
import { type Piece, putPieces, spanOf } from "./pieces.ts";

/**
 * @throws RekernelError RK-KEXEC-NO-ROOM, RK-BAD-IMAGE, RK-BAD-ELF (1); RK-USAGE (2) for an initrd
 */
export function loadMultiboot(input: LoaderInput): SegmentLayout {
  const { kernel, kernelName } = input;
  const header = findMultiboot1(kernel, kernelName);
  if (header === undefined) throw badImage(kernelName, "it has no Multiboot header");
  const { pieces, entry, sections } = partsOf(input, header);
  const builder = new LayoutBuilder(input.room);
  const { end } = spanOf(pieces, fourGiB, kernelName);
  putPieces(builder, pieces, kernelName);
  const modules = putModules(builder, input, end);
  const symbols = sections && putSections(builder, sections, end);
  const framebuffer = input.firmware.screen && framebufferOf(input.firmware.screen.info);
  const information = putInformation(builder, end, (address) =>
    writeMultiboot1(
      {
        commandLine: multibootCommandLine(input),
        bootLoader: bootLoaderName,
        ...lowerAndUpperMemory(input.memory),
        memory: multibootMemory(input.memory),
        modules,
        sections: symbols,
        framebuffer,
      },
      address,
    ),
  );
  const notes =
    header.wantsVideo && framebuffer === undefined
      ? ["The kernel asks for a video mode: none is set, and it is told of no framebuffer."]
      : [];
  const handover = { kind: "multiboot", entry, magic: multiboot1BootMagic, information } as const;
  return {
    ...addPurgatory(builder, input, handover),
    kernelEntry: BigInt(handover.entry),
    notes,
  };
}

function partsOf({ kernel, kernelName }: LoaderInput, header: MultibootHeader1) {
  if (header.addresses === undefined) {
    const elf = readExecutable(kernel, kernelName);
    return { pieces: elfPieces(elf), entry: Number(physicalEntry(elf, kernelName)), sections: elf.sections };
  }
  const { entry } = header.addresses;
  const placed = placeFile(kernel, header.offset, header.addresses, (reason) => badImage(kernelName, reason));
  const piece: Piece = {
    address: BigInt(placed.address),
    data: placed.data,
    memoryBytes: BigInt(placed.memoryBytes),
  };
  if (entry < placed.address || entry >= placed.address + placed.memoryBytes)
    throw badImage(kernelName, `its entry 0x${entry.toString(16)} lies outside of what is loaded`);
  return { pieces: [piece], entry, sections: undefined };
}
