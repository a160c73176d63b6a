/** Turns the included pieces of one unit into a relocatable object that is linked into the module. */
import {
  SHF_ALLOC,
  SHF_WRITE,
  SHN_ABS,
  SHN_UNDEF,
  SHT_PROGBITS,
  STB_GLOBAL,
  STB_LOCAL,
  STB_WEAK,
  STT_FILE,
  STT_NOTYPE,
  STT_SECTION,
} from "../../../formats/elf/constants.ts";
import type { ElfSection } from "../../../formats/elf/read.ts";
import {
  type OutputObject,
  type OutputRelocation,
  type OutputSection,
  type OutputSymbol,
  writeElf,
} from "../../../formats/elf/write.ts";
import { patchVariable } from "../author/author-header.ts";
import { type Piece, pieceBytes, type TableEntry } from "../object/object.ts";
import type { IncludedPiece, IncludedReference } from "./inclusion.ts";
import type { Binding, KlpBinding } from "./resolve.ts";

/** struct static_key (include/linux/jump_label.h), at its largest. */
const staticKeySize = 32;
/** Bits of an entry's key that say how its site is compiled (arch/x86/include/asm/jump_label.h). */
const keyBits = 3;
/** Bits that tie a section to others of its old object. */
const SHF_LINK_ORDER = 0x80;
const SHF_GROUP = 0x200;

/**
 * What every module defines for itself (include/linux/module.h, scripts/mod/modpost.c). A patched module's own
 * `__this_module` is another one: whoever takes a reference to it with THIS_MODULE must not get this module's.
 */
const definedByKbuild: ReadonlySet<string> = new Set([
  "__this_module",
  "init_module",
  "cleanup_module",
  patchVariable,
]);

/**
 * Names under which livepatch's symbols stay undefined until the module is linked.
 * A plain name is kept where it can be: objtool knows functions that do not return by their names.
 */
export class KlpSymbolNames {
  readonly #taken: ReadonlySet<string>;
  readonly #nameOf = new Map<string, string>();
  /** What each undefined name stands for. */
  readonly bindings = new Map<string, KlpBinding>();

  /** @param taken names that mean something else in the module: exports, and what it defines itself */
  constructor(taken: ReadonlySet<string>) {
    this.#taken = taken;
  }

  nameFor(binding: KlpBinding): string {
    const identity = `${binding.relocatedFor} ${binding.object} ${binding.name} ${binding.sympos}`;
    const known = this.#nameOf.get(identity);
    if (known !== undefined) return known;
    // A call of a static call's trampoline is right by itself; by its own name objtool would make it a site
    // that the kernel rewrites before livepatch has bound the key.
    const plain =
      !this.#taken.has(binding.name) &&
      !definedByKbuild.has(binding.name) &&
      !this.bindings.has(binding.name) &&
      !binding.name.startsWith("__SCT__");
    const name = plain ? binding.name : `__klp_${identity.replaceAll(" ", "_")}`;
    this.#nameOf.set(identity, name);
    this.bindings.set(name, binding);
    return name;
  }
}

export interface UnitOutput {
  /** The unit's source file, for the object's STT_FILE symbol. */
  source: string;
  included: readonly IncludedPiece[];
  /** How each outside reference is bound. */
  bind(reference: IncludedReference): Binding;
  /** Jump labels that nothing may switch: they get a key that nobody knows. */
  staysDefault(entry: TableEntry): boolean;
  /** Global names by which the module's klp_func entries reach the new functions. */
  functionAliases: ReadonlyMap<Piece, string>;
  /** New functions and variables that other units refer to. */
  isGlobal(piece: Piece): boolean;
}

export function unitOutputObject(unit: UnitOutput, names: KlpSymbolNames): Uint8Array {
  const object: OutputObject = { sections: [], symbols: [] };
  const sections = new Map<Piece, { section: OutputSection; symbol: OutputSymbol }>();
  object.symbols.push({
    name: unit.source.split("/").at(-1)!,
    value: 0n,
    size: 0,
    bind: STB_LOCAL,
    type: STT_FILE,
    visibility: 0,
    section: SHN_ABS,
  });

  const addSection = (from: ElfSection, data: Uint8Array, size: number, addralign: number) => {
    const name = moduleSectionName(from.name);
    const section: OutputSection = {
      name,
      type: from.type,
      flags: from.flags & ~(SHF_LINK_ORDER | SHF_GROUP),
      addralign,
      entsize: from.entsize,
      data,
      size,
      relocations: [],
    };
    const symbol: OutputSymbol = {
      name,
      value: 0n,
      size: 0,
      bind: STB_LOCAL,
      type: STT_SECTION,
      visibility: 0,
      section,
    };
    object.sections.push(section);
    object.symbols.push(symbol);
    return { section, symbol };
  };

  for (const { piece, bytes } of unit.included) {
    const made = addSection(
      piece.section,
      bytes,
      Math.max(piece.end - piece.start, bytes.length),
      alignmentOf(piece),
    );
    sections.set(piece, made);
    // Near jumps behind a function are a part of it.
    const added = Math.max(bytes.length - (piece.end - piece.start), 0);
    for (const symbol of piece.symbols)
      object.symbols.push({
        name: symbol.name,
        value: symbol.value - BigInt(piece.start),
        size: symbol.size + added,
        bind: unit.isGlobal(piece) && symbol.bind !== STB_LOCAL ? symbol.bind : STB_LOCAL,
        type: symbol.type,
        visibility: 0,
        section: made.section,
      });
    const alias = unit.functionAliases.get(piece);
    if (alias !== undefined)
      object.symbols.push({
        name: alias,
        value: BigInt(piece.entry),
        size: piece.symbols[0]!.size + added,
        bind: STB_GLOBAL,
        type: piece.symbols[0]!.type,
        visibility: 0,
        section: made.section,
      });
  }

  const undefinedSymbols = new Map<string, OutputSymbol>();
  const undefinedSymbol = (binding: Binding): OutputSymbol => {
    const name = binding.kind === "klp" ? names.nameFor(binding) : binding.name;
    const known = undefinedSymbols.get(name);
    if (known) return known;
    const bind = binding.kind === "absent" ? STB_WEAK : STB_GLOBAL;
    const symbol: OutputSymbol = {
      name,
      value: 0n,
      size: 0,
      bind,
      type: STT_NOTYPE,
      visibility: 0,
      section: SHN_UNDEF,
    };
    undefinedSymbols.set(name, symbol);
    object.symbols.push(symbol);
    return symbol;
  };
  const relocation = (reference: IncludedReference, base: number): OutputRelocation => {
    const { destination, type } = reference;
    const offset = base + reference.offset;
    if (destination.kind === "included")
      return { offset, type, symbol: sections.get(destination.piece)!.symbol, addend: destination.addend };
    const bias = destination.kind === "original" ? destination.piece.entry : 0;
    return { offset, type, symbol: undefinedSymbol(unit.bind(reference)), addend: destination.addend - bias };
  };

  // Without its entry a site would not be off: gcc emits a jump, of which objtool makes a NOP because of the entry.
  let unknownKey: OutputSymbol | undefined;
  const relocationToUnknownKey = ({ offset, type, target }: IncludedReference, base: number) => {
    const bits = target.addend & keyBits;
    unknownKey ??= addUnknownKey();
    return { offset: base + offset, type, symbol: unknownKey, addend: bits };
  };
  const addUnknownKey = () => {
    const symbol: OutputSymbol = {
      name: ".data.rekernel_unknown_key",
      value: 0n,
      size: 0,
      bind: STB_LOCAL,
      type: STT_SECTION,
      visibility: 0,
      section: {
        name: ".data.rekernel_unknown_key",
        type: SHT_PROGBITS,
        flags: SHF_ALLOC | SHF_WRITE,
        addralign: 8,
        entsize: 0,
        data: new Uint8Array(staticKeySize),
        size: staticKeySize,
        relocations: [],
      },
    };
    object.sections.push(symbol.section as OutputSection);
    object.symbols.push(symbol);
    return symbol;
  };

  for (const { piece, references } of unit.included)
    sections.get(piece)!.section.relocations.push(...references.map((reference) => relocation(reference, 0)));

  const tables = new Map<
    string,
    { from: ElfSection; parts: Uint8Array[]; size: number; relocations: OutputRelocation[] }
  >();
  for (const { tableEntries } of unit.included)
    for (const entry of tableEntries) {
      const table = tables.get(entry.section.name) ?? {
        from: entry.section,
        parts: [],
        size: 0,
        relocations: [],
      };
      tables.set(entry.section.name, table);
      const last = unit.staysDefault(entry) ? entry.references.at(-1) : undefined;
      table.relocations.push(
        ...entry.references.map((reference) =>
          reference === last
            ? relocationToUnknownKey(reference, table.size)
            : relocation(reference, table.size),
        ),
      );
      const bytes = new Uint8Array(entry.end - entry.start);
      bytes.set(pieceBytes(entry));
      table.parts.push(bytes);
      table.size += bytes.length;
    }
  for (const { from, parts, size, relocations } of tables.values())
    addSection(from, Buffer.concat(parts), size, Math.max(from.addralign, 1)).section.relocations.push(
      ...relocations,
    );

  return writeElf(object);
}

/** The module loader makes per-CPU data of one section alone (find_pcpusec() in kernel/module/main.c). */
function moduleSectionName(name: string): string {
  return name.startsWith(".data..percpu") ? ".data..percpu" : name;
}

/** A piece cut out of a section keeps the alignment that it happens to have there, up to the section's own. */
function alignmentOf(piece: Piece): number {
  let alignment = Math.max(piece.section.addralign, 1);
  while (alignment > 1 && piece.start % alignment !== 0) alignment /= 2;
  return alignment;
}
