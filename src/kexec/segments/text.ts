/** Addresses and sizes as people read them. */
import type { AddressRange } from "../../formats/memory-map.ts";

export function addressText(address: bigint): string {
  return `0x${address.toString(16)}`;
}

/** With the last address, as /proc/iomem does it. */
export function rangeText({ start, end }: AddressRange): string {
  return `${addressText(start)}-${addressText(end - 1n)}`;
}

/** In KiB below 1 MiB, else in MiB. */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 2 ** 20 ? `${number(bytes / 1024)} KiB` : `${number(bytes / 2 ** 20)} MiB`;
}

function number(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}
