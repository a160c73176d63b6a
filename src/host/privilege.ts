import { RekernelError } from "../core/errors.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { readText } from "./pseudo-files.ts";

/** Bit numbers from include/uapi/linux/capability.h. */
export const capability = { CAP_SYS_MODULE: 16, CAP_SYS_ADMIN: 21, CAP_SYS_BOOT: 22 } as const;

/** The effective capability set out of the text of /proc/self/status, or undefined without one. */
export function parseEffectiveCapabilities(status: string): bigint | undefined {
  const match = /^CapEff:\s*([0-9a-f]{1,16})$/m.exec(status);
  return match ? BigInt(`0x${match[1]}`) : undefined;
}

/**
 * Makes sure that this process may do what needs a capability.
 *
 * @param purpose completes "… needs root": `Loading a live patch`
 * @throws RekernelError RK-NOT-ROOT (5); RK-NO-CAPABILITY (5) for root in a container without it
 */
export async function requireCapability(
  name: keyof typeof capability,
  purpose: string,
  host: HostPaths = thisHost,
): Promise<void> {
  const effective = parseEffectiveCapabilities((await readText(`${host.proc}/self/status`)) ?? "");
  if (effective === undefined ? process.geteuid?.() === 0 : (effective >> BigInt(capability[name])) & 1n)
    return;
  if (process.geteuid?.() !== 0)
    throw new RekernelError("machineCannot", "RK-NOT-ROOT", `${purpose} needs root (${name}).`, {
      hint: "Run the same command with sudo, or as root.",
    });
  throw new RekernelError(
    "machineCannot",
    "RK-NO-CAPABILITY",
    `${purpose} needs ${name}, which this root does not have.`,
    { hint: "A container or a security policy took it away: run the command on the machine itself." },
  );
}
