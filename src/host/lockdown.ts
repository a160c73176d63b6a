import { type HostPaths, thisHost } from "./paths.ts";
import { readText } from "./pseudo-files.ts";

/** Modes of the lockdown security module; `unknown` where the file cannot be read or is absent. */
export type Lockdown = "none" | "integrity" | "confidentiality" | "unknown";

/** The mode in brackets, as security/lockdown/lockdown.c prints it: `none [integrity] confidentiality`. */
export function parseLockdown(text: string): Lockdown {
  const mode = /\[(none|integrity|confidentiality)\]/.exec(text)?.[1];
  return (mode as Lockdown | undefined) ?? "unknown";
}

/** Needs securityfs to be mounted, which every init system does. */
export async function readLockdown(host: HostPaths = thisHost): Promise<Lockdown> {
  return parseLockdown((await readText(`${host.sys}/kernel/security/lockdown`)) ?? "");
}
