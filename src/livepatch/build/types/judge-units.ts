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
  // Units without any change in their code are of interest only where they tell who uses a type.
  const changing = compiled.filter((_, i) => bringsSomething(units[i]!));
  if (findTypeChanges(await typesOf(changing, tree)).isEmpty) return [...units];
  const { problems, cautions } = findTypeChanges(await typesOf(compiled, tree));
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

async function typesOf(units: readonly CompiledUnit[], tree: string): Promise<UnitTypes[]> {
  const types: UnitTypes[] = [];
  for (const unit of units) {
    const original = readDebugInfo(await readFile(unit.original), `${unit.source}, original`);
    const patched = readDebugInfo(await readFile(unit.patched), `${unit.source}, patched`);
    const text = await readFile(join(tree, unit.source), "latin1").catch(() => undefined);
    if (original && patched) types.push({ original, patched, text });
  }
  return types;
}
