/**
 * Constants that the kernel writes into its own code while it boots, such as the end of user memory. In a module
 * nobody would write them: code that is taken along reads the variable instead, as the kernel's modules do.
 */
import type { Problem } from "../finding.ts";
import { isPieceTarget, type Piece } from "../object/object.ts";
import type { Destination, IncludedPiece, IncludedReference } from "./inclusion.ts";

const constantTable = /^runtime_(ptr|shift)_(.+)$/;

/**
 * @param destinationOf where a variable of that name is
 */
export function withRuntimeConstants(
  included: IncludedPiece,
  destinationOf: (symbol: string, addend: number) => Destination,
): IncludedPiece | Problem {
  const entries = included.tableEntries.filter((entry) => constantTable.test(entry.section.name));
  if (entries.length === 0) return included;
  const bytes = Uint8Array.from(included.bytes);
  const references: IncludedReference[] = [...included.references];
  for (const entry of entries) {
    const [, kind, symbol = ""] = constantTable.exec(entry.section.name)!;
    const target = entry.references[0]?.target;
    const place =
      target && isPieceTarget(target) && target.piece === included.piece ? target.addend : undefined;
    const load =
      kind === "ptr" && place !== undefined
        ? included.piece.arch.loadInsteadOfRuntimeConstant(bytes, place)
        : undefined;
    if (!load) return unsupported(included.piece, symbol);
    bytes.set(load.bytes, load.start);
    const destination = destinationOf(symbol, load.addend);
    references.push({
      offset: load.field,
      type: load.type,
      branch: false,
      target: { symbol, weak: false, addend: load.addend },
      destination,
    });
  }
  references.sort((a, b) => a.offset - b.offset);
  return {
    ...included,
    bytes,
    references,
    tableEntries: included.tableEntries.filter((entry) => !entries.includes(entry)),
  };
}

function unsupported(piece: Piece, symbol: string): Problem {
  return {
    code: "RK-RUNTIME-CONSTANT",
    message: `${piece.name} holds the runtime constant ${symbol}, which the kernel writes into its own code at boot, but never into a module's.`,
    hint: "Fix the defect in a caller of the function.",
  };
}
