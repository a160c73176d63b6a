/** Binds all that the included pieces of one unit refer to. Pure. */
import type { AnalysedUnit, PlanContext } from "../analysis.ts";
import type { Problem } from "../finding.ts";
import type { Piece, TableEntry } from "../object/object.ts";
import type { IncludedPiece, IncludedReference } from "./inclusion.ts";
import {
  type Binding,
  moduleKeyProblem,
  type ResolveContext,
  resolveDestination,
  type Unresolved,
} from "./resolve.ts";

export function bindUnit(
  unit: AnalysedUnit,
  pieces: readonly IncludedPiece[],
  context: PlanContext,
  newGlobals: ResolveContext["newGlobals"],
) {
  const resolveContext: ResolveContext = { ...context, module: unit.module, match: unit.match, newGlobals };
  const bindingOf = new Map<IncludedReference, Binding>();
  const atDefault = new Set<TableEntry>();
  const problems = new Map<string, Problem>();
  const resolve = (reference: IncludedReference): Binding | Unresolved | undefined =>
    reference.destination.kind === "included"
      ? undefined
      : resolveDestination(reference.destination, resolveContext);
  const bind = (reference: IncludedReference) => {
    const binding = resolve(reference);
    if (!binding) return;
    if (binding.kind === "unresolved") problems.set(binding.problem.message, binding.problem);
    else bindingOf.set(reference, binding);
  };
  for (const { piece, references, tableEntries } of pieces) {
    for (const reference of references) bind(reference);
    for (const entry of tableEntries) {
      const problem = moduleKeyProblem(entry, piece.name, (index) => resolve(entry.references[index]!));
      if (problem === "default") atDefault.add(entry);
      else if (problem) problems.set(problem.message, problem);
      if (problem === undefined || problem === "default")
        for (const reference of entry.references.slice(0, problem ? -1 : undefined)) bind(reference);
    }
    if (piece.role === "auxiliaryCode") {
      const late = references.find(
        (reference) =>
          bindingOf.get(reference)?.kind === "klp" &&
          (bindingOf.get(reference) as { relocatedFor: string }).relocatedFor !== "vmlinux",
      );
      if (late) problems.set(piece.name, lateAlternative(piece));
    }
  }
  return { unit, pieces, bindingOf, atDefault, problems: [...problems.values()] };
}

function lateAlternative(piece: Piece): Problem {
  return {
    code: "RK-ALTERNATIVE-OF-MODULE",
    message: `Alternative instructions (${piece.section.name}) refer to a symbol of the module itself: the kernel applies them before it can be bound.`,
    hint: "Move the call out of the alternative, into a function of its own.",
  };
}
