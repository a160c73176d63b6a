import type { Caution, Problem } from "../finding.ts";
import { findTypeChanges } from "./changes.ts";
import { readDebugInfo } from "./debug-info.ts";

/**
 * What two objects of one unit say about the types that changed between them; nothing where one of them has no debug
 * information. Without the source no type passes for one that only lives on stacks.
 *
 * @throws RekernelError RK-BAD-ELF, RK-BAD-DWARF (1)
 */
export function objectTypeFindings(
  original: Uint8Array,
  patched: Uint8Array,
  names: { original: string; patched: string },
): { problems: Problem[]; cautions: Caution[] } {
  const before = readDebugInfo(original, names.original);
  const after = before && readDebugInfo(patched, names.patched);
  return after
    ? findTypeChanges([{ source: names.original, original: before, patched: after }])
    : { problems: [], cautions: [] };
}
