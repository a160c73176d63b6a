/** Names and places of debug entries. */
import { isAbsolute, normalize, relative } from "node:path";
import type { DwarfInfo, Entry } from "../../../formats/dwarf/info.ts";

/** The place at which an entry is declared, with a path relative to the source tree. */
export function sourcePlace(dwarf: DwarfInfo, entry: Entry): string | undefined {
  for (const described of withOrigins(dwarf, entry)) {
    const place = dwarf.declaredAt(described);
    if (!place) continue;
    return `${pathInTree(place.path, dwarf.directoryOf(described))}:${place.line}`;
  }
  return undefined;
}

function pathInTree(path: string, directory: string): string {
  const inside = isAbsolute(path) && directory !== "" ? relative(directory, path) : path;
  if (!inside.startsWith("..")) return normalize(inside);
  // The authors' headers lie beside the patched tree, in a folder that has another name in each build.
  return path.includes("/include/") ? path.slice(path.lastIndexOf("/include/") + "/include/".length) : path;
}

/** The name of an entry, or of the one that it is an instance of; "" without one. */
export function nameOf(dwarf: DwarfInfo, entry: Entry): string {
  for (const described of withOrigins(dwarf, entry)) {
    const name = dwarf.nameOf(described);
    if (name !== "") return name;
  }
  return "";
}

/** An entry and those that tell what it leaves out; hostile chains end. */
function* withOrigins(dwarf: DwarfInfo, entry: Entry): Generator<Entry> {
  let described: Entry | undefined = entry;
  for (let steps = 0; described !== undefined && steps < 8; steps++) {
    yield described;
    described = dwarf.originOf(described);
  }
}
