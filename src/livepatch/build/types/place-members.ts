/** A patch whose new members stand in bytes that lie unused in the kernel's structures. */
import type { Caution } from "../finding.ts";
import type { TouchedFile } from "../source/patched-tree.ts";
import { type MemberPlacement, withMemberPlaced } from "./member-placement.ts";

/** Undefined where the patched sources do not hold one of the structures in a plain form. */
export function withMembersPlaced(
  touched: readonly TouchedFile[],
  placements: readonly MemberPlacement[],
): { touched: TouchedFile[]; cautions: Caution[] } | undefined {
  const files = [...touched];
  const cautions: Caution[] = [];
  for (const placement of placements) {
    const placed = files
      .map((file, index) => ({ index, file: placedIn(file, placement) }))
      .filter(({ file }) => file !== undefined);
    const [only] = placed;
    if (placed.length !== 1 || !only?.file) return undefined;
    files[only.index] = only.file;
    const { structure, member, behind } = placement;
    cautions.push({
      code: "RK-CAUTION-MEMBER-PLACED",
      message: `${member} of ${structure} is declared behind ${behind} in the live patch, in bytes that lie unused there: nothing else in the structure moves.`,
      hint: "Declare it there in the patch as well, or see that nothing depends on the order of the members (clearing part of the structure, copies of a range).",
      source: only.file.path,
    });
  }
  return { touched: files, cautions };
}

function placedIn(file: TouchedFile, placement: MemberPlacement): TouchedFile | undefined {
  if (file.text === undefined || file.compiled === undefined) return undefined;
  const text = withMemberPlaced(file.text, placement);
  const compiled = withMemberPlaced(file.compiled, placement);
  return text === undefined || compiled === undefined ? undefined : { ...file, text, compiled };
}
