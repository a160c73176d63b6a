/** C types, wherever they are described: in an object's DWARF, or in a kernel's BTF. */

export type TypeKind =
  | "base"
  | "pointer"
  | "struct"
  | "union"
  | "enum"
  | "array"
  | "function"
  | "typedef"
  /** const, volatile, restrict, _Atomic, and attributes. */
  | "qualifier"
  /** A structure, union or enumeration that is only named. */
  | "forward";

export interface Member {
  /** "" for an anonymous structure or union. */
  name: string;
  /** From the start of the structure. */
  bitOffset: number;
  /** Of a bit-field. */
  bitSize: number | undefined;
  type: CType | undefined;
}

export interface Enumerator {
  name: string;
  value: bigint;
}

/** Gives what a type consists of; each answer is made when it is asked for. */
export interface TypeSource {
  targetOf(id: number): CType | undefined;
  membersOf(id: number): readonly Member[];
  enumeratorsOf(id: number): readonly Enumerator[];
  /** Undefined stands for "...". */
  parametersOf(id: number): readonly (CType | undefined)[];
  /** Elements of an array; undefined for a flexible or variable one. */
  elementsOf(id: number): number | undefined;
  placeOf(id: number): string | undefined;
}

/** One type of a {@link TypeSource}. Where a type is missing (undefined), it is void. */
export class CType {
  readonly source: TypeSource;
  readonly id: number;
  readonly kind: TypeKind;
  /** As in C, without `struct`; "" for an unnamed one. */
  readonly name: string;
  /** What the description says; see sizeOf() for types that consist of others. */
  readonly ownSize: number | undefined;
  readonly isFloat: boolean;
  #members: readonly Member[] | undefined;
  #target: { type: CType | undefined } | undefined;

  constructor(
    source: TypeSource,
    id: number,
    kind: TypeKind,
    name: string,
    ownSize: number | undefined,
    isFloat = false,
  ) {
    this.source = source;
    this.id = id;
    this.kind = kind;
    this.name = name;
    this.ownSize = ownSize;
    this.isFloat = isFloat;
  }

  /** What a pointer points to, an array has, a typedef or qualifier stands for, a function returns. */
  get target(): CType | undefined {
    this.#target ??= { type: this.source.targetOf(this.id) };
    return this.#target.type;
  }

  get members(): readonly Member[] {
    this.#members ??= this.source.membersOf(this.id);
    return this.#members;
  }

  get enumerators(): readonly Enumerator[] {
    return this.source.enumeratorsOf(this.id);
  }

  get parameters(): readonly (CType | undefined)[] {
    return this.source.parametersOf(this.id);
  }

  get elements(): number | undefined {
    return this.source.elementsOf(this.id);
  }

  /** "path:line" of the definition. */
  get place(): string | undefined {
    return this.source.placeOf(this.id);
  }

  get isAggregate(): boolean {
    return this.kind === "struct" || this.kind === "union";
  }
}

/** Deeper than types of real code are nested; ends what hostile input makes circular. */
export const maxDepth = 64;

/** The type behind typedefs and qualifiers. */
export function stripped(type: CType | undefined): CType | undefined {
  let inner = type;
  for (let depth = 0; inner && (inner.kind === "typedef" || inner.kind === "qualifier"); depth++) {
    if (depth === maxDepth) return undefined;
    inner = inner.target;
  }
  return inner;
}

/** sizeof; 0 for a flexible array and for what has none. */
export function sizeOf(type: CType | undefined, depth = 0): number {
  const inner = stripped(type);
  if (!inner || depth === maxDepth) return 0;
  if (inner.kind === "array") return (inner.elements ?? 0) * sizeOf(inner.target, depth + 1);
  return inner.ownSize ?? (inner.kind === "pointer" ? 8 : 0);
}

/** _Alignof, as far as it follows from the members. */
export function alignmentOf(type: CType | undefined, depth = 0): number {
  const inner = stripped(type);
  if (!inner || depth === maxDepth) return 1;
  if (inner.kind === "array") return alignmentOf(inner.target, depth + 1);
  if (!inner.isAggregate) return Math.max(1, sizeOf(inner));
  return Math.max(1, ...inner.members.map((member) => alignmentOf(member.type, depth + 1)));
}

/** As C writes it in a declaration without a name: `const struct sock *`, `int (*)(struct file *, long)`. */
export function describeType(type: CType | undefined, depth = 0): string {
  if (!type) return "void";
  if (depth > 8) return "...";
  switch (type.kind) {
    case "base":
    case "typedef":
      return type.name;
    case "struct":
    case "union":
    case "enum":
      return `${type.kind} ${type.name === "" ? "{...}" : type.name}`;
    case "forward":
      return `struct ${type.name}`;
    case "qualifier":
      return type.target?.kind === "pointer"
        ? `${describeType(type.target, depth + 1)} const`
        : `${type.name === "" ? "" : `${type.name} `}${describeType(type.target, depth + 1)}`;
    case "array":
      return `${describeType(type.target, depth + 1)}[${type.elements ?? ""}]`;
    case "function":
      return `${describeType(type.target, depth + 1)} (${describeParameters(type, depth)})`;
    case "pointer": {
      const to = type.target;
      if (to?.kind === "function")
        return `${describeType(to.target, depth + 1)} (*)(${describeParameters(to, depth)})`;
      const text = describeType(to, depth + 1);
      return text.endsWith("*") ? `${text}*` : `${text} *`;
    }
  }
}

/** A declaration of a name: `u8 padding[3]`, `unsigned int flag:1`. */
export function describeMember(name: string, type: CType | undefined, bitSize?: number): string {
  if (type?.kind === "array") return `${describeMember(name, type.target)}[${type.elements ?? ""}]`;
  const text = describeType(type);
  if (text.includes("(*)")) return text.replace("(*)", `(*${name})`);
  return `${text}${text.endsWith("*") ? "" : " "}${name}${bitSize === undefined ? "" : `:${bitSize}`}`;
}

function describeParameters(type: CType, depth: number): string {
  return type.parameters
    .map((parameter) => (parameter ? describeType(parameter, depth + 1) : "..."))
    .join(", ");
}
