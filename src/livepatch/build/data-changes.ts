/** Changes of data that the running kernel holds already: which a live patch carries, and which it cannot. */
import { STB_LOCAL } from "../../formats/elf/constants.ts";
import { type Correlation, isContentOnly } from "./correlate.ts";
import type { Problem } from "./finding.ts";
import { isPieceTarget, type Piece, type UnitObject } from "./object.ts";
import { isInitData } from "./sections.ts";

/** Static data of the kernel's once-only and debugging macros: a changed or new one is simply another one. */
const bookkeeping =
  /^(__already_done|__warned|__print_once|__key|_rs|descriptor|__UNIQUE_ID_ddebug_?\d*|___done|_entry|_entry_ptr|___once_key)(\.|#|\d|$)/;

export function isBookkeeping(name: string): boolean {
  return bookkeeping.test(name);
}

/** Why changes of data that the running kernel holds already cannot be carried. */
export function dataProblems(
  original: UnitObject,
  patched: UnitObject,
  correlation: Correlation,
  sameContent: (original: Piece, patched: Piece) => boolean,
): Problem[] {
  const problems: Problem[] = [];
  for (const before of original.pieces) {
    if (before.role !== "data" && before.role !== "readOnlyData") continue;
    if (!before.named || isContentOnly(before) || isBookkeeping(before.name)) continue;
    const after = correlation.patchedOf.get(before);
    if (!after || sameContent(before, after)) continue;
    if (
      before.role === "readOnlyData" &&
      onlyReadByFunctions(after, patched) &&
      onlyReadByFunctions(before, original)
    )
      continue;
    const what = after.end - after.start === before.end - before.start ? "content" : "size";
    problems.push({
      code: isInitData(before.section.name) ? "RK-INIT-CHANGE" : "RK-DATA-CHANGE",
      message: `The ${what} of ${before.name} (${before.section.name}) changes. The running kernel holds that data already, and others may use it.`,
      hint: "A live patch replaces functions, not live data: change it from a callback, use a shadow variable, or change the functions that read it.",
      // Where the size changes, the patched code may reach behind the kernel's copy: nobody can vouch for that.
      subject: what === "content" ? before.name : undefined,
      section: before.section.name,
    });
  }
  return problems;
}

function onlyReadByFunctions(data: Piece, object: UnitObject): boolean {
  if (data.symbols.some((symbol) => symbol.bind !== STB_LOCAL)) return false;
  return object.pieces.every(
    (piece) =>
      piece.role === "code" ||
      piece === data ||
      !piece.references.some(({ target }) => isPieceTarget(target) && target.piece === data),
  );
}
