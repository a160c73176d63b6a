/**
 * The running kernel's memory, through /proc/kcore: an ELF file that is made as it is read, with a program
 * header for each range of the kernel's addresses. Reads only.
 *
 * Source: fs/proc/kcore.c.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { hasErrno } from "../core/errors.ts";
import { type HostPaths, thisHost } from "./paths.ts";

/** Why something of the kernel's memory cannot be read, in words that complete "cannot be read: …". */
export class UnreadableMemory extends Error {
  constructor(reason: string, cause?: unknown) {
    super(reason, { cause });
    this.name = "UnreadableMemory";
  }
}

/** Addresses from `start` to before `end`, and where the first one stands in the file. */
interface MappedRange {
  start: bigint;
  end: bigint;
  offset: bigint;
}

const PT_LOAD = 1;
const headerBytes = 64;
const programHeaderBytes = 56;
/** What p_paddr holds for ranges that are mapped page by page, such as vmalloc's. */
const noPhysicalAddress = (1n << 64n) - 1n;

export class KernelMemory {
  readonly #file: number;
  readonly #virtual: readonly MappedRange[];
  readonly #physical: readonly MappedRange[];

  /** @throws UnreadableMemory: no CONFIG_PROC_KCORE, no CAP_SYS_RAWIO, lockdown=confidentiality */
  constructor(host: HostPaths = thisHost) {
    const path = `${host.proc}/kcore`;
    try {
      this.#file = openSync(path, "r");
    } catch (error) {
      throw new UnreadableMemory(
        hasErrno(error) && error.code === "ENOENT"
          ? "this kernel has no /proc/kcore"
          : "this kernel does not let this process read /proc/kcore",
        error,
      );
    }
    try {
      const headers = this.#programHeaders();
      this.#virtual = headers.map(({ virtual, offset, size }) => ({
        start: virtual,
        end: virtual + size,
        offset,
      }));
      this.#physical = headers
        .filter(({ physical }) => physical !== noPhysicalAddress)
        .map(({ physical, offset, size }) => ({ start: physical, end: physical + size, offset }));
    } catch (error) {
      closeSync(this.#file);
      throw error;
    }
  }

  /**
   * Fills a buffer from a virtual address of the kernel.
   *
   * @throws UnreadableMemory where nothing is mapped
   */
  readVirtual(address: bigint, into: Uint8Array): void {
    this.#read(this.#virtual, address, into);
  }

  /**
   * Fills a buffer from a physical address in RAM.
   *
   * @throws UnreadableMemory where no RAM is
   */
  readPhysical(address: bigint, into: Uint8Array): void {
    this.#read(this.#physical, address, into);
  }

  /** Not less than the machine's RAM, in bytes: the ranges that have physical addresses. */
  get physicalBytes(): bigint {
    return this.#physical.reduce((sum, { start, end }) => sum + (end - start), 0n);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #programHeaders(): { virtual: bigint; physical: bigint; offset: bigint; size: bigint }[] {
    const header = new DataView(new ArrayBuffer(headerBytes));
    this.#readAt(0n, new Uint8Array(header.buffer));
    // Big-endian, to read as it is written: 0x7f, "ELF", and then 64 bits, little-endian.
    if (header.getUint32(0) !== 0x7f454c46 || header.getUint16(4) !== 0x0201)
      throw new UnreadableMemory("/proc/kcore is no ELF file of 64 bits");
    const count = header.getUint16(56, true);
    if (header.getUint16(54, true) !== programHeaderBytes)
      throw new UnreadableMemory("/proc/kcore has program headers of an unknown size");
    const table = new DataView(new ArrayBuffer(count * programHeaderBytes));
    this.#readAt(header.getBigUint64(32, true), new Uint8Array(table.buffer));
    return Array.from({ length: count }, (_, index) => index * programHeaderBytes)
      .filter((at) => table.getUint32(at, true) === PT_LOAD)
      .map((at) => ({
        offset: table.getBigUint64(at + 8, true),
        virtual: table.getBigUint64(at + 16, true),
        physical: table.getBigUint64(at + 24, true),
        size: table.getBigUint64(at + 40, true),
      }));
  }

  #read(ranges: readonly MappedRange[], address: bigint, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const at = address + BigInt(done);
      const range = ranges.find(({ start, end }) => start <= at && at < end);
      if (range === undefined)
        throw new UnreadableMemory(`/proc/kcore has nothing at address 0x${at.toString(16)}`);
      const left = range.end - at;
      const part = into.subarray(done, left < BigInt(into.length - done) ? done + Number(left) : into.length);
      this.#readAt(range.offset + (at - range.start), part);
      done += part.length;
    }
  }

  #readAt(position: bigint, into: Uint8Array): void {
    try {
      for (let done = 0; done < into.length; ) {
        const count = readSync(this.#file, into, {
          offset: done,
          length: into.length - done,
          position: position + BigInt(done),
        });
        if (count === 0) throw new UnreadableMemory("/proc/kcore ends too early");
        done += count;
      }
    } catch (error) {
      if (error instanceof UnreadableMemory) throw error;
      throw new UnreadableMemory(
        `reading /proc/kcore failed (${hasErrno(error) ? error.code : "a position outside of it"})`,
        error,
      );
    }
  }
}
