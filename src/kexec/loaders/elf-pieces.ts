/** An ELF kernel as a loader sees it: what lies where, and where its first instruction is. */
import { badImage } from "../../formats/bzimage.ts";
import type { Executable } from "../../formats/elf/executable.ts";
import type { Piece } from "./pieces.ts";

/** The segments at their physical addresses. */
export function elfPieces({ segments }: Executable): Piece[] {
  return segments.map(({ physicalAddress, data, memoryBytes }) => ({
    address: physicalAddress,
    data,
    memoryBytes,
  }));
}

/**
 * The physical address of the entry. Linkers write a virtual one where the two differ: it is that of the
 * segment which holds it. Others write the physical one, which no segment holds then.
 *
 * @throws RekernelError RK-BAD-IMAGE (1) for an entry outside of what is loaded
 */
export function physicalEntry({ segments, entry }: Executable, name: string): bigint {
  for (const { virtualAddress, physicalAddress, memoryBytes } of segments)
    if (entry >= virtualAddress && entry < virtualAddress + memoryBytes)
      return entry - virtualAddress + physicalAddress;
  for (const { physicalAddress, memoryBytes } of segments)
    if (entry >= physicalAddress && entry < physicalAddress + memoryBytes) return entry;
  throw badImage(name, `its entry 0x${entry.toString(16)} lies outside of what is loaded`);
}
