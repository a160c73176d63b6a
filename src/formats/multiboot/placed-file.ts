/** Kernels that are no ELF files tell in their header which part of the file belongs where (the "a.out kludge"). */
import type { RekernelError } from "../../core/errors.ts";

/** Physical addresses, named as in both specifications without `_addr`. */
export interface AddressFields {
  /** Where the header itself comes to lie. */
  header: number;
  /** The first byte to load; undefined: the file's first. */
  load: number | undefined;
  /** Behind the last byte to load; 0: the file's end. */
  loadEnd: number;
  /** Behind the zeroes that follow; 0: none. */
  bssEnd: number;
}

/** A part of a file and where in memory it belongs. */
export interface PlacedFile {
  address: number;
  data: Uint8Array;
  /** With the zeroes behind the data. */
  memoryBytes: number;
}

/**
 * @param headerOffset where the header lies in the file
 * @param fail builds the error of a header that contradicts itself or its file
 */
export function placeFile(
  bytes: Uint8Array,
  headerOffset: number,
  fields: AddressFields,
  fail: (reason: string) => RekernelError,
): PlacedFile {
  const load = fields.load ?? fields.header - headerOffset;
  if (load < 0 || load > fields.header)
    throw fail(
      `its Multiboot header wants to be loaded at ${hex(fields.header)}, before where loading begins`,
    );
  const from = headerOffset - (fields.header - load);
  if (from < 0)
    throw fail(`its Multiboot header loads ${-from} bytes that stand before the file's beginning`);
  const to = fields.loadEnd === 0 ? bytes.length : from + (fields.loadEnd - load);
  if (to <= headerOffset || to > bytes.length)
    throw fail(`its Multiboot header loads bytes ${from} to ${to}, and the file has ${bytes.length}`);
  const data = bytes.subarray(from, to);
  const memoryBytes = fields.bssEnd === 0 ? data.length : fields.bssEnd - load;
  if (memoryBytes < data.length)
    throw fail(`its Multiboot header ends at ${hex(fields.bssEnd)}, before what is loaded ends`);
  if (load + memoryBytes > 2 ** 32) throw fail("its Multiboot header reaches beyond 4 GiB");
  return { address: load, data, memoryBytes };
}

function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
