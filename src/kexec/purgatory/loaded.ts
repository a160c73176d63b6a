/**
 * Whether what waits for the jump is what was loaded, looked at while the old kernel still serves: then the
 * purgatory need not take SHA-256 of everything while nobody does.
 */
import { createHash } from "node:crypto";
import { type LoadedImage, readLoadedImage } from "../../host/loaded-image.ts";
import { type HostPaths, thisHost } from "../../host/paths.ts";
import type { SegmentLayout } from "../segments/segment.ts";

/** What was handed to kexec_load, as much as is needed to know it again. Small, and plain for JSON. */
export interface ExpectedImage {
  /** Addresses as "0x…". */
  entry: string;
  segments: readonly {
    name: string;
    address: string;
    dataBytes: number;
    memoryBytes: number;
    /** Of the data, in hexadecimal digits. */
    sha256: string;
  }[];
}

export type LoadedImageCheck =
  | { state: "intact" }
  /** `differences` in full sentences; another layout is another image, not the same one changed. */
  | { state: "differs"; sameLayout: boolean; differences: readonly string[] }
  /** Nobody knows. `reason` completes "cannot be read: …". */
  | { state: "unreadable"; reason: string };

export function expectedImage({ entry, segments }: Pick<SegmentLayout, "entry" | "segments">): ExpectedImage {
  return {
    entry: hexadecimal(entry),
    segments: segments.map(({ name, address, data, memoryBytes }) => ({
      name,
      address: hexadecimal(address),
      dataBytes: data.length,
      memoryBytes,
      sha256: createHash("sha256").update(data).digest("hex"),
    })),
  };
}

/** Reads the loaded image back from the running kernel's memory and compares. Changes nothing. */
export async function checkLoadedImage(
  expected: ExpectedImage,
  host: HostPaths = thisHost,
): Promise<LoadedImageCheck> {
  return compareLoadedImage(expected, await readLoadedImage(host));
}

function compareLoadedImage(expected: ExpectedImage, loaded: LoadedImage): LoadedImageCheck {
  if (loaded.state === "unreadable") return loaded;
  const differences: string[] = [];
  const changed: string[] = [];
  if (loaded.state === "none") differences.push("No kernel is loaded any more.");
  else {
    if (hexadecimal(loaded.entry) !== expected.entry)
      differences.push(`The jump goes to ${hexadecimal(loaded.entry)} instead of ${expected.entry}.`);
    const found = new Map(loaded.segments.map((segment) => [hexadecimal(segment.address), segment]));
    for (const { name, address, dataBytes, memoryBytes, sha256 } of expected.segments) {
      const segment = found.get(address);
      found.delete(address);
      if (segment === undefined) differences.push(`The ${name} at ${address} is not there.`);
      else if (segment.dataBytes !== dataBytes || segment.memoryBytes !== memoryBytes)
        differences.push(`The ${name} at ${address} has another size.`);
      else if (segment.sha256 !== sha256)
        changed.push(`The ${name} at ${address} is not what was loaded: its SHA-256 differs.`);
    }
    for (const address of found.keys()) differences.push(`Something else is loaded at ${address}.`);
  }
  if (differences.length + changed.length === 0) return { state: "intact" };
  return {
    state: "differs",
    sameLayout: differences.length === 0,
    differences: [...differences, ...changed],
  };
}

function hexadecimal(address: bigint): string {
  return `0x${address.toString(16)}`;
}
