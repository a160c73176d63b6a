/**
 * Gives a linked module the form that livepatch wants (Documentation/livepatch/module-elf-format.rst):
 * references to symbols that are not exported move into `.klp.rela.` sections, their symbols become
 * `.klp.sym.` ones.
 */
import { RekernelError } from "../../../core/errors.ts";
import {
  SHF_ALLOC,
  SHF_RELA_LIVEPATCH,
  SHN_LIVEPATCH,
  SHN_UNDEF,
  STB_GLOBAL,
  STB_LOCAL,
} from "../../../formats/elf/constants.ts";
import { toOutputObject } from "../../../formats/elf/edit.ts";
import { readElf } from "../../../formats/elf/read.ts";
import { type OutputRelocation, type OutputSymbol, writeElf } from "../../../formats/elf/write.ts";
import type { KlpBinding } from "./resolve.ts";

/**
 * @throws RekernelError RK-LINK (1) when the module defines a symbol that is to be bound
 * @param bindings what the undefined symbols stand for, by name; others stay as they are
 * @param aliases names that only served the link
 */
export function withKlpRelocations(
  module: Uint8Array,
  bindings: ReadonlyMap<string, KlpBinding>,
  aliases: ReadonlySet<string>,
): Uint8Array {
  const object = toOutputObject(readElf(module, "The linked module"));
  const bound = new Map<OutputSymbol, KlpBinding>();
  const known = new Map<string, OutputSymbol>();
  const replacement = new Map<OutputSymbol, OutputSymbol>();
  for (const symbol of object.symbols) {
    const binding = bindings.get(symbol.name);
    if (!binding) continue;
    // The link has bound it to something of this module's own: to leave it would be silently wrong.
    if (symbol.section !== SHN_UNDEF)
      throw new RekernelError(
        "failed",
        "RK-LINK",
        `The module defines ${symbol.name} of ${binding.object} itself.`,
      );
    const name = klpSymbolName(binding);
    // Two names of one symbol, bound for different objects, become one.
    const same = known.get(name);
    if (same) replacement.set(symbol, same);
    else {
      symbol.section = SHN_LIVEPATCH;
      symbol.bind = STB_GLOBAL;
      symbol.name = name;
      known.set(name, symbol);
    }
    bound.set(symbol, binding);
  }
  for (const alias of object.symbols) {
    // objtool names the padding before a function after the first name that it finds there.
    if (!aliases.has(alias.name)) continue;
    const function_ = object.symbols.find(
      (symbol) =>
        symbol !== alias &&
        symbol.section === alias.section &&
        symbol.value === alias.value &&
        symbol.type === alias.type &&
        !aliases.has(symbol.name),
    );
    if (!function_) continue;
    replacement.set(alias, function_);
    const padding = object.symbols.find((symbol) => symbol.name === `__pfx_${alias.name}`);
    const known = object.symbols.find((symbol) => symbol.name === `__pfx_${function_.name}`);
    if (padding && known) replacement.set(padding, known);
    else if (padding) Object.assign(padding, { name: `__pfx_${function_.name}`, bind: STB_LOCAL });
  }
  object.symbols = object.symbols.filter((symbol) => !replacement.has(symbol));

  for (const section of object.sections) {
    const kept: OutputRelocation[] = [];
    const moved = new Map<string, OutputRelocation[]>();
    for (const relocation of section.relocations) {
      const binding = bound.get(relocation.symbol);
      const symbol = replacement.get(relocation.symbol) ?? relocation.symbol;
      const target = { ...relocation, symbol };
      if (!binding) kept.push(target);
      else moved.set(binding.relocatedFor, [...(moved.get(binding.relocatedFor) ?? []), target]);
    }
    section.relocations = kept;
    section.extraRelocations = [...moved].map(([object, relocations]) => ({
      name: `.klp.rela.${object}.${section.name}`,
      // Without SHF_ALLOC the loader would drop the section, which is needed again when its object loads.
      flags: SHF_RELA_LIVEPATCH | SHF_ALLOC,
      relocations,
    }));
  }
  return writeElf(object);
}

export function klpSymbolName({ object, name, sympos }: KlpBinding): string {
  return `.klp.sym.${object}.${name},${sympos}`;
}
