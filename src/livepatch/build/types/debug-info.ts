/** What an object's debug information tells about its functions, variables and types. */
import * as dw from "../../../formats/dwarf/constants.ts";
import { DwarfInfo, type Entry, hasDebugInfo } from "../../../formats/dwarf/info.ts";
import { encodePlace } from "../../../formats/dwarf/sections.ts";
import { SHN_LORESERVE, SHN_UNDEF, STT_FILE, STT_SECTION } from "../../../formats/elf/constants.ts";
import { type ElfFile, readElf } from "../../../formats/elf/read.ts";
import { DwarfTypes } from "./dwarf-types.ts";
import type { CType } from "./model.ts";
import { nameOf, sourcePlace } from "./places.ts";

export interface UnitDebugInfo {
  /**
   * Source place "path:line" of a function or variable that the object defines, by its name in the symbol table.
   *
   * Paths are relative to the source tree. Lines are those that the compiler counted: a patched unit is compiled with
   * `#line` directives (line-directives.ts), so that a line which the unpatched file has too keeps the number it has
   * there, and a new line the number that follows the line before it.
   */
  placeOf(name: string): string | undefined;
  /** Type of a variable that the object defines, by its name in the symbol table. */
  typeOf(name: string): CType | undefined;
  /** Functions of the symbol table into which the compiler inlined a function of this source name. */
  carriersOf(inlined: string): readonly string[];
  types: DwarfTypes;
}

/**
 * @param name what messages call the object
 * @returns undefined for an object without debug information
 * @throws RekernelError RK-BAD-ELF, RK-BAD-DWARF (1)
 */
export function readDebugInfo(bytes: Uint8Array, name: string): UnitDebugInfo | undefined {
  const elf = readElf(bytes, name);
  return hasDebugInfo(elf) ? new DebugInfo(elf) : undefined;
}

class DebugInfo implements UnitDebugInfo {
  readonly dwarf: DwarfInfo;
  readonly types: DwarfTypes;
  readonly #elf: ElfFile;
  #entries: Map<string, Entry> | undefined;
  #symbols: Map<Entry, readonly string[]> | undefined;
  #carriers: Map<string, Set<string>> | undefined;

  constructor(elf: ElfFile) {
    this.#elf = elf;
    this.dwarf = new DwarfInfo(elf);
    this.types = new DwarfTypes(this.dwarf);
  }

  placeOf(name: string): string | undefined {
    const entry = this.#byName().get(name);
    return entry === undefined ? undefined : sourcePlace(this.dwarf, entry);
  }

  typeOf(name: string): CType | undefined {
    const entry = this.#byName().get(name);
    if (entry === undefined || this.dwarf.tagOf(entry) !== dw.DW_TAG_variable) return undefined;
    return this.types.typeOf(entry);
  }

  carriersOf(inlined: string): readonly string[] {
    this.#carriers ??= this.#findCarriers();
    return [...(this.#carriers.get(inlined) ?? [])].sort();
  }

  #byName(): Map<string, Entry> {
    if (this.#entries) return this.#entries;
    this.#entries = new Map();
    for (const [entry, names] of this.#named()) for (const name of names) this.#entries.set(name, entry);
    return this.#entries;
  }

  /** Functions and variables that lie somewhere, with their symbols. */
  #named(): Map<Entry, readonly string[]> {
    if (this.#symbols) return this.#symbols;
    const { dwarf } = this;
    const at = new Map<number, string[]>();
    for (const { name, shndx, type, value } of this.#elf.symbols) {
      if (shndx === SHN_UNDEF || shndx >= SHN_LORESERVE || type === STT_SECTION || type === STT_FILE)
        continue;
      const place = encodePlace(shndx, Number(value));
      const same = at.get(place);
      if (same) same.push(name);
      else at.set(place, [name]);
    }
    this.#symbols = new Map();
    for (let entry = 0; entry < dwarf.count; entry++) {
      const tag = dwarf.tagOf(entry);
      if (tag !== dw.DW_TAG_subprogram && tag !== dw.DW_TAG_variable) continue;
      const place = dwarf.placeOf(entry);
      const names = place === undefined ? undefined : at.get(place);
      if (names) this.#symbols.set(entry, names);
    }
    return this.#symbols;
  }

  #findCarriers(): Map<string, Set<string>> {
    const { dwarf } = this;
    const carriers = new Map<string, Set<string>>();
    for (const [carrier, symbols] of this.#named()) {
      if (dwarf.tagOf(carrier) !== dw.DW_TAG_subprogram) continue;
      const end = dwarf.endOf(carrier);
      for (let entry = carrier + 1; entry < end; entry++) {
        if (dwarf.tagOf(entry) !== dw.DW_TAG_inlined_subroutine) continue;
        const name = nameOf(dwarf, entry);
        if (name === "") continue;
        const known = carriers.get(name) ?? new Set();
        // Of a function that is split, the part behind its entry comes back as if it were inlined.
        for (const symbol of symbols) if (symbol !== name) known.add(symbol);
        carriers.set(name, known);
      }
    }
    return carriers;
  }
}
