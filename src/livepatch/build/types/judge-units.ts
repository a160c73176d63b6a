import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Btf } from "../../../formats/btf.ts";
import type { AnalysedUnit } from "../analysis.ts";
import type { Difference } from "../difference/difference.ts";
import type { Problem } from "../finding.ts";
import { pieceBytes } from "../object/object.ts";
import type { CompiledUnit } from "../units/compile.ts";
import { findTypeChanges, type UnitTypes } from "./changes.ts";
import { readDebugInfo } from "./debug-info.ts";
import type { MemberPlacement } from "./member-placement.ts";
import { layoutMismatches } from "./target-types.ts";
import { pathOf } from "./transient.ts";

/**
 * Adds to the first unit that the patch changes what it does to types, over all its units: RK-TYPE-CHANGE where
 * objects of the running kernel are laid out otherwise, cautions where they are not and it may matter all the same. And
 * RK-SOURCE-MISMATCH where the unpatched units lay out types otherwise than the target says by its BTF.
 *
 * `placements`: where the patch's new members could be declared instead, so that every RK-TYPE-CHANGE is gone.
 *
 * @param compiled the same units in the same order
 * @param tree the unpatched source
 * @param btfOf the types of the part of the target that a unit belongs to, where they are known
 * @throws RekernelError RK-BAD-DWARF, RK-BAD-BTF (1)
 */
export async function withTypeFindings(
  units: readonly AnalysedUnit[],
  compiled: readonly CompiledUnit[],
  tree: string,
  btfOf: (unit: CompiledUnit) => Promise<Btf | undefined> = async () => undefined,
): Promise<{ units: AnalysedUnit[]; placements: MemberPlacement[] | undefined }> {
  const concerned = units.findIndex(bringsSomething);
  const first = units[concerned];
  if (!first) return { units: [...units], placements: undefined };
  const known = new Map<CompiledUnit, UnitTypes | undefined>();
  const typesOf = async (some: readonly CompiledUnit[]): Promise<UnitTypes[]> => {
    for (const unit of some) if (!known.has(unit)) known.set(unit, await readTypes(unit));
    return some.flatMap((unit) => known.get(unit) ?? []);
  };
  const concerning = compiled.filter((_, i) => bringsSomething(units[i]!));
  let findings = findTypeChanges(await typesOf(concerning));
  // Units without any change in their code tell who uses a type as well.
  if (findings.problems.length > 0) {
    const definitions = findings.problems.flatMap(({ source }) =>
      source === undefined ? [] : pathOf(source),
    );
    const paths = new Set([...compiled.map(({ source }) => source), ...definitions]);
    findings = findTypeChanges(await typesOf(compiled), await textsOf(paths, tree), (variable) =>
      units.some((unit) => isInitialised(unit, variable)),
    );
  }
  const { cautions, placements } = findings;
  const problems = [...findings.problems];
  for (const unit of concerning) {
    const btf = await btfOf(unit);
    const types = known.get(unit);
    if (btf && types) problems.unshift(...layoutMismatches(unit.source, types.original, btf));
  }
  if (problems.length === 0 && cautions.length === 0) return { units: [...units], placements };
  const judged: AnalysedUnit = {
    ...first,
    plain: withProblems(first.plain, problems),
    difference: withProblems(first.difference, problems),
    cautions: [...first.cautions, ...cautions],
  };
  return { units: units.map((unit) => (unit === first ? judged : unit)), placements };
}

function isInitialised({ original }: AnalysedUnit, variable: string): boolean {
  const piece = original.byName.get(variable);
  return piece !== undefined && (piece.references.length > 0 || pieceBytes(piece).some((byte) => byte !== 0));
}

function bringsSomething(unit: AnalysedUnit): boolean {
  return unit.difference.verdict !== "unchanged" || unit.carried.size > 0;
}

function withProblems(difference: Difference, problems: readonly Problem[]): Difference {
  if (problems.length === 0) return difference;
  return { ...difference, verdict: "refused", problems: [...problems, ...difference.problems] };
}

async function readTypes(unit: CompiledUnit): Promise<UnitTypes | undefined> {
  const original = readDebugInfo(await readFile(unit.original), `${unit.source}, original`);
  const patched = readDebugInfo(await readFile(unit.patched), `${unit.source}, patched`);
  return original && patched && { source: unit.source, original, patched };
}

async function textsOf(paths: Iterable<string>, tree: string): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const path of paths) {
    const text = await readFile(join(tree, path), "latin1").catch(() => undefined);
    if (text !== undefined) texts.set(path, text);
  }
  return texts;
}
