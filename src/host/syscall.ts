/**
 * System calls of the running kernel through the C library's `syscall(2)` and node:ffi.
 *
 * node:ffi is part of Node (so the single executable needs no native add-on) and still experimental:
 * this file is the only one that touches it.
 */
import type { WrappedFunction } from "node:ffi";
import { RekernelError } from "../core/errors.ts";
import { machine } from "./arch/x86_64.ts";
import { errnoName, errnoText } from "./errno.ts";

/** A structure that holds pointers: its bytes, and what the 8 bytes at each offset are to point to. */
export interface SyscallStructure {
  bytes: Uint8Array;
  pointers: ReadonlyMap<number, Uint8Array>;
}

/** Integers go as they are; strings as NUL-terminated bytes; buffers and structures by address. */
export type SyscallArgument = number | bigint | string | Uint8Array | SyscallStructure;

interface CallInterface {
  syscall: WrappedFunction;
  getRawPointer(source: Uint8Array): bigint;
  errno(): number;
}

/** A system call that the kernel answered with an error. */
export class SyscallError extends Error {
  readonly call: string;
  /** The positive error number. */
  readonly errno: number;
  /** Its name, such as `EPERM`. */
  readonly code: string;

  constructor(call: string, errno: number) {
    super(`${call}: ${errnoName(errno)} (${errnoText(errno)})`);
    this.name = "SyscallError";
    this.call = call;
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

let loaded: CallInterface | undefined;

/** Loads node:ffi on first use: it costs start-up time that most commands need not pay. */
async function callInterface(): Promise<CallInterface> {
  if (loaded !== undefined) return loaded;
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new RekernelError(
      "machineCannot",
      "RK-ARCHITECTURE",
      `rekernel changes running kernels on Linux ${machine} only; this is ${process.platform} ${process.arch}.`,
    );
  let ffi: typeof import("node:ffi");
  try {
    ffi = await import("node:ffi");
  } catch (cause) {
    throw new RekernelError(
      "machineCannot",
      "RK-NODE-FFI",
      `Node ${process.version} cannot make system calls: it has no node:ffi.`,
      {
        hint: "Run bin/rekernel, or the executable that npm run build makes, which bring their Node.",
        cause,
      },
    );
  }
  const { functions } = ffi.dlopen(null, {
    syscall: { return: "i64", arguments: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"] },
    __errno_location: { return: "pointer", arguments: [] },
  });
  // The address is the thread's own and stays; looking it up after a call could overwrite its value.
  const errnoAddress = functions.__errno_location();
  loaded = {
    syscall: functions.syscall,
    getRawPointer: ffi.getRawPointer,
    errno: () => ffi.getInt32(errnoAddress, 0),
  };
  return loaded;
}

/**
 * Makes one system call on this thread and waits for it.
 *
 * @returns the call's value, never negative
 * @throws SyscallError with the kernel's error number; RekernelError RK-NODE-FFI, RK-ARCHITECTURE (5)
 */
export async function syscall(
  name: string,
  number: number,
  ...args: readonly SyscallArgument[]
): Promise<bigint> {
  const { syscall: call, getRawPointer, errno } = await callInterface();
  // Held in an array until the call is over: the kernel reads the memory, the collector must not take it.
  const buffers: Uint8Array[] = [];
  const addressOf = (bytes: Uint8Array) => {
    buffers.push(bytes);
    return getRawPointer(bytes);
  };
  const words = args.map((argument) => {
    if (typeof argument === "bigint") return argument;
    if (typeof argument === "number") return BigInt(argument);
    if (typeof argument === "string") return addressOf(Buffer.from(`${argument}\0`));
    if (argument instanceof Uint8Array) return addressOf(argument);
    const structure = Uint8Array.from(argument.bytes);
    const view = new DataView(structure.buffer);
    for (const [offset, target] of argument.pointers) view.setBigUint64(offset, addressOf(target), true);
    return addressOf(structure);
  });
  while (words.length < 6) words.push(0n);
  const value = call(BigInt(number), ...words) as bigint;
  const failure = value < 0n ? errno() : 0;
  buffers.length = 0;
  if (value < 0n) throw new SyscallError(name, failure);
  return value;
}
