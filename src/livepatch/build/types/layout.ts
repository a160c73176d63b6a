/** What a type looks like in memory, in forms that can be compared between two objects. */
import { createHash } from "node:crypto";
import { type CType, maxDepth, sizeOf, stripped } from "./model.ts";

/** A scalar, array or named structure within a structure; those of unnamed structures count as its own. */
export interface Field {
  /** Members of unnamed structures have no prefix, those of named members of an unnamed type do: `u.sub.x`. */
  name: string;
  /** From the start of the outermost structure. */
  bitOffset: number;
  bitSize: number;
  isBitField: boolean;
  type: CType | undefined;
}

const maxFields = 100_000;

/** All fields of a structure or union, in the order of their declarations. */
export function fieldsOf(type: CType): Field[] {
  const fields: Field[] = [];
  const walk = (outer: CType, prefix: string, base: number, depth: number) => {
    for (const member of outer.members) {
      if (fields.length >= maxFields) return;
      const inner = stripped(member.type);
      const bitOffset = base + member.bitOffset;
      // Behind a typedef it has a name, by which it is compared.
      if (inner?.isAggregate && inner.name === "" && member.type?.kind !== "typedef" && depth < maxDepth) {
        walk(inner, member.name === "" ? prefix : `${prefix}${member.name}.`, bitOffset, depth + 1);
        continue;
      }
      fields.push({
        name: `${prefix}${member.name}`,
        bitOffset,
        bitSize: member.bitSize ?? sizeOf(member.type) * 8,
        isBitField: member.bitSize !== undefined,
        type: member.type,
      });
    }
  };
  walk(type, "", 0, 0);
  return fields;
}

/**
 * A type as text that is equal for equal types of two objects, as long as the structures that it names are equal:
 * those are compared by themselves. Typedefs stand for what they name, qualifiers for nothing.
 */
export class CanonicalTypes {
  readonly #known = new Map<CType, string>();
  readonly #layouts = new Map<CType, string>();

  nameOf(type: CType | undefined, depth = 0): string {
    if (!type) return "void";
    const known = this.#known.get(type);
    if (known !== undefined) return known;
    if (depth > maxDepth) return "...";
    const name = short(this.#make(type, depth));
    this.#known.set(type, name);
    return name;
  }

  #make(type: CType, depth: number): string {
    const target = () => this.nameOf(type.target, depth + 1);
    switch (type.kind) {
      case "base":
        return `${type.name}:${type.ownSize ?? 0}`;
      case "qualifier":
        return target();
      case "typedef": {
        const inner = stripped(type);
        const isUnnamed = inner?.name === "" && (inner.isAggregate || inner.kind === "enum");
        return isUnnamed ? type.name : target();
      }
      case "pointer":
        return `*${target()}`;
      case "array":
        return `[${type.elements ?? ""}]${target()}`;
      case "function": {
        const parameters = type.parameters.map((parameter) => this.nameOf(parameter, depth + 1));
        return `(${parameters.join(",")})${target()}`;
      }
      case "forward":
        return `struct ${type.name}`;
      case "struct":
      case "union":
        if (type.name !== "") return `struct ${type.name}`;
        return `{${fieldsOf(type)
          .map(
            (field) =>
              `${field.name}@${field.bitOffset}:${field.bitSize} ${this.nameOf(field.type, depth + 1)}`,
          )
          .join(";")}}`;
      case "enum":
        if (type.name !== "") return `enum ${type.name}`;
        return `{${type.enumerators.map(({ name, value }) => `${name}=${value}`).join(",")}}`;
    }
  }

  /** Which scalars of which kind lie where: equal for types that hold the same bits in the same places. */
  layoutOf(type: CType | undefined, depth = 0): string {
    const inner = stripped(type);
    if (!inner || depth > maxDepth) return "?";
    const known = this.#layouts.get(inner);
    if (known !== undefined) return known;
    let layout: string;
    if (inner.isAggregate) {
      const scalars = new Set<string>();
      const walk = (outer: CType, base: number, inside: number) => {
        for (const field of fieldsOf(outer)) {
          const of = stripped(field.type);
          if (scalars.size >= maxFields) return;
          if (of?.isAggregate && inside < maxDepth) walk(of, base + field.bitOffset, inside + 1);
          else if (field.bitSize > 0)
            scalars.add(`${base + field.bitOffset}:${field.bitSize}:${this.layoutOf(field.type, depth + 1)}`);
        }
      };
      walk(inner, 0, 0);
      layout = `{${[...scalars].sort().join(";")}}${sizeOf(inner)}`;
    } else if (inner.kind === "array") {
      layout = `[${inner.elements ?? ""}]${this.layoutOf(inner.target, depth + 1)}`;
    } else if (inner.kind === "pointer") layout = "p";
    else layout = `${inner.isFloat ? "f" : "i"}${sizeOf(inner)}`;
    layout = short(layout);
    this.#layouts.set(inner, layout);
    return layout;
  }
}

/** Keeps texts that are made of texts from growing without bounds. */
function short(text: string): string {
  return text.length <= 400 ? text : `#${createHash("sha1").update(text).digest("hex")}`;
}
