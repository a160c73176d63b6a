import { readFile } from "node:fs/promises";
import { RekernelError } from "../../core/errors.ts";
import { type AnalysedUnit, analyseUnit, mismatches, type PlanContext, withStockMatch } from "./analysis.ts";
import { readUnitObject } from "./object/object.ts";
import { dataNames } from "./types/data-names.ts";
import type { CompiledUnit } from "./units/compile.ts";

/**
 * Compares a unit's objects with each other and with the target.
 *
 * @throws RekernelError RK-BAD-OBJECT, RK-BAD-ELF (1), RK-MODULE-MISSING (4)
 */
export async function analyseCompiled(unit: CompiledUnit, context: PlanContext): Promise<AnalysedUnit> {
  const module = unit.owner.kind === "module" ? context.moduleNamed(unit.owner.name) : undefined;
  const originalName = `${unit.source}, original`;
  const originalBytes = await readFile(unit.original);
  const original = readUnitObject(originalBytes, originalName, context.entrySizes);
  const patched =
    unit.patched === unit.original
      ? original
      : readUnitObject(await readFile(unit.patched), `${unit.source}, patched`, context.entrySizes);
  const analysed = analyseUnit(
    { source: unit.source, module, original, patched, names: dataNames(originalBytes, originalName) },
    context,
  );
  // A header reaches modules that the target may not have: what stays as it is needs none.
  if (unit.owner.kind === "module" && !module && !isUnchanged(analysed))
    throw moduleMissing(unit.source, unit.owner.name);
  const bringsSomething = analysed.difference.changed.length > 0 || analysed.carried.size > 0;
  return bringsSomething ? withStockFlags(analysed, unit, context) : analysed;
}

/** Functions in sections of their own are jumped to by longer instructions. The kernel's own flags decide. */
export async function withStockFlags(
  analysed: AnalysedUnit,
  unit: CompiledUnit,
  context: PlanContext,
): Promise<AnalysedUnit> {
  if (mismatches(analysed).length === 0) return analysed;
  const stock = readUnitObject(
    await readFile(await unit.stockFlags()),
    `${unit.source}, stock flags`,
    context.entrySizes,
  );
  return withStockMatch(analysed, stock, context);
}

function isUnchanged({ difference, callbacks }: AnalysedUnit): boolean {
  const { changed, newFunctions, problems } = difference;
  return [changed, newFunctions, problems, callbacks].every(({ length }) => length === 0);
}

function moduleMissing(source: string, module: string): RekernelError {
  return new RekernelError(
    "refused",
    "RK-MODULE-MISSING",
    `${source} belongs to the module ${module}, whose file the target does not have.`,
    {
      hint: "Give the folder with the target's modules, --modules /lib/modules/RELEASE, or the file of an out-of-tree module, --module FILE.ko.",
    },
  );
}
