/**
 * kallsyms: the kernel's own symbol table, found by its structure in an image without .symtab.
 *
 * Source: scripts/kallsyms.c (write_src) and kernel/kallsyms.c of 5.4 to 6.12. The tables, each aligned to
 * 8 bytes, stand in .rodata in one of these orders:
 *
 * - up to 6.1: offsets, relative_base, num_syms, names, markers, token_table, token_index
 * - 6.2, 6.3: the same with seqs_of_names behind markers
 * - from 6.4: num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names
 *
 * An offset means one of three things: with CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86 SMP up to 6.14) a value when
 * positive and `relative_base - 1 - offset` when negative; otherwise `relative_base + offset`; or, where the
 * table has no relative_base, the distance from the entry itself.
 */
import { latin1 } from "./bytes.ts";

export interface KallsymsEntry {
  name: string;
  /** As linked. */
  address: bigint;
  /** The letter that /proc/kallsyms prints. */
  type: string;
}

/** More symbols than any kernel has; bounds the work on hostile images. */
const maxSymbols = 4_000_000;
/** KSYM_NAME_LEN is 512 at most; a token is part of a name. */
const maxNameLength = 512;
const maxTextBytes = 256 << 20;

/** Steps left for a search; a crafted image must not make it quadratic. */
interface Budget {
  steps: number;
}

/** The decoded tables; entries are in the kernel's order, which is that of /proc/kallsyms. */
export class Kallsyms {
  readonly length: number;
  /** Addresses by index. */
  readonly addresses: BigUint64Array;
  /** All entries' type letter and name, one after the other. */
  readonly #text: string;
  /** Where each entry begins in the text; one more than there are entries. */
  readonly #starts: Uint32Array;

  constructor(addresses: BigUint64Array, text: string, starts: Uint32Array) {
    this.length = addresses.length;
    this.addresses = addresses;
    this.#text = text;
    this.#starts = starts;
  }

  name(index: number): string {
    return this.#text.slice(this.#starts[index]! + 1, this.#starts[index + 1]!);
  }

  type(index: number): string {
    return this.#text[this.#starts[index]!]!;
  }

  entry(index: number): KallsymsEntry {
    return { name: this.name(index), address: this.addresses[index]!, type: this.type(index) };
  }
}

/**
 * Finds and decodes kallsyms in `bytes`, the contents of .rodata (or of the segment that holds it).
 *
 * @param address where `bytes` is linked to
 * @returns undefined when no valid set of tables is there
 */
export function findKallsyms(bytes: Uint8Array, address: bigint): Kallsyms | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Alignment is that of addresses; sections that hold the tables are themselves aligned.
  const phase = Number(-address & 7n);
  const budget: Budget = { steps: 100_000_000 };
  for (let at = phase; at + 512 <= bytes.length; at += 8) {
    if (!mayBeTokenIndex(view, at)) continue;
    if (budget.steps <= 0) return undefined;
    const tokens = readTokens(bytes, view, at, budget);
    if (!tokens) continue;
    const names = findNames(bytes, view, tokens, phase, budget);
    if (!names) continue;
    const addresses = findAddresses(bytes, view, at + 512, names, address);
    if (!addresses) continue;
    const expanded = expandNames(bytes, names, tokens.texts);
    if (expanded) return new Kallsyms(addresses, expanded.text, expanded.starts);
  }
  return undefined;
}

/** token_index begins with 0 and rises, by the length of each token and its NUL. */
function mayBeTokenIndex(view: DataView, at: number): boolean {
  if (view.getUint16(at, true) !== 0) return false;
  let previous = 0;
  for (let index = 1; index < 256; index++) {
    const value = view.getUint16(at + index * 2, true);
    if (value <= previous || value - previous > maxNameLength) return false;
    previous = value;
  }
  return true;
}

interface Tokens {
  /** Where token_table begins. */
  start: number;
  texts: Uint8Array[];
}

/** token_table ends right before token_index, but for alignment; every token ends with a NUL. */
function readTokens(bytes: Uint8Array, view: DataView, indexAt: number, budget: Budget): Tokens | undefined {
  const last = view.getUint16(indexAt + 255 * 2, true);
  // The table begins aligned, so its length decides the padding; the last token's length is not known.
  for (let size = last + 1; size <= last + maxNameLength; size++) {
    const start = indexAt - Math.ceil(size / 8) * 8;
    if (start < 0) return undefined;
    if (bytes[start + size - 1] !== 0) continue;
    budget.steps -= 256;
    const texts: Uint8Array[] = [];
    for (let index = 0; index < 256; index++) {
      const from = start + view.getUint16(indexAt + index * 2, true);
      const to = start + (index === 255 ? size : view.getUint16(indexAt + index * 2 + 2, true)) - 1;
      const text = bytes.subarray(from, to);
      if (bytes[to] !== 0 || text.includes(0)) break;
      texts.push(text);
    }
    if (texts.length < 256) continue;
    if (bytes.subarray(start + size, indexAt).some((byte) => byte !== 0)) continue;
    return { start, texts };
  }
  return undefined;
}

interface Names {
  /** Where num_syms, names and markers begin. */
  countAt: number;
  namesAt: number;
  count: number;
}

/**
 * markers holds the offset in names of every 256th entry. It is found first, below token_table, by its
 * regular rise; then names before it, by walking until all markers agree.
 */
function findNames(
  bytes: Uint8Array,
  view: DataView,
  tokens: Tokens,
  phase: number,
  budget: Budget,
): Names | undefined {
  const lowest = phase + 8;
  // Markers directly below token_table, or below three bytes for each symbol.
  const reach = Math.max(lowest, tokens.start - maxSymbols * 4);
  for (let markersAt = tokens.start - 8; markersAt >= reach && budget.steps > 0; markersAt -= 8) {
    budget.steps--;
    if (view.getUint32(markersAt, true) !== 0) continue;
    const markers = [0];
    for (let at = markersAt + 4; at + 4 <= tokens.start; at += 4) {
      const value = view.getUint32(at, true);
      const rise = value - markers.at(-1)!;
      // 256 entries of at least a length byte and a type.
      if (rise < 512 || rise > 256 * 1024 || value > markersAt) break;
      markers.push(value);
    }
    budget.steps -= markers.length;
    // Every kernel has more than 256 symbols; single zeros are everywhere.
    if (markers.length < 2) continue;
    const names = findNamesBefore(bytes, view, markersAt, markers, lowest, budget);
    if (names) return names;
  }
  return undefined;
}

function findNamesBefore(
  bytes: Uint8Array,
  view: DataView,
  markersAt: number,
  markers: readonly number[],
  lowest: number,
  budget: Budget,
): Names | undefined {
  const lastMarker = markers.at(-1)!;
  const highestStart = markersAt - lastMarker - 2;
  const lowestStart = Math.max(lowest, markersAt - lastMarker - 256 * 1024);
  for (
    let namesAt = markersAt - Math.ceil((markersAt - highestStart) / 8) * 8;
    namesAt >= lowestStart;
    namesAt -= 8
  ) {
    if (budget.steps-- <= 0) return undefined;
    const count = view.getUint32(namesAt - 8, true);
    if (count === 0 || count > maxSymbols || Math.ceil(count / 256) !== markers.length) continue;
    if (view.getUint32(namesAt - 4, true) !== 0) continue;
    if (namesFit(bytes, namesAt, count, markersAt, markers, budget))
      return { countAt: namesAt - 8, namesAt, count };
  }
  return undefined;
}

function namesFit(
  bytes: Uint8Array,
  namesAt: number,
  count: number,
  markersAt: number,
  markers: readonly number[],
  budget: Budget,
): boolean {
  let at = namesAt;
  for (let index = 0; index < count; index++) {
    if ((index & 255) === 0) {
      if (at - namesAt !== markers[index >> 8]) return false;
      budget.steps -= 256;
    }
    let length = bytes[at]!;
    if (length & 0x80) length = (length & 0x7f) | (bytes[++at]! << 7);
    if (length === 0) return false;
    at += length + 1;
    if (at > markersAt) return false;
  }
  return markersAt - at < 8;
}

/** Tries each layout and meaning of the offsets; addresses must not fall, which no wrong reading achieves. */
function findAddresses(
  bytes: Uint8Array,
  view: DataView,
  behindTokenIndex: number,
  names: Names,
  address: bigint,
): BigUint64Array | undefined {
  const { count, countAt } = names;
  const size = Math.ceil((count * 4) / 8) * 8;
  const layouts = [
    { offsetsAt: behindTokenIndex, baseAt: behindTokenIndex + size },
    { offsetsAt: countAt - 8 - size, baseAt: countAt - 8 },
  ];
  for (const { offsetsAt, baseAt } of layouts) {
    if (offsetsAt < 0 || baseAt + 8 > bytes.length) continue;
    const base = view.getBigUint64(baseAt, true);
    if (!isKernelAddress(base)) continue;
    for (const decode of [decodeAbsolutePercpu, decodeRelative]) {
      const addresses = decode(view, offsetsAt, count, base);
      if (addresses) return addresses;
    }
  }
  for (const offsetsAt of [behindTokenIndex, countAt - size]) {
    if (offsetsAt < 0 || offsetsAt + count * 4 > bytes.length) continue;
    const addresses = decodeFromPlace(view, offsetsAt, count, address);
    if (addresses) return addresses;
  }
  return undefined;
}

/** The top 2 GiB, where x86-64 links its kernels. */
function isKernelAddress(address: bigint): boolean {
  return address >= 0xffff_ffff_8000_0000n;
}

/** Values first (per-CPU symbols, rising), then addresses: stored offsets fall from -1. */
function decodeAbsolutePercpu(
  view: DataView,
  at: number,
  count: number,
  base: bigint,
): BigUint64Array | undefined {
  const last = view.getInt32(at + (count - 1) * 4, true);
  if (last >= 0) return undefined;
  const addresses = new BigUint64Array(count);
  let previous = 0;
  let absolute = true;
  for (let index = 0; index < count; index++) {
    const offset = view.getInt32(at + index * 4, true);
    if (offset >= 0) {
      if (!absolute || offset < previous) return undefined;
      addresses[index] = BigInt(offset);
    } else {
      if (!absolute && offset > previous) return undefined;
      absolute = false;
      addresses[index] = base + BigInt(-1 - offset);
    }
    previous = offset;
  }
  return addresses;
}

function decodeRelative(view: DataView, at: number, count: number, base: bigint): BigUint64Array | undefined {
  const addresses = new BigUint64Array(count);
  let previous = 0;
  for (let index = 0; index < count; index++) {
    const offset = view.getUint32(at + index * 4, true);
    if (offset < previous) return undefined;
    addresses[index] = base + BigInt(offset);
    previous = offset;
  }
  return isKernelAddress(addresses[count - 1]!) ? addresses : undefined;
}

function decodeFromPlace(
  view: DataView,
  at: number,
  count: number,
  address: bigint,
): BigUint64Array | undefined {
  const addresses = new BigUint64Array(count);
  const start = address + BigInt(at);
  let previous = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < count; index++) {
    const offset = index * 4 + view.getInt32(at + index * 4, true);
    if (offset < previous) return undefined;
    addresses[index] = start + BigInt(offset);
    previous = offset;
  }
  return isKernelAddress(addresses[0]!) && isKernelAddress(addresses[count - 1]!) ? addresses : undefined;
}

function expandNames(
  bytes: Uint8Array,
  names: Names,
  tokens: readonly Uint8Array[],
): { text: string; starts: Uint32Array } | undefined {
  const starts = new Uint32Array(names.count + 1);
  let text = new Uint8Array(names.count * 32);
  let length = 0;
  let at = names.namesAt;
  for (let index = 0; index < names.count; index++) {
    starts[index] = length;
    let size = bytes[at++]!;
    if (size & 0x80) size = (size & 0x7f) | (bytes[at++]! << 7);
    for (const end = at + size; at < end; at++) {
      const token = tokens[bytes[at]!]!;
      if (length + token.length > text.length) {
        const grown = new Uint8Array(text.length * 2 + token.length);
        grown.set(text);
        text = grown;
      }
      for (let i = 0; i < token.length; i++) text[length++] = token[i]!;
    }
    if (length - starts[index]! > maxNameLength || length > maxTextBytes) return undefined;
  }
  starts[names.count] = length;
  return { text: latin1(text.subarray(0, length)), starts };
}
