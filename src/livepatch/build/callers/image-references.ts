/** Finds what leads to a function of a linked kernel, without debug information: calls, jumps, and its address. Pure. */
import { SHF_EXECINSTR } from "../../../formats/elf/constants.ts";
import type { ElfSection } from "../../../formats/elf/read.ts";
import type { KernelImage } from "../../../kernel/image.ts";
import { decodeInstruction } from "../arch/instructions.ts";
import type { TargetReference } from "./reference.ts";

/** What of an image is looked at. */
export interface SearchedImage {
  elf: { sections: readonly ElfSection[] };
  symbolContaining: KernelImage["symbolContaining"];
}

/** Lists of functions by their address that only the boot reads: kprobes' and error injection's. */
const bootLists = /^_(kbl|eil)_addr_/;
/** Trampolines of static calls (include/linux/static_call_types.h): the kernel writes other targets into them. */
const staticCallTrampoline = "__SCT__";
/** Holds addresses as distances from the place itself (struct pci_fixup, include/linux/pci.h). */
const relativeTables = new Set([".pci_fixup"]);

/**
 * @param addresses link-time addresses of functions
 */
export function referencesInImage(image: SearchedImage, addresses: readonly bigint[]): TargetReference[] {
  const sought = new Sought(addresses);
  return image.elf.sections.flatMap((section) => {
    if (section.address === 0n && !section.name.startsWith(".data..percpu")) return [];
    if (section.data.length === 0) return [];
    return section.flags & SHF_EXECINSTR
      ? inCode(section, image, sought)
      : inData(section, image, addresses, sought);
  });
}

/** Addresses of the kernel's text are told apart by their lower halves: it lies within 2 GB (arch/x86/include/asm/page_64_types.h). */
class Sought {
  readonly #full: ReadonlyMap<number, bigint>;
  /** By the lowest 16 bits: nearly everything is sorted out here. */
  readonly #filter = new Uint8Array(65536);

  constructor(addresses: readonly bigint[]) {
    this.#full = new Map(addresses.map((address) => [Number(BigInt.asIntN(32, address)), address]));
    for (const low of this.#full.keys()) this.#filter[low & 0xffff] = 1;
  }

  at(low: number): bigint | undefined {
    return this.#filter[low & 0xffff] === 1 ? this.#full.get(low) : undefined;
  }
}

function inCode(section: ElfSection, image: SearchedImage, sought: Sought): TargetReference[] {
  const { data } = section;
  const base = Number(BigInt.asIntN(32, section.address));
  const found: TargetReference[] = [];
  let value = 0;
  for (let end = 0; end < data.length; end++) {
    value = (value >>> 8) | (data[end]! << 24);
    if (end < 3) continue;
    const relative = sought.at((base + end + 1 + value) | 0);
    const to = relative ?? sought.at(value | 0);
    if (to === undefined) continue;
    const reference = referenceAt(section, end - 3, to, relative !== undefined, image);
    if (reference) found.push(reference);
  }
  return found;
}

/** Undefined when the bytes only look like a reference. */
function referenceAt(
  section: ElfSection,
  field: number,
  to: bigint,
  relative: boolean,
  image: SearchedImage,
): TargetReference | undefined {
  const around = image.symbolContaining(section.address + BigInt(field));
  const place = {
    to,
    from: around && { name: around.symbol.name, location: around.symbol.address },
    section: section.name,
    isInit: /^\.(init|exit)\./.test(section.name),
  };
  // Replacements of alternatives have no symbols, and run in other places than their own.
  if (section.name.startsWith(".alt")) return { ...place, from: undefined, how: "address" };
  if (!around) return { ...place, how: "address" };
  const isStaticCall = around.symbol.name.startsWith(staticCallTrampoline);
  for (let at = field - around.offset; at >= 0 && at <= field; ) {
    const instruction = decodeInstruction(section.data, at);
    // Not code after all: what cannot be read counts as the worst.
    if (!instruction) return { ...place, how: "address" };
    const { length, branchField, ripField, immediate } = instruction;
    if (at + length <= field) {
      at += length;
      continue;
    }
    const offset = field - at;
    if (relative && branchField?.offset === offset && branchField.size === 4)
      return { ...place, how: isStaticCall ? "address" : "call" };
    if (relative && ripField?.offset === offset) return { ...place, how: "address" };
    if (!relative && immediate?.offset === offset && immediate.size === 4)
      return { ...place, how: "address" };
    return undefined;
  }
  return { ...place, how: "address" };
}

function inData(
  section: ElfSection,
  image: SearchedImage,
  addresses: readonly bigint[],
  sought: Sought,
): TargetReference[] {
  const found: TargetReference[] = [];
  const add = (to: bigint, offset: number) => {
    const around = image.symbolContaining(section.address + BigInt(offset));
    if (around && bootLists.test(around.symbol.name)) return;
    found.push({
      to,
      how: "address",
      from: around && { name: around.symbol.name, location: around.symbol.address },
      section: section.name,
      isInit: false,
    });
  };
  const bytes = Buffer.from(section.data.buffer, section.data.byteOffset, section.data.byteLength);
  const pattern = Buffer.alloc(8);
  for (const to of addresses) {
    pattern.writeBigUInt64LE(to);
    for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) add(to, at);
  }
  if (relativeTables.has(section.name)) {
    const base = Number(BigInt.asIntN(32, section.address));
    for (let at = 0; at + 4 <= bytes.length; at += 4) {
      const to = sought.at((base + at + bytes.readInt32LE(at)) | 0);
      if (to !== undefined) add(to, at);
    }
  }
  return found;
}
