/** System states that a patch declares with REKERNEL_STATE (Documentation/livepatch/system-state.rst). Pure. */
import { RekernelError } from "../../../core/errors.ts";
import { pieceBytes, type UnitObject } from "../object/object.ts";
import { stateSection } from "./author-header.ts";

/** struct klp_state (include/linux/livepatch.h, Linux 5.4): `unsigned long id; unsigned int version; void *data`. */
export interface SystemState {
  /** Not 0, with which the kernel ends its list. */
  id: bigint;
  version: number;
}

const versionOffset = 8;

/**
 * The states of all units, each once, by id. A header's declaration stands in every unit that includes it.
 *
 * @throws RekernelError RK-AUTHOR-MACRO (1) for id 0, or two versions of one id
 */
export function statesOf(units: readonly { source: string; patched: UnitObject }[]): SystemState[] {
  const versions = new Map<bigint, number>();
  for (const { source, patched } of units)
    for (const piece of patched.pieces) {
      const bytes = pieceBytes(piece);
      if (piece.section.name !== stateSection || bytes.length < versionOffset + 4) continue;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const id = view.getBigUint64(0, true);
      const version = view.getUint32(versionOffset, true);
      if (id === 0n)
        throw wrongState(source, "declares the state 0, which the kernel takes for the list's end.");
      const known = versions.get(id);
      if (known !== undefined && known !== version)
        throw wrongState(
          source,
          `declares version ${version} of the state ${id}, of which the patch also has version ${known}.`,
        );
      versions.set(id, version);
    }
  return [...versions]
    .map(([id, version]) => ({ id, version }))
    .sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

function wrongState(source: string, what: string): RekernelError {
  return new RekernelError("failed", "RK-AUTHOR-MACRO", `${source}: REKERNEL_STATE ${what}`, {
    hint: "Give each state of the system an id of its own, and one version in all of the patch.",
  });
}
