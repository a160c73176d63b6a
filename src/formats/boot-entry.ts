/**
 * Entries of the Boot Loader Specification (UAPI.1): the text of type 1 entries, boot counters in file names, and
 * the order in which a boot loader shows entries. Pure.
 */
import { compareUapiVersions } from "./version-order.ts";

/** What a type 1 entry says. Paths are as written: relative to the root of the entry's partition. */
export interface BootEntryText {
  title?: string;
  version?: string;
  machineId?: string;
  sortKey?: string;
  architecture?: string;
  linux?: string;
  /** An EFI program that is started instead of a kernel. */
  efi?: string;
  /** A unified kernel image that is started instead of a plain kernel. */
  uki?: string;
  devicetree?: string;
  initrds: string[];
  /** All `options` lines, joined by a blank; undefined without any. */
  options?: string;
}

const fields = {
  title: "title",
  version: "version",
  "machine-id": "machineId",
  "sort-key": "sortKey",
  architecture: "architecture",
  linux: "linux",
  efi: "efi",
  uki: "uki",
  devicetree: "devicetree",
} as const satisfies Record<string, keyof BootEntryText>;

/** Reads a `.conf` file. Unknown keys, and keys without a value, are ignored, as the specification wants. */
export function parseBootEntry(text: string): BootEntryText {
  const entry: BootEntryText = { initrds: [] };
  for (const line of text.split("\n")) {
    const [, key, value] = /^\s*([^\s#]\S*)\s+(.*?)\s*$/.exec(line) ?? [];
    if (key === undefined || value === undefined || value === "") continue;
    if (key === "initrd") entry.initrds.push(value);
    else if (key === "options")
      entry.options = entry.options === undefined ? value : `${entry.options} ${value}`;
    else if (Object.hasOwn(fields, key)) entry[fields[key as keyof typeof fields]] = value;
  }
  return entry;
}

/** A file name of an entry: `ID.conf`, `ID+LEFT.conf` or `ID+LEFT-DONE.conf`, and the same with `.efi`. */
export interface BootEntryName {
  /** Without counters and suffix. */
  id: string;
  /** Boots that may still be tried; undefined where boots are not counted. With 0 the entry is bad. */
  triesLeft?: number;
  triesDone?: number;
}

/** Undefined for a name that ends with another suffix. */
export function parseBootEntryName(name: string, suffix: "conf" | "efi"): BootEntryName | undefined {
  if (name.startsWith(".") || !name.toLowerCase().endsWith(`.${suffix}`)) return undefined;
  const stem = name.slice(0, -suffix.length - 1);
  if (stem === "") return undefined;
  const [, id, left, done] = /^(.+)\+(\d{1,9})(?:-(\d{1,9}))?$/.exec(stem) ?? [];
  return id === undefined
    ? { id: stem }
    : { id, triesLeft: Number(left), triesDone: done === undefined ? 0 : Number(done) };
}

/** What the order of entries depends on. */
export interface SortedEntry extends BootEntryName {
  sortKey?: string | undefined;
  machineId?: string | undefined;
  version?: string | undefined;
}

/** The order of a boot menu (UAPI.1, "Sorting"): negative where `a` stands above `b`. */
export function compareBootEntries(a: SortedEntry, b: SortedEntry): number {
  const bad = Number(a.triesLeft === 0) - Number(b.triesLeft === 0);
  if (bad !== 0) return bad;
  if (a.sortKey && b.sortKey) {
    const difference =
      compareBytes(a.sortKey, b.sortKey) ||
      compareBytes(a.machineId ?? "", b.machineId ?? "") ||
      compareUapiVersions(b.version ?? "", a.version ?? "");
    if (difference !== 0) return difference;
  } else if (a.sortKey || b.sortKey) return a.sortKey ? -1 : 1;
  return (
    compareUapiVersions(b.id, a.id) ||
    (b.triesLeft ?? 0) - (a.triesLeft ?? 0) ||
    (a.triesDone ?? 0) - (b.triesDone ?? 0)
  );
}

/** Like strcmp(3) of the UTF-8 texts. */
function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/**
 * Whether a pattern of loader.conf names an entry: `?`, `*` and `[…]`, without regard to case (loader.conf(5)).
 * Runs in time proportional to both lengths.
 */
export function matchesPattern(pattern: string, id: string): boolean {
  const parts = [...pattern.toLowerCase().matchAll(/\[[^\]]+\]|[\s\S]/g)].map(([part]) => part);
  const text = id.toLowerCase();
  let star = -1;
  let retry = 0;
  let p = 0;
  for (let t = 0; t < text.length; ) {
    if (parts[p] === "*") {
      star = p++;
      retry = t;
    } else if (p < parts.length && matchesOne(parts[p]!, text[t]!)) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++retry;
    } else return false;
  }
  return parts.slice(p).every((part) => part === "*");
}

function matchesOne(part: string, character: string): boolean {
  if (part === "?" || part === character) return true;
  if (part.length < 3) return false;
  const set = part.slice(1, -1);
  for (let i = 0; i < set.length; i++) {
    const isRange = set[i + 1] === "-" && i + 2 < set.length;
    if (isRange ? character >= set[i]! && character <= set[i + 2]! : character === set[i]) return true;
    if (isRange) i += 2;
  }
  return false;
}
