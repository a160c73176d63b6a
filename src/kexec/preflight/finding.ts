/** What the checks before a kexec say, and what they look at. */
import type { BlockDevice } from "../../host/block-devices.ts";
import type { InitSystem } from "../../host/init-system.ts";
import type { Mount } from "../../host/mounts.ts";
import type { HostPaths } from "../../host/paths.ts";

/**
 * `blocks`: see to it first; `warns`: something may be lost or need a hand; `unknown`: could not be looked at;
 * `notes`: good to know.
 */
export type Severity = "blocks" | "warns" | "unknown" | "notes";

/** What `--quiesce` can do about a finding, and to what. */
export interface Remedy {
  /**
   * `unmount` a file system, `bus-master-off`: take a PCI device the right to write to memory, `arm-watchdog`,
   * `write-out`: sync, `unbind`: take a PCI device from its driver, never proposed, only asked for by address.
   */
  action: "unmount" | "bus-master-off" | "arm-watchdog" | "write-out" | "unbind";
  /** Mount point, PCI address, name of the watchdog; empty for `write-out`. */
  target: string;
}

/** One thing that may come up in a bad state or be lost. */
export interface Finding {
  /** Stable name of the check, such as `watchdog`. */
  check: string;
  severity: Severity;
  /** What it is, as a sentence without a full stop. */
  subject: string;
  /** The devices, mounts or processes by name. */
  items: string[];
  /** Why it matters, in one sentence. */
  why: string;
  /** What to do about it. */
  advice: string;
  /** What `--quiesce` does about it; none where only people can. */
  remedies?: Remedy[] | undefined;
}

/** What several checks need, read once; each check that awaits what cannot be read says so itself. */
export interface Machine {
  host: HostPaths;
  init: InitSystem;
  mounts: Promise<readonly Mount[]>;
  blockDevices: Promise<ReadonlyMap<string, BlockDevice>>;
}

/** Looks at one thing. System errors that it throws become a finding `unknown`. */
export interface Check {
  name: string;
  /** What is looked at, for the case that it cannot be: `the PCI devices`. */
  looksAt: string;
  find(machine: Machine): Promise<Omit<Finding, "check">[]>;
}

/** The file system at `/`: the one that was mounted there last. */
export function rootMount(mounts: readonly Mount[]): Mount | undefined {
  return mounts.findLast(({ mountPoint }) => mountPoint === "/");
}

/** `1.5 GiB`, `12 MiB` */
export function size(bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
