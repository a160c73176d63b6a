/** Types whose objects live on stacks only, where the consistency model keeps old and new apart. */
import type { UnitTypes } from "./changes.ts";
import { type TypeUse, usesOf } from "./uses.ts";

/**
 * Of these types those that occur by value only as local variables, parameters and results, and by pointer only as
 * parameters: never in a global or static variable, nor in a structure of which that is not true as well. All functions
 * that know the layout are replaced together, and no task goes over to them while one of them is on its stack.
 *
 * A pointer in a local variable may come from anywhere (an allocation, a `void *` that another task or an interrupt is
 * handed), and a cast leaves no trace in the debug information: both exclude a type.
 *
 * @param keys with the place of the definition
 * @param texts of the units and of what defines the types, by path: without its text no type is taken for such a one
 */
export function findTransient(
  keys: ReadonlyMap<string, string | undefined>,
  units: readonly UnitTypes[],
  texts: ReadonlyMap<string, string>,
): Set<string> {
  const transient = new Set<string>();
  const sources = units.map(({ source }) => texts.get(source));
  if (keys.size === 0 || sources.includes(undefined)) return transient;
  const known = new Map<string, readonly TypeUse[]>();
  const uses = (key: string): readonly TypeUse[] => {
    const found =
      known.get(key) ??
      units.flatMap(({ original, patched }) =>
        [original, patched].flatMap(({ types }) => usesOf(types, new Set([key])).get(key) ?? []),
      );
    known.set(key, found);
    return found;
  };
  const asked = new Set<string>();
  const onlyOnStacks = (key: string): boolean => {
    if (!/^(struct|union) \w+$/.test(key) || [...texts.values()].some((text) => isCast(key, text)))
      return false;
    asked.add(key);
    let locals = 0;
    for (const use of uses(key)) {
      if (use.kind === "prototype" || (use.kind === "parameter" && use.pointers <= 1)) continue;
      if (use.kind === "member" && use.within !== "") {
        if (asked.has(use.within) || onlyOnStacks(use.within)) continue;
        return false;
      }
      if ((use.kind !== "local" && use.kind !== "return") || use.pointers > 0) return false;
      locals++;
    }
    return locals > 0;
  };
  for (const [key, place] of keys) {
    if (place === undefined || !texts.has(pathOf(place))) continue;
    asked.clear();
    if (onlyOnStacks(key)) transient.add(key);
  }
  return transient;
}

/** Without the line. */
export function pathOf(place: string): string {
  return place.replace(/:\d+$/, "");
}

/** `(struct foo *)`, in any spelling. */
function isCast(key: string, text: string): boolean {
  const pattern = `\\(\\s*(?:const\\s+)?${key.replace(" ", "\\s+")}\\s*(?:const\\s*)?\\*[\\s*]*\\)`;
  return new RegExp(pattern).test(text.replace(/\/\*[\s\S]*?\*\//g, " "));
}
