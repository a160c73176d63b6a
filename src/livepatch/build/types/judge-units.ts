import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AnalysedUnit } from "../analysis.ts";
import type { CompiledUnit } from "../compile.ts";
import type { Difference } from "../difference.ts";
import type { Problem } from "../finding.ts";
import { findTypeChanges, type UnitTypes } from "./changes.ts";
import { readDebugInfo } from "./debug-info.ts";

/**
 * Adds to the first unit that the patch changes what it does to types, over all its units: RK-TYPE-CHANGE where
 * objects of the running kernel are laid out otherwise, cautions where they are not and it may matter all the same.
 *
 * @param compiled the same units in the same order
 * @param tree the unpatched source
 * @throws RekernelError RK-BAD-DWARF (1)
 */
export async function withTypeFindings(
  units: readonly AnalysedUnit[],
  compiled: readonly CompiledUnit[],
  tree: string,
): Promise<AnalysedUnit[]> {
  const concerned = units.findIndex(bringsSomething);
  const first = units[concerned];
  if (!first) return [...units];
  const known = new Map<CompiledUnit, UnitTypes | undefined>();
  const typesOf = async (some: readonly CompiledUnit[]): Promise<UnitTypes[]> => {
    for (const unit of some) if (!known.has(unit)) known.set(unit, await readTypes(unit, tree));
    return some.flatMap((unit) => known.get(unit) ?? []);
  };
  let findings = findTypeChanges(await typesOf(compiled.filter((_, i) => bringsSomething(units[i]!))));
  // Units without any change in their code tell who uses a type as well.
  if (findings.problems.length > 0) findings = findTypeChanges(await typesOf(compiled));
  const { problems, cautions } = findings;
  if (problems.length === 0 && cautions.length === 0) return [...units];
  const judged: AnalysedUnit = {
    ...first,
    plain: withProblems(first.plain, problems),
    difference: withProblems(first.difference, problems),
    cautions: [...first.cautions, ...cautions],
  };
  return units.map((unit) => (unit === first ? judged : unit));
}

function bringsSomething(unit: AnalysedUnit): boolean {
  return unit.difference.verdict !== "unchanged" || unit.carried.size > 0;
}

function withProblems(difference: Difference, problems: readonly Problem[]): Difference {
  if (problems.length === 0) return difference;
  return { ...difference, verdict: "refused", problems: [...problems, ...difference.problems] };
}

async function readTypes(unit: CompiledUnit, tree: string): Promise<UnitTypes | undefined> {
  const original = readDebugInfo(await readFile(unit.original), `${unit.source}, original`);
  const patched = readDebugInfo(await readFile(unit.patched), `${unit.source}, patched`);
  const text = await readFile(join(tree, unit.source), "latin1").catch(() => undefined);
  return original && patched && { original, patched, text };
}
