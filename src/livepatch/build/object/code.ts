/** Reads a section of code instruction by instruction: what its fields mean, and which branches no relocation names. */
import type { ElfRelocation } from "../../../formats/elf/read.ts";
import type { Architecture } from "../arch/architecture.ts";

export interface CodeField {
  /** A direct call or jump, as opposed to an address that is taken. */
  branch: boolean;
  /** Where the processor counts PC-relative fields from, as an offset in the section. */
  instructionEnd: number;
}

/** A call or jump to another function of the same section, which the assembler solved by itself. */
export interface SolvedBranch {
  field: number;
  size: 1 | 4;
  target: number;
}

export interface SectionCode {
  /** By the offset of the relocated field; missing where the bytes are no instruction. */
  fields: ReadonlyMap<number, CodeField>;
  solved: readonly SolvedBranch[];
}

/**
 * @param starts where functions begin, ascending; a branch between two such ranges is one between functions
 * @param relocations of the section, by offset
 */
export function readCode(
  arch: Architecture,
  code: Uint8Array,
  starts: readonly number[],
  relocations: readonly Pick<ElfRelocation, "offset">[],
): SectionCode {
  const fields = new Map<number, CodeField>();
  const solved: SolvedBranch[] = [];
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  let next = 0;
  for (let index = -1; index < starts.length; index++) {
    const from = starts[index] ?? 0;
    const to = Math.min(starts[index + 1] ?? code.length, code.length);
    for (let at = from; at < to; ) {
      const instruction = arch.decode(code, at);
      if (!instruction) {
        at++;
        continue;
      }
      const end = at + instruction.length;
      const branchField = instruction.branchField;
      let isRelocated = false;
      while (next < relocations.length && relocations[next]!.offset < end) {
        const { offset } = relocations[next++]!;
        if (offset < at) continue;
        const branch = branchField !== undefined && at + branchField.offset === offset;
        isRelocated ||= branch;
        fields.set(offset, { branch, instructionEnd: end });
      }
      if (branchField && !isRelocated && starts.length > 1) {
        const field = at + branchField.offset;
        const target = end + (branchField.size === 1 ? view.getInt8(field) : view.getInt32(field, true));
        if ((target < from || target >= to) && target >= 0 && target < code.length)
          solved.push({ field, size: branchField.size, target });
      }
      at = end;
    }
  }
  return { fields, solved };
}
