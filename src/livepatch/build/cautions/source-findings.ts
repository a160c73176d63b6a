/** What the text of a patch's files tells beyond the objects: declarations, and which inlined functions change. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AnalysedUnit } from "../analysis.ts";
import type { Caution } from "../finding.ts";
import type { TouchedFile } from "../source/patched-tree.ts";
import { readDebugInfo } from "../types/debug-info.ts";
import type { CompiledUnit } from "../units/compile.ts";
import { declarationCautions } from "./declarations.ts";
import { changedSourceFunctions, type InlinedChange, withInlineReasons } from "./inlined.ts";

export interface SourceFindings {
  units: AnalysedUnit[];
  cautions: Caution[];
  /** Changed functions that are inlined, by unit. */
  inlined: (InlinedChange & { source: string })[];
}

/**
 * @param pristine the source tree without the patch
 * @throws RekernelError RK-BAD-ELF, RK-BAD-DWARF (1)
 */
export async function withSourceFindings(
  units: readonly AnalysedUnit[],
  compiled: readonly CompiledUnit[],
  touched: readonly TouchedFile[],
  pristine: string,
): Promise<SourceFindings> {
  const changedInSource = new Set<string>();
  const cautions: Caution[] = [];
  const sources = new Set(compiled.map(({ source }) => source));
  for (const { path, text } of touched) {
    if (text === undefined || !/\.[ch]$/.test(path)) continue;
    const before = await readFile(join(pristine, path), "latin1").catch(() => "");
    for (const name of changedSourceFunctions(before, text)) changedInSource.add(name);
    if (sources.has(path)) cautions.push(...declarationCautions(path, before, text));
  }
  const inlined: SourceFindings["inlined"] = [];
  const explained: AnalysedUnit[] = [];
  for (const unit of units) {
    const object = compiled.find((each) => each.source === unit.source);
    if (!object || unit.difference.changed.length === 0 || changedInSource.size === 0) {
      explained.push(unit);
      continue;
    }
    const info = readDebugInfo(await readFile(object.patched), `${unit.source}, patched`);
    const result = withInlineReasons(
      unit.difference,
      changedInSource,
      (name) => info?.carriersOf(name) ?? [],
    );
    explained.push({ ...unit, difference: result.difference });
    inlined.push(...result.inlined.map((each) => ({ source: unit.source, ...each })));
  }
  return { units: explained, cautions, inlined };
}
