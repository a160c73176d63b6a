/** What kexec_load demands of segments, checked before the call, which only answers EINVAL. */
import { RekernelError } from "../../core/errors.ts";
import type { AddressRange } from "../../formats/memory-map.ts";
import { subtract } from "./ranges.ts";
import { pageSize, type Segment, segmentLimit } from "./segment.ts";
import { bytesText, rangeText } from "./text.ts";

/**
 * The rules of kernel/kexec_core.c sanity_check_segment_list, and that every segment goes to free RAM, which
 * the kernel does not check for a kexec that is no crash kernel.
 *
 * @param totalRamBytes the running kernel's own count (MemTotal): segments may take half of it. Undefined
 *   where it is another machine's
 * @throws RekernelError RK-KEXEC-NO-ROOM (1), RK-KEXEC-LAYOUT (1)
 */
export function checkSegments(
  segments: readonly Segment[],
  room: readonly AddressRange[],
  totalRamBytes: number | undefined,
): void {
  if (segments.length > segmentLimit)
    throw badLayout(
      `it needs ${segments.length} segments, and the kernel takes ${segmentLimit} at most`,
      "Use fewer modules, or put them into one.",
    );
  let total = 0;
  let before: { name: string; end: bigint } | undefined;
  for (const { name, address, data, memoryBytes } of [...segments].sort((a, b) =>
    a.address < b.address ? -1 : 1,
  )) {
    const range = { start: address, end: address + BigInt(memoryBytes) };
    if (address % BigInt(pageSize) !== 0n || memoryBytes % pageSize !== 0 || memoryBytes === 0)
      throw badLayout(`the ${name} at ${rangeText(range)} does not begin and end with a page`);
    if (data.length > memoryBytes)
      throw badLayout(`the ${name} has ${data.length} bytes for ${memoryBytes} bytes of memory`);
    if (before !== undefined && before.end > address)
      throw badLayout(`the ${before.name} and the ${name} at ${rangeText(range)} overlap`);
    if (subtract([range], room).length > 0)
      throw badLayout(`the ${name} at ${rangeText(range)} does not lie in free RAM`);
    before = { name, end: range.end };
    total += memoryBytes;
  }
  if (totalRamBytes === undefined) return;
  const half = Math.floor(Math.floor(totalRamBytes / pageSize) / 2) * pageSize;
  if (total <= half) return;
  const largest = [...segments].sort((a, b) => b.memoryBytes - a.memoryBytes)[0]!;
  throw new RekernelError(
    "failed",
    "RK-KEXEC-NO-ROOM",
    `All segments together take ${bytesText(total)} (the ${largest.name} ${bytesText(largest.memoryBytes)}), and the kernel lends kexec_load half of its RAM at most: ${bytesText(half)}.`,
    { hint: "Use a smaller initrd, or give the machine more memory." },
  );
}

function badLayout(reason: string, hint?: string): RekernelError {
  return new RekernelError("failed", "RK-KEXEC-LAYOUT", `kexec_load would refuse this: ${reason}.`, {
    hint: hint ?? "See what lies where with --dry-run.",
  });
}
