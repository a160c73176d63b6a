/** The types of a kernel's BTF. */
import * as btf from "../../../formats/btf.ts";
import { CType, type Enumerator, type Member, type TypeKind, type TypeSource } from "./model.ts";

const kinds: Readonly<Record<number, TypeKind>> = {
  [btf.BTF_KIND_INT]: "base",
  [btf.BTF_KIND_FLOAT]: "base",
  [btf.BTF_KIND_PTR]: "pointer",
  [btf.BTF_KIND_ARRAY]: "array",
  [btf.BTF_KIND_STRUCT]: "struct",
  [btf.BTF_KIND_UNION]: "union",
  [btf.BTF_KIND_ENUM]: "enum",
  [btf.BTF_KIND_ENUM64]: "enum",
  [btf.BTF_KIND_FWD]: "forward",
  [btf.BTF_KIND_TYPEDEF]: "typedef",
  [btf.BTF_KIND_VOLATILE]: "qualifier",
  [btf.BTF_KIND_CONST]: "qualifier",
  [btf.BTF_KIND_RESTRICT]: "qualifier",
  [btf.BTF_KIND_TYPE_TAG]: "qualifier",
  [btf.BTF_KIND_FUNC_PROTO]: "function",
};

const qualifiers: Readonly<Record<number, string>> = {
  [btf.BTF_KIND_CONST]: "const",
  [btf.BTF_KIND_VOLATILE]: "volatile",
};

const sized: ReadonlySet<TypeKind> = new Set(["base", "struct", "union", "enum"]);

export class BtfTypes implements TypeSource {
  readonly #btf: btf.Btf;
  readonly #types = new Map<number, CType>();

  constructor(source: btf.Btf) {
    this.#btf = source;
  }

  /** Structures or unions of that name; a kernel may have several. */
  named(kind: "struct" | "union", name: string): CType[] {
    return this.#btf
      .structuresNamed(name)
      .map((id) => this.#type(id))
      .filter((type) => type !== undefined)
      .filter((type) => type.kind === kind);
  }

  #type(id: number): CType | undefined {
    const btfKind = this.#btf.kindOf(id);
    const kind = kinds[btfKind];
    if (kind === undefined) return undefined;
    const known = this.#types.get(id);
    if (known) return known;
    const name = qualifiers[btfKind] ?? (kind === "qualifier" ? "" : this.#btf.nameOf(id));
    const size = sized.has(kind) ? this.#btf.sizeOf(id) : undefined;
    const type = new CType(this, id, kind, name, size, btfKind === btf.BTF_KIND_FLOAT);
    this.#types.set(id, type);
    return type;
  }

  targetOf(id: number): CType | undefined {
    return this.#type(this.#btf.targetOf(id));
  }

  membersOf(id: number): Member[] {
    return this.#btf.membersOf(id).map((member) => ({ ...member, type: this.#type(member.type) }));
  }

  enumeratorsOf(id: number): Enumerator[] {
    return this.#btf.enumeratorsOf(id);
  }

  parametersOf(id: number): (CType | undefined)[] {
    return this.#btf.parametersOf(id).map((type) => this.#type(type));
  }

  elementsOf(id: number): number | undefined {
    // BTF does not tell a flexible array from one of no elements.
    return this.#btf.elementsOf(id) || undefined;
  }

  placeOf(): undefined {
    return undefined;
  }
}
