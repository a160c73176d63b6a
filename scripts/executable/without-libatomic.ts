/**
 * Makes an x86-64 executable independent of libatomic.so.1, for programs that take nothing from it but
 * `__atomic_compare_exchange`, as Node does: that function is put into the executable itself.
 *
 * The change keeps every offset: the code goes into the unused end of the last page of the text segment, the
 * function's PLT relocation becomes a plain address, the library leaves DT_NEEDED and the needed versions.
 *
 * Source: System V gABI chapter 5 (dynamic linking); x86-64 psABI (relocations);
 * LSB core "Symbol Versioning" (Elf64_Verneed).
 */
import { RekernelError } from "../../src/core/errors.ts";
import { type ElfFile, readElf } from "../../src/formats/elf/read.ts";

const library = "libatomic.so.1";
const symbolName = "__atomic_compare_exchange";

const PT_LOAD = 1;
const PF_X = 1;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_VERNEEDNUM = 0x6fffffffn;
const R_X86_64_JUMP_SLOT = 7;
const R_X86_64_GLOB_DAT = 6;
const R_X86_64_RELATIVE = 8;
const VER_NDX_GLOBAL = 1;
const codeAlign = 16;

/**
 * @param executable the bytes of the file; not changed
 * @param code position-independent machine code of the function, entered at its first byte
 * @returns a changed copy; an equal copy when the executable does not need the library
 * @throws RekernelError RK-BUILD (1) when it needs more from the library, or is not linked as expected
 */
export function withoutLibatomic(executable: Uint8Array, code: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(executable);
  const elf = readElf(bytes, "the executable");
  const view = new DataView(bytes.buffer);
  if (!dropNeeded(elf, view)) return bytes;
  const symbol = onlySymbol(elf, view);
  const address = placeCode(elf, bytes, view, code);
  bindSymbol(elf, view, symbol, address);
  dropVersions(elf, view);
  return bytes;
}

function fail(reason: string): RekernelError {
  return new RekernelError("failed", "RK-BUILD", `Cannot free the executable from ${library}: ${reason}.`);
}

function sectionNamed(elf: ElfFile, name: string) {
  const section = elf.section(name);
  if (section === undefined) throw fail(`it has no section ${name}`);
  return section;
}

function stringAt(elf: ElfFile, offset: number): string {
  const { data } = sectionNamed(elf, ".dynstr");
  const end = data.indexOf(0, offset);
  return Buffer.from(data.subarray(offset, end < 0 ? data.length : end)).toString("latin1");
}

/** Takes the library out of the dynamic section; false when it was not in there. */
function dropNeeded(elf: ElfFile, view: DataView): boolean {
  const { offset, size } = sectionNamed(elf, ".dynamic");
  let dropped = false;
  let to = offset;
  for (let at = offset; at < offset + size; at += 16) {
    const tag = view.getBigUint64(at, true);
    const value = view.getBigUint64(at + 8, true);
    if (tag === DT_NEEDED && stringAt(elf, Number(value)) === library) {
      dropped = true;
      continue;
    }
    view.setBigUint64(to, tag, true);
    view.setBigUint64(to + 8, value, true);
    to += 16;
  }
  for (; to < offset + size; to += 16) {
    view.setBigUint64(to, DT_NULL, true);
    view.setBigUint64(to + 8, 0n, true);
  }
  return dropped;
}

/** Index of the one dynamic symbol whose version comes from the library; its version becomes the global one. */
function onlySymbol(elf: ElfFile, view: DataView): number {
  const versions = versionsOf(elf, view);
  const { offset, size } = sectionNamed(elf, ".gnu.version");
  const symbols = sectionNamed(elf, ".dynsym");
  const found: number[] = [];
  for (let index = 0; index < size / 2; index++) {
    if (!versions.has(view.getUint16(offset + index * 2, true) & 0x7fff)) continue;
    const name = stringAt(elf, view.getUint32(symbols.offset + index * 24, true));
    if (name !== symbolName) throw fail(`it needs ${name}, too`);
    found.push(index);
    view.setUint16(offset + index * 2, VER_NDX_GLOBAL, true);
  }
  const [symbol] = found;
  if (symbol === undefined || found.length > 1) throw fail(`it has no use of ${symbolName}`);
  return symbol;
}

/** Where each Elf64_Verneed begins. */
function verneedOffsets(elf: ElfFile, view: DataView): number[] {
  const { offset, info, size } = sectionNamed(elf, ".gnu.version_r");
  const offsets: number[] = [];
  for (let at = offset, left = info; left > 0; left--) {
    if (at < offset || at + 16 > offset + size) throw fail("its needed versions are damaged");
    offsets.push(at);
    at += view.getUint32(at + 12, true);
  }
  return offsets;
}

/** Version numbers that the executable gives to versions of the library. */
function versionsOf(elf: ElfFile, view: DataView): Set<number> {
  const versions = new Set<number>();
  for (const at of verneedOffsets(elf, view)) {
    if (stringAt(elf, view.getUint32(at + 4, true)) !== library) continue;
    let aux = at + view.getUint32(at + 8, true);
    for (let left = view.getUint16(at + 2, true); left > 0; left--) {
      versions.add(view.getUint16(aux + 6, true));
      aux += view.getUint32(aux + 12, true);
    }
  }
  return versions;
}

/** Unlinks the library's Elf64_Verneed: its successor takes its place, or its predecessor becomes the last. */
function dropVersions(elf: ElfFile, view: DataView): void {
  const offsets = verneedOffsets(elf, view);
  const index = offsets.findIndex((at) => stringAt(elf, view.getUint32(at + 4, true)) === library);
  const at = offsets[index];
  if (at === undefined) return;
  const next = offsets[index + 1];
  const previous = offsets[index - 1];
  if (next !== undefined) {
    const distance = next - at;
    const link = view.getUint32(next + 12, true);
    view.setUint32(at, view.getUint32(next, true), true);
    view.setUint32(at + 4, view.getUint32(next + 4, true), true);
    view.setUint32(at + 8, view.getUint32(next + 8, true) + distance, true);
    view.setUint32(at + 12, link === 0 ? 0 : link + distance, true);
  } else if (previous !== undefined) view.setUint32(previous + 12, 0, true);
  else throw fail("it needs versions of no other library");

  const section = sectionNamed(elf, ".gnu.version_r");
  view.setUint32(sectionHeaderOffset(view, section.index) + 44, offsets.length - 1, true);
  const dynamic = sectionNamed(elf, ".dynamic");
  for (let entry = dynamic.offset; entry < dynamic.offset + dynamic.size; entry += 16)
    if (view.getBigUint64(entry, true) === DT_VERNEEDNUM)
      view.setBigUint64(entry + 8, BigInt(offsets.length - 1), true);
}

function sectionHeaderOffset(view: DataView, index: number): number {
  return Number(view.getBigUint64(40, true)) + index * 64;
}

/** Appends the code to the text segment, inside its last page, and returns its address. */
function placeCode(elf: ElfFile, bytes: Uint8Array, view: DataView, code: Uint8Array): bigint {
  const index = elf.segments.findIndex(({ type, flags }) => type === PT_LOAD && (flags & PF_X) !== 0);
  const segment = elf.segments[index];
  if (segment === undefined || segment.fileSize !== segment.memorySize) throw fail("it has no text segment");
  const end = segment.offset + segment.fileSize;
  const at = Math.ceil(end / codeAlign) * codeAlign;
  const pageEnd = Math.ceil(end / 4096) * 4096;
  const isFree = (from: number, to: number) => bytes.subarray(from, to).every((byte) => byte === 0);
  if (at + code.length > pageEnd || !isFree(end, at + code.length))
    throw fail(`there is no room for ${code.length} bytes behind its code`);
  bytes.set(code, at);
  const size = BigInt(at + code.length - segment.offset);
  const header = Number(view.getBigUint64(32, true)) + index * 56;
  view.setBigUint64(header + 32, size, true);
  view.setBigUint64(header + 40, size, true);
  return segment.virtualAddress + BigInt(at - segment.offset);
}

/** Lets every slot that waits for the symbol hold the code's address from the start. */
function bindSymbol(elf: ElfFile, view: DataView, symbol: number, address: bigint): void {
  let bound = 0;
  for (const name of [".rela.dyn", ".rela.plt"]) {
    const section = elf.section(name);
    if (section === undefined) continue;
    for (let at = section.offset; at < section.offset + section.size; at += 24) {
      if (view.getUint32(at + 12, true) !== symbol) continue;
      const type = view.getUint32(at + 8, true);
      if (type !== R_X86_64_JUMP_SLOT && type !== R_X86_64_GLOB_DAT)
        throw fail(`${symbolName} is used by a relocation of type ${type}`);
      view.setUint32(at + 8, R_X86_64_RELATIVE, true);
      view.setUint32(at + 12, 0, true);
      view.setBigInt64(at + 16, BigInt.asIntN(64, address), true);
      bound++;
    }
  }
  if (bound === 0) throw fail(`nothing refers to ${symbolName}`);
}
