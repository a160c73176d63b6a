/** The kernel's own keys: which there are, and in which keyring. Their content never leaves the kernel. */
import { RekernelError } from "../core/errors.ts";
import { syscallNumber } from "./arch/x86_64.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { readText } from "./pseudo-files.ts";
import { SyscallError, syscall } from "./syscall.ts";

/** include/uapi/linux/keyctl.h */
const KEYCTL_READ = 11;
const maxKeys = 4096;

/** One line of /proc/keys. */
export interface ListedKey {
  serial: number;
  /** At most nine letters: `asymmetri`, `keyring`, `blacklist`. */
  type: string;
  /** Without what the kernel adds: the number of a keyring's members, the kind of an asymmetric key. */
  description: string;
}

/**
 * Source: security/keys/proc.c proc_keys_show; crypto/asymmetric_keys/asymmetric_type.c asymmetric_key_describe.
 * Lines that are different are passed over.
 */
export function parseProcKeys(text: string): ListedKey[] {
  const keys: ListedKey[] = [];
  const line = /^([0-9a-f]{1,8}) \S{7} +\d+ +\S+ [0-9a-f]{8} +-?\d+ +-?\d+ (.{9}) (.*)$/gm;
  for (const [, serial, type, rest] of text.matchAll(line)) {
    const kind = type!.trimEnd();
    const added =
      kind === "keyring"
        ? /: (empty|\d+)$/
        : kind === "asymmetri"
          ? /: [\w-]+\.[\w-]+( [0-9a-f]*)? \[.*\]$/
          : /$/;
    keys.push({ serial: Number.parseInt(serial!, 16), type: kind, description: rest!.replace(added, "") });
  }
  return keys;
}

/** The keys that this user may see; other users than root see next to none. */
export async function readListedKeys(host: HostPaths = thisHost): Promise<ListedKey[]> {
  return parseProcKeys((await readText(`${host.proc}/keys`)) ?? "");
}

/**
 * Serial numbers of the keys and keyrings in a keyring.
 *
 * @returns undefined where this user, or this Node, may not read it, or it is none
 */
export async function keyringMembers(serial: number): Promise<number[] | undefined> {
  const buffer = new Uint8Array(maxKeys * 4);
  try {
    const size = Number(
      await syscall("keyctl", syscallNumber.keyctl, KEYCTL_READ, serial, buffer, buffer.length),
    );
    const view = new DataView(buffer.buffer, 0, Math.min(size, buffer.length));
    return Array.from({ length: view.byteLength >> 2 }, (_, index) => view.getInt32(index * 4, true));
  } catch (error) {
    // No right to, or no way: this process makes no system calls.
    if (error instanceof SyscallError || error instanceof RekernelError) return undefined;
    throw error;
  }
}
