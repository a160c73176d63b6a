/** Parts of a kernel that belong at certain addresses, as segments of whole pages. Pure. */
import { badImage } from "../../formats/bzimage.ts";
import type { LayoutBuilder } from "../segments/layout.ts";
import { pageSize } from "../segments/segment.ts";

/** A part of an image and the memory that it takes, at any address. */
export interface Piece {
  address: bigint;
  data: Uint8Array;
  /** Not less than the data; what is left is zero. */
  memoryBytes: bigint;
}

/** Pieces that share pages, as one. */
interface Block {
  start: bigint;
  end: bigint;
  pieces: Piece[];
}

/** Of the sixteen segments that the kernel takes, modules and the rest need some, too. */
const blockLimit = 8;
/** What lies between two pieces is given as bytes: more than this is no kernel's doing. */
const limitBytes = 512n << 20n;
const page = BigInt(pageSize);

/**
 * Where pieces begin and end together.
 *
 * @throws RekernelError RK-BAD-IMAGE (1) for pieces that overlap, or that reach beyond `limit`
 */
export function spanOf(
  pieces: readonly Piece[],
  limit: bigint,
  name: string,
): { start: bigint; end: bigint } {
  const sorted = byAddress(pieces);
  let end = 0n;
  for (const piece of sorted) {
    if (piece.address < end) throw badImage(name, "parts of it are to lie at the same address");
    end = piece.address + piece.memoryBytes;
    if (end > limit)
      throw badImage(name, `it is to be loaded at 0x${piece.address.toString(16)}, out of reach`);
  }
  return { start: sorted[0]!.address, end };
}

/**
 * Reserves exactly the pages of all pieces and fills them. Where there are more parts than segments can be
 * had, those that lie closest become one.
 *
 * @param pieces as {@link spanOf} accepts them
 * @throws RekernelError RK-KEXEC-NO-ROOM, RK-BAD-IMAGE (1)
 */
export function putPieces(builder: LayoutBuilder, pieces: readonly Piece[], name: string): void {
  for (const block of blocksOf(pieces)) {
    const { start, end } = block;
    const size = Number(end - start);
    const reservation = builder.reserve({ name: "kernel", size, min: start, max: end, from: "bottom" });
    builder.put("kernel", reservation, dataOf(block, name));
  }
}

/** {@link putPieces} where the room for all of them has been reserved. */
export function fillPieces(builder: LayoutBuilder, pieces: readonly Piece[], name: string): void {
  for (const block of blocksOf(pieces)) {
    const reservation = { address: block.start, memoryBytes: Number(block.end - block.start) };
    builder.put("kernel", reservation, dataOf(block, name));
  }
}

function blocksOf(pieces: readonly Piece[]): Block[] {
  const blocks: Block[] = [];
  for (const piece of byAddress(pieces)) {
    const start = (piece.address / page) * page;
    const end = ((piece.address + piece.memoryBytes + page - 1n) / page) * page;
    const last = blocks.at(-1);
    if (last !== undefined && start < last.end) {
      last.end = end > last.end ? end : last.end;
      last.pieces.push(piece);
    } else blocks.push({ start, end, pieces: [piece] });
  }
  while (blocks.length > blockLimit) {
    let closest = 1;
    for (let index = 2; index < blocks.length; index++)
      if (gapBefore(blocks, index) < gapBefore(blocks, closest)) closest = index;
    const [after] = blocks.splice(closest, 1);
    const before = blocks[closest - 1]!;
    before.end = after!.end;
    before.pieces.push(...after!.pieces);
  }
  return blocks;
}

function gapBefore(blocks: readonly Block[], index: number): bigint {
  return blocks[index]!.start - blocks[index - 1]!.end;
}

function dataOf({ start, pieces }: Block, name: string): Uint8Array {
  const [first] = pieces;
  if (pieces.length === 1 && first!.address === start) return first!.data;
  const end = pieces.reduce((last, { address, data }) => {
    const at = address + BigInt(data.length);
    return data.length > 0 && at > last ? at : last;
  }, start);
  if (end - start > limitBytes) throw badImage(name, "its parts lie too far from each other");
  const bytes = new Uint8Array(Number(end - start));
  for (const { address, data } of pieces) bytes.set(data, Number(address - start));
  return bytes;
}

function byAddress(pieces: readonly Piece[]): Piece[] {
  return pieces.toSorted((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}
