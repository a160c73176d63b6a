/** Why a module cannot be planned, beyond what the difference of a unit says by itself. Pure. */
import { RekernelError } from "../../core/errors.ts";
import { type AnalysedUnit, mismatches } from "./analysis.ts";
import { type Caution, describeFinding, type Problem } from "./finding.ts";
import type { IncludedPiece } from "./module/inclusion.ts";
import { isPieceTarget, type Piece, type UnitObject } from "./object/object.ts";
import { isOrdinaryData } from "./object/sections.ts";

export function mismatchProblems(unit: AnalysedUnit, replaced: readonly Piece[] = []): Problem[] {
  const different = mismatches(unit, replaced);
  const [first] = different;
  if (!first) return [];
  const object = unit.module?.object ?? "vmlinux";
  const list = different.slice(0, 8).map(({ piece, reason }) => `${piece.name} (${reason})`);
  const more = different.length > 8 ? `, and ${different.length - 8} more` : "";
  if (different.every(({ status }) => status === "ambiguous"))
    return [
      {
        code: "RK-SYMBOL-AMBIGUOUS",
        message: `${unit.source}: ${list.join(", ")}.`,
        hint: "Nothing tells which of the identical functions is meant; patch their callers instead.",
      },
    ];
  return [
    {
      code: "RK-SOURCE-MISMATCH",
      message: `${unit.source}, compiled without the patch, is not what the target's ${object} holds: ${different.length} of ${unit.match.functions.size} functions differ: ${list.join(", ")}${more}.`,
      hint: "Source, configuration or compiler are not those the target was built from. Give the exact source of its release.",
    },
  ];
}

/** The kernel may work through tables that this program does not know; code in them is better left alone. */
export function unknownTableProblems(patched: UnitObject, included: readonly IncludedPiece[]): Problem[] {
  const functions = new Set(included.map(({ piece }) => piece).filter((piece) => piece.role === "code"));
  return patched.pieces.flatMap((table) => {
    if ((table.role !== "data" && table.role !== "readOnlyData") || isOrdinaryData(table.section.name))
      return [];
    const inside = table.references.find(
      ({ target }) =>
        isPieceTarget(target) && functions.has(target.piece) && target.addend !== target.piece.entry,
    );
    if (!inside || !isPieceTarget(inside.target)) return [];
    return [
      {
        code: "RK-UNKNOWN-TABLE",
        message: `${inside.target.piece.name} has an entry in ${table.section.name}, a table that rekernel does not know.`,
        hint: "Please report it with the kernel's release; fix the defect in a caller of the function meanwhile.",
      },
    ];
  });
}

export function inUnit<F extends Problem | Caution>(source: string, problem: F): F {
  return problem.source !== undefined || problem.message.startsWith(source)
    ? problem
    : { ...problem, message: `${source}: ${problem.message}` };
}

/** Begins the line of a refusal that says what else the patch changes. */
const besides = "Functions that a live patch can replace change besides: ";

/** `__init` and `__exit` code can be left out of a patch: what is left of it then belongs to the refusal. */
export function refuseDifferences(units: readonly AnalysedUnit[]): void {
  const problems = units.flatMap(({ source, difference }) =>
    difference.problems.map((problem) => inUnit(source, problem)),
  );
  const changed = units.flatMap(({ difference }) => difference.changed.map(({ patched }) => patched.name));
  const onlyInit = problems.every(({ code }) => code === "RK-INIT-CHANGE");
  refuse(problems, onlyInit && changed.length > 0 ? [`${besides}${changed.join(", ")}.`] : []);
}

export function refuse(problems: readonly Problem[], notes: readonly string[] = []): void {
  const [first, ...others] = problems;
  if (!first) return;
  const details = [...others.map(describeFinding), ...notes];
  const place = first.source === undefined || first.message.includes(first.source) ? "" : `${first.source}: `;
  throw new RekernelError("refused", first.code, place + first.message, {
    hint: first.hint,
    ...(details.length > 0 ? { details: details.join("\n") } : {}),
  });
}
