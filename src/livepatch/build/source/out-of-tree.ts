/** What a build has to know of out-of-tree modules beside their source: their files, and where those were built. */
import { ModuleFiles } from "../../../kernel/module-files.ts";
import type { TargetKernel } from "../../../kernel/target.ts";
import type { Unit } from "../units/units.ts";
import { buildFolderIn } from "./module-command.ts";
import { type KernelTrees, moduleSourceOf } from "./trees.ts";

/**
 * Where the files of the target's modules are looked for.
 *
 * @param given files of out-of-tree modules that the user names
 */
export function moduleFilesOf(
  target: TargetKernel,
  trees: KernelTrees,
  given: readonly string[] = [],
): ModuleFiles {
  return new ModuleFiles({
    release: target.release,
    modules: target.modules,
    files: given,
    sources: trees.modules.map(({ folder, units }) => ({
      folder,
      modules: units.flatMap(({ owner }) => (owner.kind === "module" ? [owner.name] : [])),
    })),
  });
}

/** The units, with those of out-of-tree modules told the folder in which the target's were built: it is in `__FILE__`. */
export async function inBuildFolders(
  units: readonly Unit[],
  trees: KernelTrees,
  files: ModuleFiles,
): Promise<Unit[]> {
  // The modules of one source were built together; a unit that goes into several of them is compiled once.
  const folders = new Map<string, string>();
  const built: Unit[] = [];
  for (const unit of units) {
    const source = moduleSourceOf(trees, unit.source);
    if (!source || unit.owner.kind !== "module") {
      built.push(unit);
      continue;
    }
    let folder = folders.get(source.name);
    if (folder === undefined) {
      const file = await files.find(unit.owner.name);
      const paths = source.units.map((each) => each.source.slice(source.name.length + 1));
      const strings = file?.elf.sections.map(({ data }) => data) ?? [];
      folder = buildFolderIn(strings, paths) ?? source.folder;
      folders.set(source.name, folder);
    }
    const mapping = `-fmacro-prefix-map=${source.name}/=${folder}/`;
    built.push({ ...unit, command: [...unit.command, mapping] });
  }
  return built;
}
