/**
 * BTF, the kernel's compact description of its own types (Documentation/bpf/btf.rst, include/uapi/linux/btf.h): the
 * section .BTF of vmlinux, and those of modules, which go on where that of vmlinux ends.
 */
import { RekernelError } from "../core/errors.ts";
import { ByteReader, latin1 } from "./bytes.ts";

export const BTF_KIND_INT = 1;
export const BTF_KIND_PTR = 2;
export const BTF_KIND_ARRAY = 3;
export const BTF_KIND_STRUCT = 4;
export const BTF_KIND_UNION = 5;
export const BTF_KIND_ENUM = 6;
export const BTF_KIND_FWD = 7;
export const BTF_KIND_TYPEDEF = 8;
export const BTF_KIND_VOLATILE = 9;
export const BTF_KIND_CONST = 10;
export const BTF_KIND_RESTRICT = 11;
export const BTF_KIND_FUNC_PROTO = 13;
const BTF_KIND_VAR = 14;
const BTF_KIND_DATASEC = 15;
export const BTF_KIND_FLOAT = 16;
const BTF_KIND_DECL_TAG = 17;
export const BTF_KIND_TYPE_TAG = 18;
export const BTF_KIND_ENUM64 = 19;

const magic = 0xeb9f;
/** Longer than any name of C in use; keeps hostile offsets into one long string from exhausting memory. */
const maxNameBytes = 1024;

export interface BtfMember {
  name: string;
  /** 0 for void. */
  type: number;
  bitOffset: number;
  /** Of a bit-field. */
  bitSize: number | undefined;
}

/** Types by their id; 0 is void. Nothing is decoded before it is asked for. */
export class Btf {
  readonly name: string;
  /** The types that this one's go on from: those of vmlinux for a module's. */
  readonly base: Btf | undefined;
  readonly #reader: ByteReader;
  /** Where each type's description begins; the first is the one with the id firstId. */
  readonly #offsets: Uint32Array;
  readonly #strings: Uint8Array;
  #text: string | undefined;
  #byName: Map<string, number[]> | undefined;

  /** @throws RekernelError RK-BAD-BTF (1) */
  constructor(bytes: Uint8Array, name: string, base?: Btf) {
    this.name = name;
    this.base = base;
    const reader = new ByteReader(bytes, (reason) => badBtf(name, reason));
    this.#reader = reader;
    if (reader.u16(0) !== magic) throw badBtf(name, "it does not begin with BTF's magic number");
    if (reader.u8(2) !== 1) throw badBtf(name, `it has version ${reader.u8(2)}`);
    const header = reader.u32(4);
    const types = header + reader.u32(8);
    const end = types + reader.u32(12);
    this.#strings = reader.slice(header + reader.u32(16), reader.u32(20), "the string section");
    if (end > bytes.length) throw badBtf(name, "its types run over its end");
    // Each type takes 12 bytes or more.
    const offsets = new Uint32Array(Math.floor((end - types) / 12));
    let count = 0;
    for (let at = types; at < end; count++) {
      if (at + 12 > end) throw badBtf(name, "its last type is incomplete");
      offsets[count] = at;
      const info = reader.u32(at + 4);
      at += 12 + extraBytes((info >>> 24) & 31, info & 0xffff, name);
      if (at > end) throw badBtf(name, "its last type is incomplete");
    }
    this.#offsets = offsets.subarray(0, count);
  }

  /** Ids below are those of {@link base}, or void. */
  get firstId(): number {
    return this.base ? this.base.endId : 1;
  }

  /** The id behind the last one. */
  get endId(): number {
    return this.firstId + this.#offsets.length;
  }

  /** BTF_KIND_…; 0 for void. */
  kindOf(id: number): number {
    return id === 0 ? 0 : this.#at(id, (btf, at) => (btf.#reader.u32(at + 4) >>> 24) & 31);
  }

  nameOf(id: number): string {
    return id === 0 ? "void" : this.#at(id, (btf, at) => btf.#string(btf.#reader.u32(at)));
  }

  /** In bytes, of a number, structure, union or enumeration. */
  sizeOf(id: number): number {
    return this.#at(id, (btf, at) => btf.#reader.u32(at + 8));
  }

  /** What a pointer, typedef, qualifier or function leads to; what an array has. */
  targetOf(id: number): number {
    const isArray = this.kindOf(id) === BTF_KIND_ARRAY;
    return this.#at(id, (btf, at) => btf.#reader.u32(at + (isArray ? 12 : 8)));
  }

  /** Elements of an array. */
  elementsOf(id: number): number {
    return this.#at(id, (btf, at) => btf.#reader.u32(at + 20));
  }

  /** Members of a structure or union. */
  membersOf(id: number): BtfMember[] {
    return this.#at(id, (btf, at) => {
      const info = btf.#reader.u32(at + 4);
      const hasBitFields = info >>> 31 === 1;
      return Array.from({ length: info & 0xffff }, (_, i) => {
        const entry = at + 12 + i * 12;
        const offset = btf.#reader.u32(entry + 8);
        const bits = hasBitFields ? offset >>> 24 : 0;
        return {
          name: btf.#string(btf.#reader.u32(entry)),
          type: btf.#reader.u32(entry + 4),
          bitOffset: hasBitFields ? offset & 0xffffff : offset,
          bitSize: bits === 0 ? undefined : bits,
        };
      });
    });
  }

  enumeratorsOf(id: number): { name: string; value: bigint }[] {
    const isWide = this.kindOf(id) === BTF_KIND_ENUM64;
    return this.#at(id, (btf, at) => {
      const info = btf.#reader.u32(at + 4);
      const isSigned = info >>> 31 === 1;
      return Array.from({ length: info & 0xffff }, (_, i) => {
        const entry = at + 12 + i * (isWide ? 12 : 8);
        const low = btf.#reader.u32(entry + 4);
        const bits = isWide ? BigInt(low) | (BigInt(btf.#reader.u32(entry + 8)) << 32n) : BigInt(low);
        const width = isWide ? 64 : 32;
        return {
          name: btf.#string(btf.#reader.u32(entry)),
          value: isSigned ? BigInt.asIntN(width, bits) : bits,
        };
      });
    });
  }

  /** Types of a function's parameters; a last 0 stands for "...". */
  parametersOf(id: number): number[] {
    return this.#at(id, (btf, at) => {
      const count = btf.#reader.u32(at + 4) & 0xffff;
      return Array.from({ length: count }, (_, i) => btf.#reader.u32(at + 16 + i * 8));
    });
  }

  /** Structures and unions of a name, those of the base among them. */
  structuresNamed(name: string): readonly number[] {
    this.#byName ??= this.#indexNames();
    return [...(this.base?.structuresNamed(name) ?? []), ...(this.#byName.get(name) ?? [])];
  }

  #indexNames(): Map<string, number[]> {
    const byName = new Map<string, number[]>();
    for (const [index, at] of this.#offsets.entries()) {
      const kind = (this.#reader.u32(at + 4) >>> 24) & 31;
      if (kind !== BTF_KIND_STRUCT && kind !== BTF_KIND_UNION) continue;
      const name = this.#string(this.#reader.u32(at));
      const known = byName.get(name);
      if (known) known.push(this.firstId + index);
      else byName.set(name, [this.firstId + index]);
    }
    return byName;
  }

  #at<T>(id: number, read: (btf: Btf, at: number) => T): T {
    if (id < this.firstId && this.base) return this.base.#at(id, read);
    const at = this.#offsets[id - this.firstId];
    if (at === undefined) throw badBtf(this.name, `it refers to the type ${id}, which it does not have`);
    return read(this, at);
  }

  /** A module's strings go on where those of its base end. */
  #string(offset: number): string {
    const start = this.#stringsStart;
    if (offset < start && this.base) return this.base.#string(offset);
    // As one text: thousands of names are cut out of it.
    this.#text ??= latin1(this.#strings);
    const from = offset - start;
    const end = this.#text.indexOf("\0", from);
    return this.#text.slice(from, Math.min(end < 0 ? this.#text.length : end, from + maxNameBytes));
  }

  get #stringsStart(): number {
    return this.base ? this.base.#stringsStart + this.base.#strings.length : 0;
  }
}

/** What follows the 12 bytes that all kinds have. */
function extraBytes(kind: number, count: number, name: string): number {
  switch (kind) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
      return 4;
    case BTF_KIND_ARRAY:
      return 12;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_DATASEC:
    case BTF_KIND_ENUM64:
      return count * 12;
    case BTF_KIND_ENUM:
    case BTF_KIND_FUNC_PROTO:
      return count * 8;
    default:
      if (kind === 0 || kind > BTF_KIND_ENUM64)
        throw badBtf(name, `it has a type of the unknown kind ${kind}`);
      return 0;
  }
}

function badBtf(name: string, reason: string): RekernelError {
  return new RekernelError("failed", "RK-BAD-BTF", `The BTF of ${name} cannot be read: ${reason}.`, {
    hint: "The file is damaged, or of a kernel newer than this version of rekernel.",
  });
}
