/** The running kernel's own log, to show what it said about a call that failed. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { hasErrno } from "../core/errors.ts";
import { syscallNumber } from "./arch/x86_64.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { syscall } from "./syscall.ts";

/** Largest record of /dev/kmsg (PRINTK_MESSAGE_MAX). */
const recordBytes = 8192;
const maxLines = 200;
const seekEnd = 2;

/**
 * The message of one /dev/kmsg record: `prefix[,…];text`, then lines of `KEY=value`.
 * Bytes that are not printable come as `\x..`; they stay escaped.
 * Source: Documentation/ABI/testing/dev-kmsg.
 */
export function parseKmsgRecord(record: string): string | undefined {
  const match = /^\d+,\d+,\d+,[^;]*;([^\n]*)/.exec(record);
  return match?.[1];
}

/** Lines that the kernel writes from now on. Empty where /dev/kmsg may not be read. */
export class KernelLogTail {
  readonly #descriptor: number | undefined;

  private constructor(descriptor: number | undefined) {
    this.#descriptor = descriptor;
  }

  static async open(host: HostPaths = thisHost): Promise<KernelLogTail> {
    let descriptor: number | undefined;
    try {
      descriptor = openSync(`${host.dev}/kmsg`, constants.O_RDONLY | constants.O_NONBLOCK);
      await syscall("lseek", syscallNumber.lseek, descriptor, 0, seekEnd);
      return new KernelLogTail(descriptor);
    } catch {
      if (descriptor !== undefined) closeSync(descriptor);
      return new KernelLogTail(undefined);
    }
  }

  /** What has come since the last call, oldest first. */
  read(): string[] {
    const lines: string[] = [];
    if (this.#descriptor === undefined) return lines;
    const buffer = Buffer.alloc(recordBytes);
    while (lines.length < maxLines) {
      try {
        const length = readSync(this.#descriptor, buffer);
        if (length === 0) break;
        const line = parseKmsgRecord(buffer.toString("utf8", 0, length));
        if (line !== undefined) lines.push(line);
      } catch (error) {
        // EPIPE: records were overwritten before we came; the next read goes on behind them.
        if (!hasErrno(error) || error.code !== "EPIPE") break;
      }
    }
    return lines;
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
  }
}

/** Writes a line into the kernel's log, level "notice"; where that is not allowed, nothing. */
export async function logToKernel(line: string, host: HostPaths = thisHost): Promise<void> {
  await writeFile(`${host.dev}/kmsg`, `<5>${line}\n`).catch(() => {});
}
