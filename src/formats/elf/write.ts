/**
 * Writes ELF64 x86-64 relocatable files (gABI chapter 4).
 *
 * The caller gives sections, symbols and relocations by reference; indices, string tables,
 * and the order that the specification wants (local symbols first) are made here.
 */
import {
  EM_X86_64,
  ET_REL,
  SHF_INFO_LINK,
  SHN_UNDEF,
  SHT_NOBITS,
  SHT_RELA,
  SHT_STRTAB,
  SHT_SYMTAB,
  STB_LOCAL,
  STT_SECTION,
} from "./constants.ts";

export interface OutputSection {
  name: string;
  type: number;
  flags: number;
  addralign: number;
  entsize: number;
  data: Uint8Array;
  /** Size in memory; only differs from data.length for SHT_NOBITS. */
  size: number;
  /** Written as one SHT_RELA section named `.rela` + name unless `relocationName` is given. */
  relocations: OutputRelocation[];
  /** More relocation sections that apply to this one, such as `.klp.rela.vmlinux..text`. */
  extraRelocations?: { name: string; flags: number; relocations: OutputRelocation[] }[];
  /** sh_link and sh_info for section types that carry section references of their own. */
  link?: OutputSection;
}

export interface OutputSymbol {
  name: string;
  value: bigint;
  size: number;
  bind: number;
  type: number;
  visibility: number;
  /** A section, or a reserved index (SHN_UNDEF, SHN_ABS, SHN_LIVEPATCH). */
  section: OutputSection | number;
}

export interface OutputRelocation {
  offset: number;
  type: number;
  symbol: OutputSymbol;
  addend: number;
}

export interface OutputObject {
  sections: OutputSection[];
  symbols: OutputSymbol[];
}

/** Serialises a relocatable object. Equal input gives equal bytes. */
export function writeElf(object: OutputObject): Uint8Array {
  const sectionNames = new StringTable();
  const symbolNames = new StringTable();
  const symbols = [...object.symbols].sort(
    (a, b) => Number(a.bind !== STB_LOCAL) - Number(b.bind !== STB_LOCAL),
  );
  const symbolIndex = new Map(symbols.map((symbol, index) => [symbol, index + 1]));
  const sectionIndex = new Map(object.sections.map((section, index) => [section, index + 1]));
  const relocationCount = object.sections.reduce(
    (count, section) =>
      count + Number(section.relocations.length > 0) + (section.extraRelocations?.length ?? 0),
    0,
  );
  const symtabIndex = object.sections.length + relocationCount + 1;

  const headers: Header[] = [nullHeader];
  for (const section of object.sections)
    headers.push({
      name: sectionNames.add(section.name),
      type: section.type,
      flags: section.flags,
      data: section.type === SHT_NOBITS ? new Uint8Array(0) : section.data,
      size: section.type === SHT_NOBITS ? section.size : section.data.length,
      link: section.link ? indexOf(sectionIndex, section.link, section.name) : 0,
      info: 0,
      addralign: section.addralign,
      entsize: section.entsize,
    });
  const addRelocations = (
    section: OutputSection,
    name: string,
    flags: number,
    relocations: OutputRelocation[],
  ) => {
    const data = new Uint8Array(relocations.length * 24);
    const view = new DataView(data.buffer);
    relocations.forEach((relocation, index) => {
      const at = index * 24;
      view.setBigUint64(at, BigInt(relocation.offset), true);
      view.setUint32(at + 8, relocation.type, true);
      view.setUint32(at + 12, indexOf(symbolIndex, relocation.symbol, relocation.symbol.name), true);
      view.setBigInt64(at + 16, BigInt(relocation.addend), true);
    });
    headers.push({
      name: sectionNames.add(name),
      type: SHT_RELA,
      flags: flags | SHF_INFO_LINK,
      data,
      size: data.length,
      link: symtabIndex,
      info: indexOf(sectionIndex, section, section.name),
      addralign: 8,
      entsize: 24,
    });
  };
  for (const section of object.sections) {
    if (section.relocations.length > 0)
      addRelocations(section, `.rela${section.name}`, 0, section.relocations);
    for (const extra of section.extraRelocations ?? [])
      addRelocations(section, extra.name, extra.flags, extra.relocations);
  }

  const symtab = new Uint8Array((symbols.length + 1) * 24);
  const view = new DataView(symtab.buffer);
  symbols.forEach((symbol, index) => {
    const at = (index + 1) * 24;
    view.setUint32(at, symbol.type === STT_SECTION ? 0 : symbolNames.add(symbol.name), true);
    view.setUint8(at + 4, (symbol.bind << 4) | symbol.type);
    view.setUint8(at + 5, symbol.visibility);
    view.setUint16(
      at + 6,
      typeof symbol.section === "number"
        ? symbol.section
        : indexOf(sectionIndex, symbol.section, symbol.name),
      true,
    );
    view.setBigUint64(at + 8, symbol.value, true);
    view.setBigUint64(at + 16, BigInt(symbol.size), true);
  });
  const localCount = symbols.filter((symbol) => symbol.bind === STB_LOCAL).length + 1;
  headers.push({
    name: sectionNames.add(".symtab"),
    type: SHT_SYMTAB,
    flags: 0,
    data: symtab,
    size: symtab.length,
    link: symtabIndex + 1,
    info: localCount,
    addralign: 8,
    entsize: 24,
  });
  const strtab = symbolNames.bytes();
  headers.push({
    name: sectionNames.add(".strtab"),
    type: SHT_STRTAB,
    flags: 0,
    data: strtab,
    size: strtab.length,
    link: 0,
    info: 0,
    addralign: 1,
    entsize: 0,
  });
  const shstrtabName = sectionNames.add(".shstrtab");
  const shstrtab = sectionNames.bytes();
  headers.push({
    name: shstrtabName,
    type: SHT_STRTAB,
    flags: 0,
    data: shstrtab,
    size: shstrtab.length,
    link: 0,
    info: 0,
    addralign: 1,
    entsize: 0,
  });
  return layOut(headers);
}

interface Header {
  name: number;
  type: number;
  flags: number;
  data: Uint8Array;
  size: number;
  link: number;
  info: number;
  addralign: number;
  entsize: number;
}

const nullHeader: Header = {
  name: 0,
  type: 0,
  flags: 0,
  data: new Uint8Array(0),
  size: 0,
  link: 0,
  info: SHN_UNDEF,
  addralign: 0,
  entsize: 0,
};

function layOut(headers: readonly Header[]): Uint8Array {
  let offset = 64;
  const offsets = headers.map((header) => {
    offset = alignUp(offset, Math.max(header.addralign, 1));
    const at = offset;
    offset += header.data.length;
    return at;
  });
  const tableOffset = alignUp(offset, 8);
  const bytes = new Uint8Array(tableOffset + headers.length * 64);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, ET_REL, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(40, BigInt(tableOffset), true);
  view.setUint16(52, 64, true);
  view.setUint16(58, 64, true);
  // gABI: a count or index of 0xff00 and above stands in the first section header instead.
  const large = headers.length >= 0xff00;
  view.setUint16(60, large ? 0 : headers.length, true);
  view.setUint16(62, large ? 0xffff : headers.length - 1, true);
  headers.forEach((header, index) => {
    bytes.set(header.data, offsets[index]!);
    const at = tableOffset + index * 64;
    view.setUint32(at, header.name, true);
    view.setUint32(at + 4, header.type, true);
    view.setBigUint64(at + 8, BigInt(header.flags), true);
    view.setBigUint64(at + 24, BigInt(index === 0 ? 0 : offsets[index]!), true);
    view.setBigUint64(at + 32, BigInt(index === 0 && large ? headers.length : header.size), true);
    view.setUint32(at + 40, index === 0 && large ? headers.length - 1 : header.link, true);
    view.setUint32(at + 44, header.info, true);
    view.setBigUint64(at + 48, BigInt(header.addralign), true);
    view.setBigUint64(at + 56, BigInt(header.entsize), true);
  });
  return bytes;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

function indexOf<T>(indices: ReadonlyMap<T, number>, item: T, name: string): number {
  const index = indices.get(item);
  if (index === undefined) throw new Error(`${name} is referred to but not part of the object`);
  return index;
}

class StringTable {
  readonly #offsets = new Map<string, number>([["", 0]]);
  readonly #parts: string[] = ["\0"];
  #size = 1;

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#size;
    this.#offsets.set(text, offset);
    this.#parts.push(text, "\0");
    this.#size += text.length + 1;
    return offset;
  }

  bytes(): Uint8Array {
    return Buffer.from(this.#parts.join(""), "latin1");
  }
}
