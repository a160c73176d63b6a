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
  /** Of the member or variable, or of the function around it. */
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
    const role = roleOf(entry);
    if (!role) continue;
    for (const { key, pointers, throughFunction } of reach(types.typeOf(entry), keys, wanted)) {
      const kind = throughFunction ? "prototype" : role.kind;
      const name = nameOf(dwarf, entry);
      const id = `${key} ${kind} ${role.within} ${name} ${pointers}`;
      if (seen.has(id)) continue;
      seen.add(id);
      const known = uses.get(key);
      const use = { kind, name, within: role.within, pointers, place: sourcePlace(dwarf, role.at) };
      if (known) known.push(use);
      else uses.set(key, [use]);
    }
  }
  return uses;

  function roleOf(entry: Entry): { kind: TypeUse["kind"]; within: string; at: Entry } | undefined {
    const tag = dwarf.tagOf(entry);
    if (tag === dw.DW_TAG_member) return { kind: "member", within: containerOf(entry), at: entry };
    if (tag === dw.DW_TAG_subprogram) return { kind: "return", within: nameOf(dwarf, entry), at: entry };
    if (tag !== dw.DW_TAG_variable && tag !== dw.DW_TAG_formal_parameter) return undefined;
    const around = types.functionAround(entry);
    const within = around === undefined ? "" : nameOf(dwarf, around);
    if (tag === dw.DW_TAG_variable) {
      const isStatic = around === undefined || dwarf.placeOf(entry) !== undefined || dwarf.isExternal(entry);
      return isStatic ? { kind: "variable", within, at: entry } : { kind: "local", within, at: around };
    }
    // Parameters of a function's type are reached from what has that type.
    if (around === undefined || dwarf.tagOf(dwarf.parentOf(entry)) === dw.DW_TAG_subroutine_type)
      return undefined;
    return { kind: dwarf.isDeclaration(around) ? "prototype" : "parameter", within, at: around };
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
