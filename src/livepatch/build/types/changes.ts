/** Types that a patch changes, over all its units: what can be carried, what the author has to judge, what is refused. */
import type { Caution, Problem } from "../finding.ts";
import { adviceFor, placeInGaps } from "./advice.ts";
import { type TypeChange, TypeComparison } from "./compare.ts";
import type { UnitDebugInfo } from "./debug-info.ts";
import type { MemberPlacement } from "./member-placement.ts";
import type { CType } from "./model.ts";
import { describeTheSameTypes } from "./same-types.ts";
import { findTransient } from "./transient.ts";
import { type TypeUse, usesOf } from "./uses.ts";

/** A unit with the debug information of both its objects. */
export interface UnitTypes {
  /** Path of the source file. */
  source: string;
  original: UnitDebugInfo;
  patched: UnitDebugInfo;
}

interface ChangedType {
  key: string;
  before: CType;
  after: CType;
  change: TypeChange;
  uses: TypeUse[];
}

export interface TypeFindings {
  problems: Problem[];
  cautions: Caution[];
  /** Where new members can be declared instead, so that no problem is left. */
  placements?: MemberPlacement[] | undefined;
}

/**
 * Compares the types that both objects of each unit know: by where their members lie and how large they are, not by
 * their text. A type that only the patched object has is no change.
 *
 * @param texts of the unpatched units, and of what defines their types, by path: see findTransient()
 * @param isInitialised whether a global or static variable begins as anything but zeroes
 */
export function findTypeChanges(
  units: readonly UnitTypes[],
  texts: ReadonlyMap<string, string> = new Map(),
  isInitialised: (variable: string) => boolean = () => true,
): TypeFindings {
  const changed = changedTypes(units);
  const harmful = [...changed.values()].filter(({ change }) => change.severity === "changed");
  const transient = findTransient(
    new Map(harmful.map(({ key, before }) => [key, before.place])),
    units,
    texts,
  );
  const problems: Problem[] = [];
  const cautions: Caution[] = [];
  const refusedTypes: ChangedType[] = [];
  const causes = new Set(
    [...changed.values()].filter(({ change }) => !change.onlyMoved).map(({ key }) => key),
  );
  for (const type of changed.values()) {
    if (type.change.severity === "compatible") cautions.push(compatible(type));
    else if (transient.has(type.key)) cautions.push(onStacksOnly(type));
    // A structure that only grows with one within it is told as a use of that one.
    else if (!type.change.onlyMoved || causes.size === 0) refusedTypes.push(type);
  }
  problems.push(...refusedTypes.map(refused));
  const placements = refusedTypes.map((type) => placementsOf(type, isInitialised));
  const placeable = placements.length > 0 && placements.every((found) => found !== undefined);
  return { problems, cautions, placements: placeable ? placements.flat() : undefined };
}

/** Only where no variable can be initialised by the order of the members. */
function placementsOf(
  { key, before, change, uses }: ChangedType,
  isInitialised: (variable: string) => boolean,
): MemberPlacement[] | undefined {
  const isOrdered = ({ kind, pointers, name }: TypeUse) =>
    pointers === 0 && kind !== "member" && (kind !== "variable" || isInitialised(name));
  if (!change.onlyAdded || uses.some(isOrdered)) return undefined;
  return placeInGaps(before, change.added)?.map(({ field, behindName }) => ({
    structure: key,
    member: field.name,
    behind: behindName,
  }));
}

function changedTypes(units: readonly UnitTypes[]): Map<string, ChangedType> {
  const changed = new Map<string, ChangedType>();
  for (const { original, patched } of units) {
    if (describeTheSameTypes(original.types.dwarf, patched.types.dwarf)) continue;
    const comparison = new TypeComparison();
    const now = patched.types.definitions;
    for (const [key, definitions] of original.types.definitions) {
      const others = now.get(key) ?? [];
      for (const [i, before] of definitions.entries()) {
        const after = others[i];
        const change = after && comparison.changeOf(before, after);
        if (!change) continue;
        const known = changed.get(key);
        // Of several units the one that sees the most of it.
        if (known && known.change.facts.length >= change.facts.length) continue;
        changed.set(key, { key, before, after, change, uses: [] });
      }
    }
  }
  if (changed.size === 0) return changed;
  const keys = new Set(changed.keys());
  for (const { original } of units)
    for (const [key, uses] of usesOf(original.types, keys)) {
      const type = changed.get(key)!;
      const known = new Set(type.uses.map(useId));
      type.uses.push(...uses.filter((use) => !known.has(useId(use))));
    }
  return changed;
}

function useId({ kind, within, name, place }: TypeUse): string {
  return `${kind} ${within} ${name} ${place}`;
}

function refused({ key, before, change, uses }: ChangedType): Problem {
  return {
    code: "RK-TYPE-CHANGE",
    message: `The layout of ${key} changes: ${listed(change.facts, 6)}. Objects of it exist in the running kernel, laid out as before.${usesText(uses)}`,
    hint: adviceFor(key, before, change, uses),
    subject: key,
    source: before.place,
  };
}

function compatible({ key, before, change }: ChangedType): Caution {
  const hints: string[] = [];
  const { kinds } = change;
  if (kinds.has("padding") || kinds.has("union"))
    hints.push(
      "In objects that exist already the new member holds whatever was there, which is zero where they are allocated zeroed and nothing ever writes over them; functions that are not patched do not set it.",
    );
  if (kinds.has("prototype"))
    hints.push(
      "Functions are called with the old arguments by tasks that are not patched yet, and by functions outside these units; each such function and all its callers have to be in the patch.",
    );
  if (kinds.has("pointee") || kinds.has("type"))
    hints.push(
      "What existing objects hold there has been written as the old type, which the patched functions take for the new one.",
    );
  if (kinds.has("renamed") || kinds.has("removed"))
    hints.push(
      "Existing objects hold what the old member held, and functions outside these units still use it.",
    );
  if (kinds.has("enumerator"))
    hints.push(
      "Functions outside these units do not know the new values, and arrays of as many elements as there were have not grown.",
    );
  return {
    code: "RK-CAUTION-TYPE-CHANGE",
    message: `${key} changes, and everything that was in it stays where it was: ${listed(change.facts, 6)}.`,
    hint: hints.join(" "),
    source: before.place,
  };
}

function onStacksOnly({ key, before, change, uses }: ChangedType): Caution {
  return {
    code: "RK-CAUTION-TYPE-ON-STACK",
    message: `The layout of ${key} changes (${listed(change.facts, 4)}), which only lives in local variables.${usesText(uses)}`,
    hint: "All functions whose code depends on it are replaced together, and no task changes over while one of them is on its stack. See that none hands its address to another task, to an interrupt handler, or to a module that is not part of the patch.",
    source: before.place,
  };
}

const shownUses = 5;

/** Who uses a type, in sentences with a space in front. */
export function usesText(uses: readonly TypeUse[]): string {
  const sentences: string[] = [];
  const tell = (kinds: readonly TypeUse["kind"][], verb: string, name: (use: TypeUse) => string) => {
    const named = new Map<string, string>();
    for (const use of uses)
      if (kinds.includes(use.kind) && name(use) !== "" && !named.has(name(use)))
        named.set(name(use), use.place === undefined ? name(use) : `${name(use)} (${use.place})`);
    if (named.size > 0) sentences.push(` ${verb} ${listed([...named.values()], shownUses)}.`);
  };
  tell(["variable"], "Variables:", (use) => use.name);
  tell(["member"], "Held by", (use) => (use.within === "" ? "" : `${use.within}, ${use.name}`));
  tell(["local", "parameter", "return"], "Used in", (use) => use.within);
  return sentences.join("");
}

function listed(items: readonly string[], most: number): string {
  const shown = items.slice(0, most).join("; ");
  return items.length > most ? `${shown}; and ${items.length - most} more` : shown;
}
