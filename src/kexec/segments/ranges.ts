/** Sets of addresses: lists of ranges in ascending order that neither overlap nor touch. Pure. */
import type { AddressRange } from "../../formats/memory-map.ts";

/** Any ranges as a set; empty ones go. */
export function union(ranges: readonly AddressRange[]): AddressRange[] {
  const sorted = ranges
    .filter(({ start, end }) => start < end)
    .sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const set: AddressRange[] = [];
  for (const { start, end } of sorted) {
    const last = set.at(-1);
    if (last === undefined || start > last.end) set.push({ start, end });
    else if (end > last.end) last.end = end;
  }
  return set;
}

/** What of `ranges` is not in `taken`. Both may be in any order and overlap. */
export function subtract(ranges: readonly AddressRange[], taken: readonly AddressRange[]): AddressRange[] {
  const without = union(taken);
  const rest: AddressRange[] = [];
  let first = 0;
  for (const { start, end } of union(ranges)) {
    let from = start;
    while (first < without.length && without[first]!.end <= from) first++;
    for (let index = first; index < without.length && without[index]!.start < end; index++) {
      if (without[index]!.start > from) rest.push({ start: from, end: without[index]!.start });
      from = without[index]!.end;
    }
    if (from < end) rest.push({ start: from, end });
  }
  return rest;
}

/** What is in both. */
export function intersect(a: readonly AddressRange[], b: readonly AddressRange[]): AddressRange[] {
  return subtract(a, subtract(a, b));
}

/** The whole pages of each range. */
export function wholePages(ranges: readonly AddressRange[], pageBytes: number): AddressRange[] {
  const page = BigInt(pageBytes);
  return ranges
    .map(({ start, end }) => ({ start: ((start + page - 1n) / page) * page, end: (end / page) * page }))
    .filter(({ start, end }) => start < end);
}
