/** Where structures, unions and enumerations are used in an object, as its debug information tells. */
import * as dw from "../../../formats/dwarf/constants.ts";
import type { Entry } from "../../../formats/dwarf/info.ts";
import type { DwarfTypes } from "./dwarf-types.ts";
import { type CType, maxDepth } from "./model.ts";
import { nameOf, sourcePlace } from "./places.ts";

export interface TypeUse {
  kind: /** Of a structure or union; `within` names that. */
    | "member"
    /** Global or static. */
    | "variable"
    /** On the stack; `within` names the function. */
    | "local"
    | "parameter"
    | "return"
    /** In the type of a function that is called through a pointer. */
    | "prototype";
  name: string;
  within: string;
  /** 0: by value. */
  pointers: number;
  place: string | undefined;
}

/** Uses of the definitions that {@link DwarfTypes.definitions} names so. */
export function usesOf(types: DwarfTypes, wanted: ReadonlySet<string>): Map<string, TypeUse[]> {
  const { dwarf } = types;
  const keys = new Map<CType, string>();
  for (const [key, definitions] of types.definitions) for (const type of definitions) keys.set(type, key);
  const uses = new Map<string, TypeUse[]>();
  const seen = new Set<string>();
  for (let entry = 0; entry < dwarf.count; entry++) {
    const place = placeKind(types, entry);
    if (!place) continue;
    const reached = reach(types.typeOf(entry), keys, wanted);
    for (const { key, pointers, throughFunction } of reached) {
      const use = {
        ...place,
        kind: throughFunction ? "prototype" : place.kind,
        pointers,
        name: nameOf(dwarf, entry),
      } as const;
      const id = `${key} ${use.kind} ${use.within} ${use.name} ${pointers}`;
      if (seen.has(id)) continue;
      seen.add(id);
      const known = uses.get(key);
      const whole = { ...use, place: sourcePlace(dwarf, entry) };
      if (known) known.push(whole);
      else uses.set(key, [whole]);
    }
  }
  return uses;

  function placeKind(of: DwarfTypes, at: Entry): Pick<TypeUse, "kind" | "within"> | undefined {
    switch (dwarf.tagOf(at)) {
      case dw.DW_TAG_member:
        return { kind: "member", within: containerOf(at) };
      case dw.DW_TAG_variable: {
        const within = of.functionAround(at) ?? "";
        const isStatic = within === "" || dwarf.placeOf(at) !== undefined || dwarf.isExternal(at);
        return { kind: isStatic ? "variable" : "local", within };
      }
      case dw.DW_TAG_formal_parameter: {
        const parent = dwarf.parentOf(at);
        // Prototypes of function pointers are reached from what has such a pointer.
        if (parent >= 0 && dwarf.tagOf(parent) === dw.DW_TAG_subroutine_type) return undefined;
        return { kind: "parameter", within: of.functionAround(at) ?? "" };
      }
      case dw.DW_TAG_subprogram:
        return { kind: "return", within: nameOf(dwarf, at) };
      default:
        return undefined;
    }
  }

  /** The named structure around a member. */
  function containerOf(member: Entry): string {
    let around = dwarf.parentOf(member);
    for (let depth = 0; around >= 0 && depth < maxDepth; depth++) {
      const key = types.keyOf(around);
      if (key !== undefined) return key;
      around = dwarf.parentOf(around);
    }
    return "";
  }
}

interface Reached {
  key: string;
  pointers: number;
  throughFunction: boolean;
}

/** The wanted definitions that a type leads to without passing through another structure. */
function reach(
  type: CType | undefined,
  keys: ReadonlyMap<CType, string>,
  wanted: ReadonlySet<string>,
): Reached[] {
  const found: Reached[] = [];
  const walk = (at: CType | undefined, pointers: number, throughFunction: boolean, depth: number): void => {
    if (!at || depth > 12) return;
    switch (at.kind) {
      case "pointer":
        walk(at.target, pointers + 1, throughFunction, depth + 1);
        return;
      case "array":
      case "qualifier":
      case "typedef":
        walk(at.target, pointers, throughFunction, depth + 1);
        return;
      case "function":
        walk(at.target, 0, true, depth + 1);
        for (const parameter of at.parameters) walk(parameter, 0, true, depth + 1);
        return;
      case "base":
        return;
      default: {
        const key = keys.get(at) ?? `${at.kind === "forward" ? "struct" : at.kind} ${at.name}`;
        if (wanted.has(key)) found.push({ key, pointers, throughFunction });
      }
    }
  };
  walk(type, 0, false, 0);
  return found;
}
