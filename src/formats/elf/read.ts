/**
 * Reads ELF64 little-endian files: relocatable objects, kernel modules, vmlinux.
 *
 * Source: System V gABI chapters 4 and 5; x86-64 psABI for relocations (RELA only).
 */
import { RekernelError } from "../../core/errors.ts";
import { ByteReader, cString, latin1 } from "../bytes.ts";
import {
  ET_REL,
  SHN_LORESERVE,
  SHN_XINDEX,
  SHT_NOBITS,
  SHT_NULL,
  SHT_RELA,
  SHT_SYMTAB,
  SHT_SYMTAB_SHNDX,
  STT_SECTION,
} from "./constants.ts";

export interface ElfHeader {
  /** ET_REL, ET_EXEC, ET_DYN … */
  type: number;
  /** EM_… */
  machine: number;
  entry: bigint;
  flags: number;
}

export interface ElfSection {
  index: number;
  name: string;
  type: number;
  flags: number;
  address: bigint;
  offset: number;
  /** In memory; equals data.length except for SHT_NOBITS. */
  size: number;
  link: number;
  info: number;
  addralign: number;
  entsize: number;
  /** A view of the file; empty for SHT_NOBITS. */
  data: Uint8Array;
}

export interface ElfSegment {
  type: number;
  flags: number;
  offset: number;
  virtualAddress: bigint;
  physicalAddress: bigint;
  fileSize: number;
  memorySize: number;
  align: number;
}

export interface ElfSymbol {
  index: number;
  /** A section symbol carries its section's name. */
  name: string;
  /** Offset in its section in relocatable files, address otherwise. */
  value: bigint;
  size: number;
  bind: number;
  type: number;
  visibility: number;
  /** Section index, or SHN_UNDEF, SHN_ABS, SHN_LIVEPATCH … */
  shndx: number;
}

export interface ElfRelocation {
  /** In the relocated section. */
  offset: number;
  type: number;
  /** Index in the symbol table. */
  symbol: number;
  addend: number;
}

/** More sections than any kernel object has; keeps hostile headers from exhausting memory. */
const maxSections = 1_000_000;

export class ElfFile {
  readonly name: string;
  readonly header: ElfHeader;
  readonly sections: readonly ElfSection[];
  readonly segments: readonly ElfSegment[];
  readonly #reader: ByteReader;
  readonly #byName = new Map<string, ElfSection>();
  readonly #relocationSections = new Map<number, ElfSection[]>();
  #symbols: readonly ElfSymbol[] | undefined;

  constructor(name: string, reader: ByteReader) {
    this.name = name;
    this.#reader = reader;
    this.header = this.#readHeader();
    this.segments = this.#readSegments();
    this.sections = this.#readSections();
    for (const section of this.sections) {
      if (!this.#byName.has(section.name)) this.#byName.set(section.name, section);
      if (section.type === SHT_RELA) {
        const known = this.#relocationSections.get(section.info);
        if (known) known.push(section);
        else this.#relocationSections.set(section.info, [section]);
      }
    }
  }

  /** The whole file. */
  get bytes(): Uint8Array {
    return this.#reader.bytes;
  }

  /** The first section of that name. */
  section(name: string): ElfSection | undefined {
    return this.#byName.get(name);
  }

  /** Symbols of .symtab; index 0 is the null symbol. Empty when there is none. */
  get symbols(): readonly ElfSymbol[] {
    this.#symbols ??= this.#readSymbols();
    return this.#symbols;
  }

  /** Relocations that apply to a section, in file order (all SHT_RELA sections whose sh_info names it). */
  relocationsOf(section: ElfSection): ElfRelocation[] {
    return (this.#relocationSections.get(section.index) ?? []).flatMap((rela) =>
      this.relocationsIn(rela, section),
    );
  }

  /** Relocation sections (SHT_RELA) whose sh_info names `section`. */
  relocationSectionsOf(section: ElfSection): readonly ElfSection[] {
    return this.#relocationSections.get(section.index) ?? [];
  }

  /** Decodes one SHT_RELA section; with `target`, offsets are checked against it. */
  relocationsIn(rela: ElfSection, target?: ElfSection): ElfRelocation[] {
    if (rela.entsize !== 24 || rela.size % 24 !== 0)
      throw this.#bad(`section ${rela.name} does not hold Elf64_Rela entries`);
    const symbolCount = this.symbols.length;
    const view = new DataView(rela.data.buffer, rela.data.byteOffset, rela.data.byteLength);
    const relocations: ElfRelocation[] = new Array(rela.size / 24);
    for (let index = 0; index < relocations.length; index++) {
      const at = index * 24;
      const offset = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      const type = view.getUint32(at + 8, true);
      const symbol = view.getUint32(at + 12, true);
      const addend = view.getUint32(at + 16, true) + view.getInt32(at + 20, true) * 2 ** 32;
      if (symbol >= symbolCount)
        throw this.#bad(`a relocation in ${rela.name} names symbol ${symbol} of ${symbolCount}`);
      if (target && this.header.type === ET_REL && offset >= target.size)
        throw this.#bad(
          `a relocation in ${rela.name} lies outside its section (offset ${offset} of ${target.size})`,
        );
      relocations[index] = { offset, type, symbol, addend };
    }
    return relocations;
  }

  #bad(reason: string): RekernelError {
    return badElf(this.name, reason);
  }

  #readHeader(): ElfHeader {
    const r = this.#reader;
    if (r.length < 64 || r.u32(0) !== 0x464c457f) throw this.#bad("it is not an ELF file");
    if (r.u8(4) !== 2) throw this.#bad("it is not a 64-bit ELF file");
    if (r.u8(5) !== 1) throw this.#bad("it is not a little-endian ELF file");
    return { type: r.u16(16), machine: r.u16(18), entry: r.u64(24), flags: r.u32(48) };
  }

  #readSegments(): ElfSegment[] {
    const r = this.#reader;
    const offset = r.size64(32, "the program header table's offset");
    const count = r.u16(56);
    if (count === 0) return [];
    if (r.u16(54) !== 56) throw this.#bad("its program headers have an unknown size");
    r.slice(offset, count * 56, "the program header table");
    return Array.from({ length: count }, (_, index) => {
      const at = offset + index * 56;
      return {
        type: r.u32(at),
        flags: r.u32(at + 4),
        offset: r.size64(at + 8, "a segment's offset"),
        virtualAddress: r.u64(at + 16),
        physicalAddress: r.u64(at + 24),
        fileSize: r.size64(at + 32, "a segment's size"),
        memorySize: r.size64(at + 40, "a segment's memory size"),
        align: r.size64(at + 48, "a segment's alignment"),
      };
    });
  }

  #readSections(): ElfSection[] {
    const r = this.#reader;
    const offset = r.size64(40, "the section header table's offset");
    if (offset === 0) return [];
    if (r.u16(58) !== 64) throw this.#bad("its section headers have an unknown size");
    r.slice(offset, 64, "the section header table");
    // gABI: counts that do not fit 16 bits stand in the first section header.
    const count = r.u16(60) || r.size64(offset + 32, "the section count");
    const stringIndex = r.u16(62) === SHN_XINDEX ? r.u32(offset + 40) : r.u16(62);
    if (count > maxSections) throw this.#bad(`it claims ${count} sections`);
    r.slice(offset, count * 64, "the section header table");

    const sections: ElfSection[] = [];
    for (let index = 0; index < count; index++) {
      const at = offset + index * 64;
      const type = r.u32(at + 4);
      const fileOffset = r.size64(at + 24, "a section's offset");
      const size = r.size64(at + 32, "a section's size");
      const inFile = type !== SHT_NOBITS && type !== SHT_NULL;
      sections.push({
        index,
        name: "",
        type,
        flags: r.u32(at + 8),
        address: r.u64(at + 16),
        offset: fileOffset,
        size,
        link: r.u32(at + 40),
        info: r.u32(at + 44),
        addralign: r.size64(at + 48, "a section's alignment"),
        entsize: r.size64(at + 56, "a section's entry size"),
        data: inFile ? r.slice(fileOffset, size, `section ${index}`) : r.bytes.subarray(0, 0),
      });
    }
    const names = sections[stringIndex];
    if (count > 0 && !names) throw this.#bad("its section name table does not exist");
    for (const section of sections) {
      const nameOffset = r.u32(offset + section.index * 64);
      if (names && nameOffset > 0 && nameOffset >= names.data.length)
        throw this.#bad(`section ${section.index} has a name outside the name table`);
      section.name = names ? cString(names.data, nameOffset) : "";
    }
    return sections;
  }

  #readSymbols(): ElfSymbol[] {
    const table = this.sections.find((section) => section.type === SHT_SYMTAB);
    if (!table) return [];
    if (table.entsize !== 24 || table.size % 24 !== 0)
      throw this.#bad("its symbol table does not hold Elf64_Sym entries");
    const strings = this.sections[table.link];
    if (!strings) throw this.#bad("its symbol table has no string table");
    const extended = this.sections.find(
      (section) => section.type === SHT_SYMTAB_SHNDX && section.link === table.index,
    );
    const text = latin1(strings.data);
    const view = new DataView(table.data.buffer, table.data.byteOffset, table.data.byteLength);
    const count = table.size / 24;
    if (extended && extended.size < count * 4)
      throw this.#bad("its extended section index table is too short");
    const symbols: ElfSymbol[] = new Array(count);
    for (let index = 0; index < count; index++) {
      const at = index * 24;
      const nameOffset = view.getUint32(at, true);
      const info = view.getUint8(at + 4);
      let shndx = view.getUint16(at + 6, true);
      if (shndx === SHN_XINDEX && extended)
        shndx = new DataView(extended.data.buffer, extended.data.byteOffset).getUint32(index * 4, true);
      const isIndex = shndx < SHN_LORESERVE || (extended !== undefined && shndx > SHN_XINDEX);
      if (isIndex && shndx >= this.sections.length)
        throw this.#bad(`symbol ${index} lies in section ${shndx} of ${this.sections.length}`);
      const type = info & 15;
      const end = text.indexOf("\0", nameOffset);
      const name = nameOffset === 0 ? "" : text.slice(nameOffset, end < 0 ? text.length : end);
      symbols[index] = {
        index,
        name: name === "" && type === STT_SECTION ? (this.sections[shndx]?.name ?? "") : name,
        value: view.getBigUint64(at + 8, true),
        size: view.getUint32(at + 16, true) + view.getUint32(at + 20, true) * 2 ** 32,
        bind: info >> 4,
        type,
        visibility: view.getUint8(at + 5) & 3,
        shndx,
      };
    }
    return symbols;
  }
}

/**
 * @param name how messages call the file
 * @throws RekernelError RK-BAD-ELF (1)
 */
export function readElf(bytes: Uint8Array, name = "The ELF file"): ElfFile {
  return new ElfFile(name, new ByteReader(bytes, (reason) => badElf(name, reason)));
}

export function badElf(name: string, reason: string): RekernelError {
  return new RekernelError("failed", "RK-BAD-ELF", `${name} cannot be read: ${reason}.`, {
    hint: "The file is damaged, truncated, or not what its name says.",
  });
}
