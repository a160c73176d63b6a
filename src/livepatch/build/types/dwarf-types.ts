/** The types in an object's DWARF, and what uses them. */
import * as dw from "../../../formats/dwarf/constants.ts";
import type { DwarfInfo, Entry } from "../../../formats/dwarf/info.ts";
import { CType, type Enumerator, type Member, type TypeKind, type TypeSource } from "./model.ts";
import { nameOf, sourcePlace } from "./places.ts";

const kinds: Readonly<Record<number, TypeKind>> = {
  [dw.DW_TAG_base_type]: "base",
  [dw.DW_TAG_pointer_type]: "pointer",
  [dw.DW_TAG_structure_type]: "struct",
  [dw.DW_TAG_union_type]: "union",
  [dw.DW_TAG_enumeration_type]: "enum",
  [dw.DW_TAG_array_type]: "array",
  [dw.DW_TAG_subroutine_type]: "function",
  [dw.DW_TAG_typedef]: "typedef",
  [dw.DW_TAG_const_type]: "qualifier",
  [dw.DW_TAG_volatile_type]: "qualifier",
  [dw.DW_TAG_restrict_type]: "qualifier",
  [dw.DW_TAG_atomic_type]: "qualifier",
};

export class DwarfTypes implements TypeSource {
  readonly dwarf: DwarfInfo;
  readonly #types = new Map<Entry, CType>();
  #keys: Map<Entry, string> | undefined;
  #definitions: ReadonlyMap<string, readonly CType[]> | undefined;

  constructor(dwarf: DwarfInfo) {
    this.dwarf = dwarf;
  }

  /** The type of a variable, parameter, member or function; undefined for void. */
  typeOf(entry: Entry): CType | undefined {
    const own = this.dwarf.typeOf(entry);
    if (own !== undefined) return this.#type(own);
    const origin = this.dwarf.originOf(entry);
    const inherited = origin === undefined ? undefined : this.dwarf.typeOf(origin);
    return inherited === undefined ? undefined : this.#type(inherited);
  }

  /**
   * Definitions of structures, unions and enumerations, by what names them: "struct sock", "atomic_t" for an
   * unnamed one of a typedef, "the type of x" for that of a variable, with " in f" behind it within a function. There are
   * several of one name where an object is linked from several units.
   */
  get definitions(): ReadonlyMap<string, readonly CType[]> {
    this.#definitions ??= this.#findDefinitions();
    return this.#definitions;
  }

  /** The name under which {@link definitions} has the type that an entry describes. */
  keyOf(entry: Entry): string | undefined {
    if (!this.#keys) {
      this.#keys = new Map();
      for (const [key, types] of this.definitions) for (const { id } of types) this.#keys.set(id, key);
    }
    return this.#keys.get(entry);
  }

  #findDefinitions(): Map<string, CType[]> {
    const { dwarf } = this;
    const found = new Map<string, CType[]>();
    const add = (name: string, entry: Entry, type: CType) => {
      const scope = this.functionAround(entry);
      const key = scope === undefined ? name : `${name} in ${nameOf(dwarf, scope)}`;
      const same = found.get(key);
      if (!same) found.set(key, [type]);
      else if (!same.includes(type)) same.push(type);
    };
    for (let entry = 0; entry < dwarf.count; entry++) {
      const tag = dwarf.tagOf(entry);
      if (
        tag === dw.DW_TAG_structure_type ||
        tag === dw.DW_TAG_union_type ||
        tag === dw.DW_TAG_enumeration_type
      ) {
        const name = dwarf.isDeclaration(entry) ? "" : dwarf.nameOf(entry);
        if (name !== "") add(`${kinds[tag]} ${name}`, entry, this.#type(entry)!);
      } else if (tag === dw.DW_TAG_typedef || tag === dw.DW_TAG_variable) {
        if (tag === dw.DW_TAG_variable && dwarf.placeOf(entry) === undefined) continue;
        const type = this.#unnamed(this.typeOf(entry), tag === dw.DW_TAG_variable);
        const name = dwarf.nameOf(entry);
        if (type && name !== "") add(tag === dw.DW_TAG_typedef ? name : `the type of ${name}`, entry, type);
      }
    }
    return found;
  }

  /** An unnamed structure, union or enumeration, within arrays where it is a variable's. */
  #unnamed(type: CType | undefined, within: boolean): CType | undefined {
    let inner = type;
    for (let depth = 0; inner && depth < 8; depth++) {
      if (inner.isAggregate || inner.kind === "enum") return inner.name === "" ? inner : undefined;
      if (inner.kind !== "qualifier" && !(within && inner.kind === "array")) return undefined;
      inner = inner.target;
    }
    return undefined;
  }

  /** The function that an entry is within, or an inlined copy of one. */
  functionAround(entry: Entry): Entry | undefined {
    const { dwarf } = this;
    for (let around = dwarf.parentOf(entry); around >= 0; around = dwarf.parentOf(around)) {
      const tag = dwarf.tagOf(around);
      if (tag === dw.DW_TAG_subprogram || tag === dw.DW_TAG_inlined_subroutine) return around;
    }
    return undefined;
  }

  #type(entry: Entry): CType | undefined {
    const known = this.#types.get(entry);
    if (known) return known;
    const { dwarf } = this;
    let described = entry;
    // A type in a unit of its own is only named where it is used.
    const origin = dwarf.isDeclaration(entry) ? dwarf.originOf(entry) : undefined;
    if (origin !== undefined && kinds[dwarf.tagOf(origin)] === kinds[dwarf.tagOf(entry)]) described = origin;
    const tag = dwarf.tagOf(described);
    const isForward = dwarf.isDeclaration(described);
    const kind = isForward ? "forward" : kinds[tag];
    // "unspecified" and vendors' types: nothing is known of what they look like.
    const type = new CType(
      this,
      described,
      kind ?? "base",
      tag === dw.DW_TAG_const_type
        ? "const"
        : tag === dw.DW_TAG_volatile_type
          ? "volatile"
          : dwarf.nameOf(described),
      dwarf.sizeOf(described),
      tag === dw.DW_TAG_base_type && dwarf.constantOf(described) === BigInt(dw.DW_ATE_float),
    );
    this.#types.set(entry, type);
    return type;
  }

  targetOf(id: Entry): CType | undefined {
    // The dimensions of an array are children of one entry: see elementsOf.
    return this.typeOf(id);
  }

  membersOf(id: Entry): Member[] {
    const { dwarf } = this;
    return dwarf
      .childrenOf(id)
      .filter((child) => dwarf.tagOf(child) === dw.DW_TAG_member)
      .map((child) => ({
        name: dwarf.nameOf(child),
        ...dwarf.memberPosition(child),
        type: this.typeOf(child),
      }));
  }

  enumeratorsOf(id: Entry): Enumerator[] {
    const { dwarf } = this;
    return dwarf
      .childrenOf(id)
      .filter((child) => dwarf.tagOf(child) === dw.DW_TAG_enumerator)
      .map((child) => ({ name: dwarf.nameOf(child), value: dwarf.constantOf(child) ?? 0n }));
  }

  parametersOf(id: Entry): (CType | undefined)[] {
    const { dwarf } = this;
    return dwarf.childrenOf(id).flatMap((child) => {
      const tag = dwarf.tagOf(child);
      if (tag === dw.DW_TAG_unspecified_parameters) return [undefined];
      return tag === dw.DW_TAG_formal_parameter ? [this.typeOf(child)] : [];
    });
  }

  /** Of all dimensions together. */
  elementsOf(id: Entry): number | undefined {
    const { dwarf } = this;
    let product: number | undefined;
    for (const child of dwarf.childrenOf(id)) {
      if (dwarf.tagOf(child) !== dw.DW_TAG_subrange_type) continue;
      const elements = dwarf.elementsOf(child);
      if (elements === undefined) return undefined;
      product = (product ?? 1) * elements;
    }
    return product;
  }

  placeOf(id: Entry): string | undefined {
    return sourcePlace(this.dwarf, id);
  }
}
