/** Why the kernel calls itself tainted. Source: Documentation/admin-guide/tainted-kernels.rst; kernel/panic.c. */
import { type HostPaths, thisHost } from "./paths.ts";
import { listNames, readText } from "./pseudo-files.ts";

/** Bits of /proc/sys/kernel/tainted that tell of damage, not of policy. */
const damage: readonly [bit: number, what: string][] = [
  [4, "a machine check: the processor reported a hardware error (M)"],
  [5, "a page in a bad state (B)"],
  [7, "an oops: kernel code died (D)"],
  [14, "a soft lockup (L)"],
];

/** What the taint mask says has gone wrong since boot, in words; empty for a healthy or merely modified kernel. */
export function damageOf(mask: bigint): string[] {
  return damage.filter(([bit]) => (mask >> BigInt(bit)) & 1n).map(([, what]) => what);
}

export async function readTaint(host: HostPaths = thisHost): Promise<bigint> {
  const text = (await readText(`${host.proc}/sys/kernel/tainted`)) ?? "";
  return /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
}

/** Loaded modules that did not come with the kernel: proprietary (P) or out of tree (O), without live patches. */
export async function foreignModules(host: HostPaths = thisHost): Promise<string[]> {
  const folder = `${host.sys}/module`;
  const found = await Promise.all(
    (await listNames(folder)).map(async (name) => {
      const taint = (await readText(`${folder}/${name}/taint`)) ?? "";
      return /[PO]/.test(taint) && !taint.includes("K") ? name : undefined;
    }),
  );
  return found.filter((name) => name !== undefined);
}
