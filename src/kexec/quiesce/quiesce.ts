/** Doing what can be done about preflight's findings, on request. */
import { hasErrno } from "../../core/errors.ts";
import { runStep, type WorkOptions } from "../../core/progress.ts";
import { readMemoryInfo } from "../../host/memory.ts";
import { readMounts } from "../../host/mounts.ts";
import { type HostPaths, thisHost } from "../../host/paths.ts";
import { readPciDevices, switchOffBusMaster, unbindPciDriver } from "../../host/pci.ts";
import { requireCapability } from "../../host/privilege.ts";
import { holdersOf } from "../../host/processes.ts";
import { sync } from "../../host/reboot.ts";
import { SyscallError } from "../../host/syscall.ts";
import { unmountPatiently } from "../../host/unmount.ts";
import { OpenWatchdog } from "../../host/watchdog-device.ts";
import { readWatchdogs } from "../../host/watchdogs.ts";
import { type Finding, type Remedy, rootMount, size } from "../preflight/finding.ts";
import { usesOf } from "./device-use.ts";

/** One remedy that was tried: how it stood before, and how it stands now. */
export interface Quieted extends Remedy {
  done: boolean;
  before: string;
  after: string;
}

export interface QuiesceOptions extends WorkOptions {
  /** How long an armed watchdog waits. Default 600. */
  watchdogSeconds?: number | undefined;
  /** PCI addresses of devices to take from their drivers, for those that are known not to survive a kexec. */
  unbind?: readonly string[] | undefined;
}

/** Long enough for services that stop slowly and a slow boot; short enough to be better than a visit. */
const watchdogSeconds = 600;
/** How long the server of a network file system may take. */
const patienceMs = 15_000;

type Try = (target: string, host: HostPaths, options: QuiesceOptions) => Promise<Omit<Quieted, keyof Remedy>>;

const tries: Readonly<Record<Remedy["action"], Try>> = {
  "bus-master-off": async (address, host) => {
    const device = (await readPciDevices(host)).find((found) => found.address === address);
    if (device === undefined) return { done: true, before: "bus mastering on", after: "gone" };
    // A driver may have come meanwhile, or the root may hang on it: then it is the driver's.
    if (device.driver !== undefined)
      return {
        done: false,
        before: "bus mastering on",
        after: `driver ${device.driver} has it: left as it is`,
      };
    const now = await switchOffBusMaster(address, host);
    return {
      done: now === false,
      before: "bus mastering on",
      after: now === false ? "off" : now === true ? "still on: the device does not let go" : "no answer",
    };
  },
  unmount: async (mountPoint, host) => {
    const mounts = await readMounts(host);
    const mount = mounts.findLast((found) => found.mountPoint === mountPoint);
    if (mount === undefined) return { done: true, before: "mounted", after: "gone" };
    const before = `${mount.type} from ${mount.source}`;
    if (mount === rootMount(mounts)) return { done: false, before, after: "the root: left as it is" };
    const how = await unmountPatiently(mountPoint, patienceMs);
    if (how === "unmounted") return { done: true, before, after: "unmounted" };
    if (how === "detached") return { done: true, before, after: "detached: its server does not answer" };
    const holders = await holdersOf(mountPoint, host);
    return {
      done: false,
      before,
      after: `in use${holders.length === 0 ? "" : ` by ${holders.join(", ")}`}: left as it is`,
    };
  },
  "arm-watchdog": async (name, host, options) => {
    const watchdog = await OpenWatchdog.open(name, options.watchdogSeconds ?? watchdogSeconds, host);
    const untilText = `resets the machine at ${clock(watchdog.timeoutSeconds)}, in ${watchdog.timeoutSeconds} seconds, unless something feeds it before`;
    await watchdog.leaveArmed();
    const active = (await readWatchdogs(host)).find((found) => found.name === name)?.active === true;
    return {
      done: active,
      before: "not armed",
      after: active
        ? `armed: ${untilText} (echo V >/dev/${name} stops it)`
        : "its driver does not keep it armed when it is let go",
    };
  },
  unbind: async (address, host) => {
    const device = (await readPciDevices(host)).find((found) => found.address === address);
    if (device === undefined) return { done: false, before: "", after: "there is no such PCI device" };
    if (device.driver === undefined) return { done: true, before: "no driver", after: "no driver" };
    const before = `driver ${device.driver}`;
    const uses = await usesOf(address, host);
    if (uses.length > 0)
      return { done: false, before, after: `needed for ${uses.join(", ")}: left as it is` };
    await unbindPciDriver(address, host);
    const after = (await readPciDevices(host)).find((found) => found.address === address);
    // The driver's own end may leave it on (its shutdown at a kexec would not have).
    if (after?.driver === undefined && after?.busMaster === true) await switchOffBusMaster(address, host);
    return {
      done: after?.driver === undefined,
      before,
      after: after?.driver === undefined ? "no driver" : `driver ${after.driver} has it still`,
    };
  },
  "write-out": async (_target, host) => {
    const unwritten = async () => {
      const memory = await readMemoryInfo(host);
      return (memory.get("Dirty") ?? 0) + (memory.get("Writeback") ?? 0);
    };
    const before = await unwritten();
    await sync();
    return { done: true, before: `${size(before)} unwritten`, after: `${size(await unwritten())} unwritten` };
  },
};

/**
 * Does what `--quiesce` promises for each finding: the remedies that it names, and nothing else. What fails is told,
 * and the rest goes on; run preflight again afterwards. Nothing is undone later.
 *
 * @throws RekernelError RK-NOT-ROOT, RK-NO-CAPABILITY (5)
 */
export async function quiesceMachine(
  findings: readonly Finding[],
  options: QuiesceOptions = {},
  host: HostPaths = thisHost,
): Promise<Quieted[]> {
  const remedies: Remedy[] = findings.flatMap(({ remedies: some }) => some ?? []);
  // Last: what was unmounted needs its network card no more.
  for (const target of options.unbind ?? []) remedies.push({ action: "unbind", target });
  if (remedies.length === 0) return [];
  await requireCapability("CAP_SYS_ADMIN", "Quiescing this machine", host);
  return runStep(options, "quiesce", "Quiesce what preflight found", async (update) => {
    const results: Quieted[] = [];
    for (const remedy of remedies) {
      options.signal?.throwIfAborted();
      update(`${remedy.action} ${remedy.target}`.trim());
      results.push({ ...remedy, ...(await tryRemedy(remedy, host, options)) });
    }
    return results;
  });
}

/** Stops the watchdogs that were armed, where the jump does not come: nothing would feed them. */
export async function releaseWatchdogs(quieted: readonly Quieted[]): Promise<void> {
  for (const { action, target, done } of quieted)
    if (action === "arm-watchdog" && done)
      await OpenWatchdog.open(target, watchdogSeconds).then(
        (watchdog) => watchdog.stop(),
        () => {},
      );
}

async function tryRemedy(
  { action, target }: Remedy,
  host: HostPaths,
  options: QuiesceOptions,
): Promise<Omit<Quieted, keyof Remedy>> {
  try {
    return await tries[action](target, host, options);
  } catch (error) {
    if (!(error instanceof SyscallError) && !hasErrno(error)) throw error;
    const hints: Readonly<Record<string, string>> = {
      EPERM: "not permitted: the kernel is locked down, or a container is in the way",
      EBUSY: "in use by another program",
      ENOENT: "not there any more",
    };
    return { done: false, before: "", after: `failed: ${hints[error.code] ?? error.message}` };
  }
}

function clock(inSeconds: number): string {
  return new Date(Date.now() + inSeconds * 1000).toTimeString().slice(0, 8);
}
