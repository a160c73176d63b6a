/** Compares a structure, union or enumeration of the original unit with that of the patched one. */
import { CanonicalTypes, type Field, fieldsOf } from "./layout.ts";
import { type CType, describeMember, describeType, maxDepth, sizeOf, stripped } from "./model.ts";

/**
 * "compatible": whatever existed is where it was and of the size that it had. "changed": functions that know the one
 * layout cannot work with objects of the other.
 */
export interface TypeChange {
  severity: "compatible" | "changed";
  /** What differs, as parts of a sentence. */
  facts: string[];
  /** Members that only the patched type has. */
  added: Field[];
  /** Nothing but members that the patch adds differs: moved members are moved by them. */
  onlyAdded: boolean;
  /** No member is added, removed, renamed or of another type: structures within it have grown or shrunk. */
  onlyMoved: boolean;
  /** What the new members and meanings ask of who reads existing objects. */
  kinds: Set<"padding" | "prototype" | "pointee" | "type" | "renamed" | "removed" | "union" | "enumerator">;
}

export class TypeComparison {
  readonly #canonical = new CanonicalTypes();

  /** Undefined where nothing differs that anybody could notice. */
  changeOf(before: CType, after: CType): TypeChange | undefined {
    if (before.kind === "enum" && after.kind === "enum") return this.#enumChange(before, after);
    if (!before.isAggregate || !after.isAggregate) return kindChange(before, after);
    return this.#structureChange(before, after);
  }

  #structureChange(before: CType, after: CType): TypeChange | undefined {
    const [sizeBefore, sizeAfter] = [sizeOf(before), sizeOf(after)];
    const oldFields = fieldsOf(before);
    const newFields = fieldsOf(after);
    if (sizeBefore === sizeAfter && this.#sameFields(oldFields, newFields)) return undefined;

    const change = emptyChange();
    const harm = (fact: string) => {
      change.severity = "changed";
      change.facts.push(fact);
    };
    const newByName = byName(newFields);
    const oldByName = byName(oldFields);
    const removed = new Set(oldFields.filter(({ name }) => !newByName.has(name)));
    const added = new Set(newFields.filter(({ name }) => !oldByName.has(name)));
    for (const old of removed) {
      const other = [...added].find((field) => this.#isRenamed(old, field));
      if (!other) continue;
      removed.delete(old);
      added.delete(other);
      change.kinds.add("renamed");
      change.onlyMoved = change.onlyAdded = false;
      change.facts.push(`${old.name} is called ${other.name}`);
    }
    const moved: { old: Field; now: Field }[] = [];
    for (const old of oldFields) {
      const now = newByName.get(old.name);
      if (!now) continue;
      if (now.bitOffset !== old.bitOffset) moved.push({ old, now });
      this.#memberChange(old, now, change, harm);
    }
    const stays = new Set(
      oldFields.filter((field) => newByName.get(field.name)?.bitOffset === field.bitOffset),
    );
    for (const field of added) {
      const text = `${describeField(field)} is added at ${offsetText(field)}`;
      change.added.push(field);
      change.onlyMoved = false;
      const overlapped = oldFields.filter((old) => overlap(old, field));
      if (field.bitSize === 0 && stripped(field.type)?.kind === "array") harm(text);
      else if (
        overlapped.every((old) => stays.has(old)) &&
        field.bitOffset + field.bitSize <= sizeBefore * 8
      ) {
        change.facts.push(
          overlapped.length === 0 ? `${text}, where nothing was` : `${text}, beside ${overlapped[0]!.name}`,
        );
        change.kinds.add(overlapped.length === 0 ? "padding" : "union");
      } else harm(text);
    }
    for (const field of removed) {
      change.onlyMoved = change.onlyAdded = false;
      change.kinds.add("removed");
      change.facts.push(`${describeField(field)} at ${offsetText(field)} is removed`);
    }
    if (moved.length > 0) harm(movedText(moved));
    if (sizeBefore !== sizeAfter) harm(`its size changes from ${sizeBefore} to ${sizeAfter} bytes`);
    return change.facts.length === 0 ? undefined : change;
  }

  #sameFields(before: readonly Field[], after: readonly Field[]): boolean {
    return (
      before.length === after.length &&
      before.every((field, i) => {
        const other = after[i]!;
        return (
          field.name === other.name &&
          field.bitOffset === other.bitOffset &&
          field.bitSize === other.bitSize &&
          this.#canonical.nameOf(field.type) === this.#canonical.nameOf(other.type)
        );
      })
    );
  }

  #memberChange(old: Field, now: Field, change: TypeChange, harm: (fact: string) => void): void {
    if (old.bitSize === now.bitSize && this.#canonical.nameOf(old.type) === this.#canonical.nameOf(now.type))
      return;
    const text = `${old.name} at ${offsetText(old)} changes from ${declared(old)} to ${declared(now)}`;
    // An embedded structure is compared by itself; what follows from it here is where the others lie.
    if (this.#canonical.nameOf(old.type) === this.#canonical.nameOf(now.type) && holdsStructure(old.type))
      return;
    const [a, b] = [stripped(old.type), stripped(now.type)];
    change.onlyMoved = change.onlyAdded = false;
    if (old.bitSize !== now.bitSize || old.isBitField !== now.isBitField) harm(text);
    else if (a?.kind === "pointer" && b?.kind === "pointer") {
      const isFunction = stripped(a.target)?.kind === "function" || stripped(b.target)?.kind === "function";
      change.kinds.add(isFunction ? "prototype" : "pointee");
      change.facts.push(text);
    } else if (this.#canonical.layoutOf(old.type) === this.#canonical.layoutOf(now.type)) {
      change.kinds.add("type");
      change.facts.push(text);
    } else harm(text);
  }

  #isRenamed(old: Field, now: Field): boolean {
    return (
      old.bitOffset === now.bitOffset &&
      old.bitSize === now.bitSize &&
      this.#canonical.layoutOf(old.type) === this.#canonical.layoutOf(now.type)
    );
  }

  #enumChange(before: CType, after: CType): TypeChange | undefined {
    const change = emptyChange();
    change.onlyMoved = change.onlyAdded = false;
    const newValues = new Map(after.enumerators.map(({ name, value }) => [name, value]));
    const oldNames = new Set(before.enumerators.map(({ name }) => name));
    const added = after.enumerators.filter(({ name }) => !oldNames.has(name));
    if (sizeOf(before) !== sizeOf(after)) {
      change.severity = "changed";
      change.facts.push(`its size changes from ${sizeOf(before)} to ${sizeOf(after)} bytes`);
    }
    for (const [i, { name, value }] of before.enumerators.entries()) {
      const now = newValues.get(name);
      if (now === value) continue;
      if (now === undefined) change.facts.push(`${name} (${value}) is removed`);
      else {
        change.facts.push(`${name} changes from ${value} to ${now}`);
        // How many there are, or the last one, grows with them.
        const isLast = i >= before.enumerators.length - 2;
        if (!isLast || now < value || !countNames.test(name)) change.severity = "changed";
      }
    }
    for (const { name, value } of added) {
      const taken = before.enumerators.find((old) => old.value === value && !countNames.test(old.name));
      change.facts.push(`${name} (${value}) is added`);
      if (taken && newValues.get(taken.name) !== value) change.severity = "changed";
    }
    change.kinds.add("enumerator");
    return change.facts.length === 0 ? undefined : change;
  }
}

/** How the kernel names the enumerator behind the last one that means something. */
const countNames = /(^|_)(max|last|num|nr|count|cnt|end|total|sentinel)s?(_|$)/i;

function emptyChange(): TypeChange {
  return { severity: "compatible", facts: [], added: [], onlyAdded: true, onlyMoved: true, kinds: new Set() };
}

function kindChange(before: CType, after: CType): TypeChange {
  const fact = `it changes from ${describeType(before)} to ${describeType(after)}`;
  return { ...emptyChange(), severity: "changed", facts: [fact], onlyAdded: false, onlyMoved: false };
}

function byName(fields: readonly Field[]): Map<string, Field> {
  const map = new Map<string, Field>();
  // Unnamed bit-fields are padding.
  for (const field of fields) if (!map.has(field.name)) map.set(field.name, field);
  return map;
}

/** A structure by value, also in an array. */
function holdsStructure(type: CType | undefined): boolean {
  let inner = stripped(type);
  for (let depth = 0; inner?.kind === "array" && depth < maxDepth; depth++) inner = stripped(inner.target);
  return inner?.isAggregate ?? false;
}

function overlap(a: Field, b: Field): boolean {
  return a.bitOffset < b.bitOffset + b.bitSize && b.bitOffset < a.bitOffset + a.bitSize;
}

function movedText(moved: readonly { old: Field; now: Field }[]): string {
  const first = moved[0]!;
  const rest = moved.length > 1 ? ` (and ${moved.length - 1} more members)` : "";
  return `${first.old.name} moves from ${offsetText(first.old)} to ${offsetText(first.now)}${rest}`;
}

/** "offset 12", "offset 12, bit 3". */
export function offsetText({ bitOffset, isBitField }: Pick<Field, "bitOffset" | "isBitField">): string {
  const byte = Math.floor(bitOffset / 8);
  return isBitField ? `offset ${byte}, bit ${bitOffset % 8}` : `offset ${byte}`;
}

export function describeField({ name, type, isBitField, bitSize }: Field): string {
  const inner = name.lastIndexOf(".");
  const text = describeMember(name.slice(inner + 1), type, isBitField ? bitSize : undefined);
  return inner < 0 ? `"${text}"` : `"${text}" of ${name.slice(0, inner)}`;
}

function declared({ type, isBitField, bitSize }: Field): string {
  return `"${describeType(type)}${isBitField ? `:${bitSize}` : ""}"`;
}
