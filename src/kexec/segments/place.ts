/** Finding room for a segment. Pure. */
import { RekernelError } from "../../core/errors.ts";
import type { AddressRange } from "../../formats/memory-map.ts";
import { intersect } from "./ranges.ts";
import { addressText, bytesText, rangeText } from "./text.ts";

/** Where a segment may lie. */
export interface Wish {
  /** What it is, for messages: `kernel`, `initrd`. */
  name: string;
  size: number;
  /** Of its address; a power of two. Default: a page. */
  align?: number | undefined;
  /** The lowest address. Default: 1 MiB, for below it are the firmware's data and the next kernel's trampolines. */
  min?: bigint | undefined;
  /** The first address behind the last one that it may take. Default: none. */
  max?: bigint | undefined;
  /** Which end of the room it goes to, or a choice: a number from 0 to before that of the places where it fits. */
  from: "top" | "bottom" | ((places: number) => number);
}

const defaultMin = 0x100000n;
const noLimit = 1n << 64n;

/**
 * The address at which a segment fits, nearest to the end that it is to go to, or any of all by a choice.
 *
 * @param free a set of ranges (ascending, apart)
 * @throws RekernelError RK-KEXEC-NO-ROOM (1), with the range that comes closest
 */
export function placeSegment(free: readonly AddressRange[], wish: Wish): bigint {
  const { size, align = 4096, min = defaultMin, max = noLimit, from } = wish;
  const [bytes, multiple] = [BigInt(size), BigInt(align)];
  const window = intersect(free, [{ start: min, end: max }]);
  const fits: { lowest: bigint; highest: bigint }[] = [];
  for (const { start, end } of window) {
    const lowest = ((start + multiple - 1n) / multiple) * multiple;
    if (end - bytes >= lowest) fits.push({ lowest, highest: ((end - bytes) / multiple) * multiple });
  }
  const [first, last] = [fits[0], fits.at(-1)];
  if (first === undefined || last === undefined) throw noRoom(free, window, { ...wish, align, min, max });
  if (from === "bottom") return first.lowest;
  if (from === "top") return last.highest;
  const places = fits.map(({ lowest, highest }) => Number((highest - lowest) / multiple) + 1);
  let choice = from(places.reduce((sum, count) => sum + count, 0));
  const range = places.findIndex((count) => {
    if (choice < count) return true;
    choice -= count;
    return false;
  });
  return fits[range]!.lowest + BigInt(choice) * multiple;
}

function noRoom(
  free: readonly AddressRange[],
  window: readonly AddressRange[],
  { name, size, align, min, max }: Wish & { align: number; min: bigint; max: bigint },
): RekernelError {
  const fixed = max - min === BigInt(size);
  const within = largest(window);
  const anywhere = largest(free);
  const where = fixed
    ? `exactly at ${rangeText({ start: min, end: max })}`
    : [
        "in one piece",
        ...(min > defaultMin ? [`at or above ${addressText(min)}`] : []),
        ...(max < noLimit ? [`below ${addressText(max)}`] : []),
        ...(align > 4096 ? [`aligned to ${bytesText(align)}`] : []),
      ].join(", ");
  const closest =
    within === undefined ? "nothing is free there" : `the largest free range there is ${roomText(within)}`;
  const elsewhere =
    anywhere === undefined ||
    (within !== undefined && within.end - within.start === anywhere.end - anywhere.start)
      ? ""
      : `; elsewhere it is ${roomText(anywhere)}`;
  return new RekernelError(
    "failed",
    "RK-KEXEC-NO-ROOM",
    `There is no room for the ${name}: it needs ${bytesText(size)} ${where}, and ${closest}${elsewhere}.`,
    {
      hint: fixed
        ? "This kernel cannot be moved: use a relocatable one (vmlinuz), or one that is linked for another address."
        : "Use a smaller initrd or kernel. Memory that is kept for a crash kernel (crashkernel=) is not free.",
    },
  );
}

function largest(ranges: readonly AddressRange[]): AddressRange | undefined {
  let best: AddressRange | undefined;
  for (const range of ranges) {
    const size = range.end - range.start;
    if (size > 0n && (best === undefined || size > best.end - best.start)) best = range;
  }
  return best;
}

function roomText(range: AddressRange): string {
  return `${bytesText(Number(range.end - range.start))} at ${rangeText(range)}`;
}
