/** ELF notes (System V gABI, "Note Section"): build id and the like. */
import { cString } from "./bytes.ts";

const NT_GNU_BUILD_ID = 3;

/** The GNU build id in a note section, as lower-case hexadecimal digits. */
export function buildIdIn(notes: Uint8Array): string | undefined {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameSize = view.getUint32(at, true);
    const size = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const dataAt = at + 12 + ((nameSize + 3) & ~3);
    // Sizes beyond 2^31 turn negative above: both ends are checked.
    if (dataAt < at + 12 || dataAt + size > notes.length) return undefined;
    if (type === NT_GNU_BUILD_ID && cString(notes.subarray(at + 12, dataAt), 0) === "GNU")
      return Buffer.from(notes.subarray(dataAt, dataAt + size)).toString("hex");
    at = dataAt + Math.ceil(size / 4) * 4;
  }
  return undefined;
}
