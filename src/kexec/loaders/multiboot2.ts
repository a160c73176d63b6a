/** Kernels with a Multiboot2 header (Multiboot2 Specification version 2.0): Xen and others. */
import { RekernelError } from "../../core/errors.ts";
import { badImage } from "../../formats/bzimage.ts";
import { type Executable, readExecutable } from "../../formats/elf/executable.ts";
import { framebufferOf } from "../../formats/multiboot/framebuffer.ts";
import {
  findMultiboot2,
  type MultibootHeader2,
  multiboot2BootMagic,
  type Relocatable,
} from "../../formats/multiboot/header-2.ts";
import {
  isKnownInformation,
  lostInformation,
  writeMultiboot2,
} from "../../formats/multiboot/information-2.ts";
import { lowerAndUpperMemory, multibootMemory } from "../../formats/multiboot/memory.ts";
import { placeFile } from "../../formats/multiboot/placed-file.ts";
import { isElf } from "../../kernel/architecture.ts";
import { LayoutBuilder } from "../segments/layout.ts";
import { fourGiB, pageSize, type SegmentLayout } from "../segments/segment.ts";
import { elfPieces, physicalEntry } from "./elf-pieces.ts";
import { addPurgatory } from "./linux.ts";
import type { LoaderInput } from "./loader.ts";
import {
  bootLoaderName,
  firstOf,
  multibootCommandLine,
  putInformation,
  putModules,
  putSections,
} from "./multiboot-files.ts";
import { fillPieces, type Piece, putPieces, spanOf } from "./pieces.ts";

/**
 * @throws RekernelError RK-KEXEC-NO-ROOM, RK-BAD-IMAGE, RK-BAD-ELF (1); RK-USAGE (2) for an initrd;
 *   RK-MULTIBOOT-DEMAND (4) for a kernel that cannot do without what nobody can give it
 */
export function loadMultiboot2(input: LoaderInput): SegmentLayout {
  const { kernel, kernelName } = input;
  const header = findMultiboot2(kernel, kernelName);
  if (header === undefined) throw badImage(kernelName, "it has no Multiboot2 header");
  const framebuffer = input.firmware.screen && framebufferOf(input.firmware.screen.info);
  checkDemands(header, kernelName, framebuffer !== undefined);
  const linked = partsOf(input, header);
  const builder = new LayoutBuilder(input.room);
  const { base, moved, end } = putKernel(builder, linked.pieces, header.relocatable, kernelName);
  const modules = putModules(builder, input, end);
  const symbols = linked.sections && putSections(builder, linked.sections, end);
  const information = putInformation(builder, end, () =>
    writeMultiboot2({
      commandLine: multibootCommandLine(input),
      bootLoader: bootLoaderName,
      ...lowerAndUpperMemory(input.memory),
      memory: multibootMemory(input.memory),
      modules,
      sections: symbols,
      rsdp: input.firmware.acpiRsdpTable,
      loadBase: header.relocatable && Number(base),
      framebuffer,
    }),
  );
  const handover = {
    kind: "multiboot",
    entry: Number(linked.entry + moved),
    magic: multiboot2BootMagic,
    information,
  } as const;
  return {
    ...addPurgatory(builder, input, handover),
    kernelEntry: BigInt(handover.entry),
    notes: notesOf(header),
  };
}

/** The parts at the addresses that they are linked to. */
function partsOf({ kernel, kernelName }: LoaderInput, { offset, addresses, entry }: MultibootHeader2) {
  if (addresses === undefined) {
    const elf: Executable = readExecutable(kernel, kernelName);
    const pieces = elfPieces(elf);
    const start = entry === undefined ? physicalEntry(elf, kernelName) : BigInt(entry);
    return { pieces, entry: within(start, pieces, kernelName), sections: elf.sections };
  }
  const placed = placeFile(kernel, offset, addresses, (reason) => badImage(kernelName, reason));
  const piece: Piece = {
    address: BigInt(placed.address),
    data: placed.data,
    memoryBytes: BigInt(placed.memoryBytes),
  };
  if (entry === undefined && !isElf(kernel))
    throw badImage(kernelName, "its Multiboot2 header tells where it lies, but not where it begins");
  const start =
    entry === undefined ? physicalEntry(readExecutable(kernel, kernelName), kernelName) : BigInt(entry);
  return { pieces: [piece], entry: within(start, [piece], kernelName), sections: undefined };
}

function within(entry: bigint, pieces: readonly Piece[], name: string): bigint {
  if (pieces.some(({ address, memoryBytes }) => entry >= address && entry < address + memoryBytes))
    return entry;
  throw badImage(name, `its entry 0x${entry.toString(16)} lies outside of what is loaded`);
}

/**
 * A relocatable kernel goes to the end of its window that it prefers; without a preference it stays where it
 * is linked to, if there is room.
 */
function putKernel(
  builder: LayoutBuilder,
  pieces: readonly Piece[],
  relocatable: Relocatable | undefined,
  name: string,
): { base: bigint; moved: bigint; end: bigint } {
  const { start, end } = spanOf(pieces, fourGiB, name);
  if (relocatable === undefined) {
    putPieces(builder, pieces, name);
    return { base: start, moved: 0n, end };
  }
  const { minAddress, maxAddress, preference } = relocatable;
  const align = Math.max(relocatable.align, pageSize);
  const size = Number(end - start);
  const wish = {
    name: "kernel",
    size,
    align,
    min: BigInt(minAddress),
    max: BigInt(maxAddress),
    from: preference === "highest" ? "top" : "bottom",
  } as const;
  const likesIt =
    preference === "none" && start >= wish.min && end <= wish.max && start % BigInt(align) === 0n;
  const pages = start + BigInt(Math.ceil(size / pageSize) * pageSize);
  const { address } = likesIt
    ? firstOf(builder, { ...wish, min: start, max: pages }, wish)
    : builder.reserve(wish);
  const moved = address - start;
  fillPieces(
    builder,
    pieces.map((piece) => ({ ...piece, address: piece.address + moved })),
    name,
  );
  return { base: address, moved, end: end + moved };
}

function checkDemands(header: MultibootHeader2, name: string, hasFramebuffer: boolean): void {
  const { information, unknownTags } = header.demand;
  const unknown = information.filter(
    (type) => !isKnownInformation(type) && lostInformation[type] === undefined,
  );
  const lacks = [
    ...unknownTags.map((type) => `tag ${type} of its header, which the specification does not know`),
    ...unknown.map((type) => `information of type ${type}, which the specification does not know`),
    ...(header.console?.required && !header.console.optional && !hasFramebuffer
      ? ["a console that it is told of, and what is on the screen is not known"]
      : []),
  ];
  if (lacks.length === 0) return;
  throw new RekernelError(
    "refused",
    "RK-MULTIBOOT-DEMAND",
    `${name} cannot do without ${lacks.join(", nor without ")}.`,
    { hint: "Its Multiboot2 header says so. Start it by its own boot loader." },
  );
}

function notesOf({ demand }: MultibootHeader2): string[] {
  const lost = [...new Set(demand.information.flatMap((type) => lostInformation[type] ?? []))];
  return lost.length === 0
    ? []
    : [
        `The kernel asks for ${lost.join(", ")}: after a kexec there is no such thing, and it is told nothing of it.`,
      ];
}
