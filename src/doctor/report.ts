/** What rekernel does, each with needs of its own. */
export const capabilityNames = ["build", "livepatch", "kexec", "lab"] as const;

export type CapabilityName = (typeof capabilityNames)[number];

/** One thing that was looked at. */
export interface Check {
  /** Stable for machines, such as `gcc-12` or `reliable-stacks`. */
  name: string;
  /**
   * `ok`; `note`: it works, with something to know; `missing`: the capability is not there without it;
   * `unknown`: it could not be found out.
   */
  state: "ok" | "note" | "missing" | "unknown";
  /** What was found, as one sentence. */
  finding: string;
  /** What to do about it. */
  hint?: string;
}

export interface Capability {
  name: CapabilityName;
  /** What it lets one do, in a few words. */
  title: string;
  /** No check of it is `missing`. */
  available: boolean;
  checks: Check[];
}

export interface MachineReport {
  /** The running kernel's release, as `uname -r` prints it. */
  kernelRelease: string;
  capabilities: Capability[];
  /** Debian packages that would bring what is missing. */
  missingPackages: string[];
  /** The one line that installs them. */
  installCommand?: string;
}
