/** What lies where in physical memory. */

/** Physical addresses from `start` to before `end`; 2^64 is a possible end. */
export interface AddressRange {
  start: bigint;
  end: bigint;
}

/** What a range is to the kernel: the types of its e820 table. */
export type MemoryKind =
  | "ram"
  | "reserved"
  | "acpi"
  | "acpi-nvs"
  | "unusable"
  | "persistent"
  | "persistent-legacy"
  | "soft-reserved";

export interface MemoryRange extends AddressRange {
  kind: MemoryKind;
}

/** E820_TYPE_… of arch/x86/include/asm/e820/types.h. */
export const e820Types: Readonly<Record<MemoryKind, number>> = {
  ram: 1,
  reserved: 2,
  acpi: 3,
  "acpi-nvs": 4,
  unusable: 5,
  persistent: 7,
  "persistent-legacy": 12,
  "soft-reserved": 0xefffffff,
};

/** Kinds by ascending e820 type: where ranges overlap the kernel goes by the highest. */
const byType = (Object.keys(e820Types) as MemoryKind[]).sort((a, b) => e820Types[a] - e820Types[b]);
const rank: Readonly<Record<MemoryKind, number>> = Object.fromEntries(
  byType.map((kind, index) => [kind, index]),
) as Record<MemoryKind, number>;

const lastAddress = 1n << 64n;

/**
 * A map in order and without overlaps. Where ranges overlap the one of the highest e820 type counts, as in
 * the kernel (arch/x86/kernel/e820.c e820__update_table); neighbours of one kind become one. Empty ranges go.
 *
 * @throws RangeError for addresses below 0 or above 2^64, which no parser of ours gives
 */
export function resolveMemoryMap(ranges: readonly MemoryRange[]): MemoryRange[] {
  const edges: { at: bigint; kind: number; opens: boolean }[] = [];
  for (const { start, end, kind } of ranges) {
    if (start < 0n || end > lastAddress) throw new RangeError("an address outside of 64 bits");
    if (start >= end) continue;
    edges.push({ at: start, kind: rank[kind], opens: true }, { at: end, kind: rank[kind], opens: false });
  }
  edges.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  const open = byType.map(() => 0);
  const resolved: MemoryRange[] = [];
  for (const [index, { at, kind, opens }] of edges.entries()) {
    open[kind]! += opens ? 1 : -1;
    const next = edges[index + 1]?.at;
    const counts = open.findLastIndex((count) => count > 0);
    if (next === undefined || next === at || counts < 0) continue;
    const last = resolved.at(-1);
    if (last?.end === at && rank[last.kind] === counts) last.end = next;
    else resolved.push({ start: at, end: next, kind: byType[counts]! });
  }
  return resolved;
}
