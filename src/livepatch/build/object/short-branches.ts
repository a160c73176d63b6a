/**
 * Jumps of two bytes between functions of one section. In a module the other function may be anywhere: such a jump goes
 * to a near jump behind the function's last instruction.
 */
import type { Problem } from "../finding.ts";
import type { IncludedPiece, IncludedReference } from "../module/inclusion.ts";
import type { Piece } from "./object.ts";

/** Furthest that a displacement of one byte reaches. */
const maxShortDistance = 127;

/**
 * @returns the piece with near jumps behind it, or the same one where nothing has to be done. A jump that does not reach
 *          there is left to {@link shortBranchProblem}.
 */
export function withNearJumps(included: IncludedPiece): IncludedPiece {
  const { arch } = included.piece;
  if (!included.references.some(({ type }) => type === arch.shortBranch)) return included;
  const references: IncludedReference[] = [];
  const added: IncludedReference[] = [];
  const own = Uint8Array.from(included.bytes);
  const parts: Uint8Array[] = [own];
  let end = included.bytes.length;
  for (const reference of included.references) {
    if (reference.type !== arch.shortBranch) {
      references.push(reference);
      continue;
    }
    own[reference.offset] = end - reference.offset - 1;
    // A displacement counts from its end, so that a longer one has another addend for the same place.
    const longer = arch.nearJump.addend + 1;
    added.push({
      offset: end + arch.nearJump.field,
      type: arch.nearBranch,
      branch: true,
      target: { ...reference.target, addend: reference.target.addend + longer },
      destination: { ...reference.destination, addend: reference.destination.addend + longer },
    });
    parts.push(arch.nearJump.bytes);
    end += arch.nearJump.bytes.length;
  }
  return { ...included, bytes: Buffer.concat(parts), references: [...references, ...added] };
}

/** A short jump that does not reach the end of its function. */
export function shortBranchProblem(piece: Piece): Problem | undefined {
  let end = piece.end - piece.start;
  for (const { offset, type, target } of piece.references) {
    if (type !== piece.arch.shortBranch) continue;
    if (end - offset - 1 > maxShortDistance)
      return {
        code: "RK-SHARED-SECTION",
        message: `${piece.name} jumps to ${"piece" in target ? target.piece.name : target.symbol}, its neighbour in ${piece.section.name}, by an instruction of two bytes that cannot reach it from a module, nor the end of ${piece.name}.`,
        hint: "Let the patched function call the other one before it returns, instead of ending with the call: use its result, or put barrier() behind the call.",
        subject: piece.name,
        section: piece.section.name,
      };
    end += piece.arch.nearJump.bytes.length;
  }
  return undefined;
}
