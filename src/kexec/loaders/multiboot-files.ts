/** What comes into memory beside a Multiboot kernel: its modules and its symbols. */
import { basename } from "node:path";
import { RekernelError } from "../../core/errors.ts";
import type { SectionTable } from "../../formats/elf/executable.ts";
import type { MultibootModule } from "../../formats/multiboot/information-1.ts";
import type { LayoutBuilder, Reservation } from "../segments/layout.ts";
import type { Wish } from "../segments/place.ts";
import { fourGiB, pageSize } from "../segments/segment.ts";
import type { LoaderInput } from "./loader.ts";

/**
 * Of the sixteen segments that the kernel takes, so many are left to modules beside the kernel's own, the
 * symbols, the information and the purgatory.
 */
const moduleSegmentLimit = 5;

/**
 * Each module gets pages of its own, in the order given, behind the kernel, where kernels that map little at
 * first expect them; elsewhere only if there is no room. Many modules share one segment.
 *
 * @param behind the kernel's end
 * @throws RekernelError RK-KEXEC-NO-ROOM (1), RK-USAGE (2) for an initrd
 */
export function putModules(builder: LayoutBuilder, input: LoaderInput, behind: bigint): MultibootModule[] {
  if (input.initrd.some((part) => part.length > 0))
    throw new RekernelError(
      "usage",
      "RK-USAGE",
      `${input.kernelName} is a Multiboot kernel: it takes no initrd.`,
      {
        hint: 'Give it as a module: --module "FILE ARGUMENTS"',
      },
    );
  const { modules } = input;
  const text = ({ name, commandLine }: { name: string; commandLine: string }) =>
    `${name} ${commandLine}`.trim();
  if (modules.length <= moduleSegmentLimit)
    return modules.map((module) => {
      const { data } = module;
      const name = basename(module.name);
      const place = reserveBehind(
        builder,
        { name: `module ${name}`, size: data.length, from: "bottom" },
        behind,
      );
      builder.put(`module ${name}`, place, data);
      return { start: Number(place.address), end: Number(place.address) + data.length, text: text(module) };
    });
  const sizes = modules.map(({ data }) => Math.ceil(data.length / pageSize) * pageSize);
  const name = `${modules.length} modules`;
  const size = sizes.reduce((sum, bytes) => sum + bytes, 0);
  const place = reserveBehind(builder, { name, size, from: "bottom" }, behind);
  const bytes = Buffer.alloc(size);
  let at = 0;
  const placed = modules.map((module, index) => {
    const start = Number(place.address) + at;
    bytes.set(module.data, at);
    at += sizes[index]!;
    return { start, end: start + module.data.length, text: text(module) };
  });
  builder.put(name, place, bytes);
  return placed;
}

/** Below 4 GiB, and behind the kernel where that is possible. */
function reserveBehind(builder: LayoutBuilder, wish: Wish, behind: bigint): Reservation {
  return firstOf(builder, { ...wish, min: behind, max: fourGiB }, { ...wish, max: fourGiB });
}

/**
 * The first wish that can be fulfilled.
 *
 * @throws RekernelError RK-KEXEC-NO-ROOM (1) of the last one
 */
export function firstOf(builder: LayoutBuilder, ...wishes: [Wish, ...Wish[]]): Reservation {
  for (const wish of wishes.slice(0, -1)) {
    try {
      return builder.reserve(wish);
    } catch (error) {
      if (!(error instanceof RekernelError)) throw error;
    }
  }
  return builder.reserve(wishes.at(-1)!);
}

/** An ELF kernel's section headers, telling where its symbols and their names lie. */
export interface PlacedSections {
  count: number;
  entryBytes: number;
  nameSection: number;
  /** Where the headers lie. */
  address: number;
  headers: Uint8Array;
}

/**
 * Loads symbols and names, which no segment of the file brings, and the section headers with their addresses.
 * Debug information is left out.
 *
 * @throws RekernelError RK-KEXEC-NO-ROOM (1)
 */
export function putSections(builder: LayoutBuilder, table: SectionTable, behind: bigint): PlacedSections {
  const { count, entryBytes, nameSection, addressOffset } = table;
  let size = table.headers.length;
  const offsets = table.loose.map(({ data, alignment }) => {
    const at = Math.ceil(size / alignment) * alignment;
    size = at + data.length;
    return at;
  });
  const place = reserveBehind(builder, { name: "symbols", size, from: "bottom" }, behind);
  const bytes = Buffer.alloc(size);
  bytes.set(table.headers);
  for (const [number, { index, data }] of table.loose.entries()) {
    bytes.set(data, offsets[number]!);
    const at = index * entryBytes + addressOffset;
    const address = Number(place.address) + offsets[number]!;
    bytes.writeUInt32LE(address, at);
    if (entryBytes === 64) bytes.writeUInt32LE(0, at + 4);
  }
  builder.put("symbols", place, bytes);
  const headers = bytes.subarray(0, table.headers.length);
  return { count, entryBytes, nameSection, address: Number(place.address), headers };
}

/** The kernel's file stands first, as with GRUB 0.97, kexec-tools and QEMU: Xen skips the first word. */
export function multibootCommandLine({ imagePath, commandLine }: LoaderInput): string {
  const word = imagePath.replace(/\s+/g, "_");
  return `${word} ${commandLine}`.trim();
}

/** What the kernel learns of who started it. */
export const bootLoaderName = "rekernel";

/** Conventional memory that firmware and other processors leave alone: where boot loaders put it. */
const lowMemory = { min: 0x10000n, max: 0x90000n };

/**
 * The boot information: below 1 MiB, which kernels map first, else behind the kernel.
 *
 * @param write must give as many bytes for each address
 * @returns its address
 * @throws RekernelError RK-KEXEC-NO-ROOM (1)
 */
export function putInformation(
  builder: LayoutBuilder,
  behind: bigint,
  write: (address: number) => Uint8Array,
): number {
  const wish: Wish = { name: "boot information", size: write(0).length, from: "bottom" };
  const above = { ...wish, max: fourGiB };
  const place = firstOf(builder, { ...wish, ...lowMemory }, { ...above, min: behind }, above);
  builder.put(wish.name, place, write(Number(place.address)));
  return Number(place.address);
}
