/** Hardware watchdogs. Source: Documentation/ABI/testing/sysfs-class-watchdog; drivers/watchdog/watchdog_dev.c. */
import { type HostPaths, thisHost } from "./paths.ts";
import { listNames, readFlag, readInteger, readText } from "./pseudo-files.ts";

export interface Watchdog {
  /** `watchdog0` */
  name: string;
  /** What its driver calls it, such as `iTCO_wdt`. */
  identity: string | undefined;
  /** A program feeds it. One that only the kernel itself feeds is not told (watchdog_hw_running). */
  active: boolean;
  /** Seconds without food after which it resets the machine. */
  timeoutSeconds: number | undefined;
  /** It cannot be stopped any more. */
  noWayOut: boolean | undefined;
  /** The longest time that its driver takes; 0 or undefined where it does not tell. */
  maxTimeoutSeconds: number | undefined;
}

/** Empty where there is none, or where the kernel lacks CONFIG_WATCHDOG_SYSFS. */
export async function readWatchdogs(host: HostPaths = thisHost): Promise<Watchdog[]> {
  const folder = `${host.sys}/class/watchdog`;
  return Promise.all(
    (await listNames(folder)).map(async (name) => {
      const [identity, state, timeoutSeconds, noWayOut, maxTimeoutSeconds] = await Promise.all([
        readText(`${folder}/${name}/identity`),
        readText(`${folder}/${name}/state`),
        readInteger(`${folder}/${name}/timeout`),
        readFlag(`${folder}/${name}/nowayout`),
        readInteger(`${folder}/${name}/max_timeout`),
      ]);
      return { name, identity, active: state === "active", timeoutSeconds, noWayOut, maxTimeoutSeconds };
    }),
  );
}

/**
 * Whether watchdogs run on when the kernel goes down, a kexec included: `false` all stop, `true` all run on,
 * undefined: each as its driver has it, and most drivers stop theirs (watchdog_stop_on_reboot: iTCO_wdt, i6300esb,
 * sp5100_tco, softdog). Source: drivers/watchdog/watchdog_core.c, parameter stop_on_reboot (since 5.8).
 */
export async function watchdogsRunOn(host: HostPaths = thisHost): Promise<boolean | undefined> {
  const stop = await readInteger(`${host.sys}/module/watchdog/parameters/stop_on_reboot`);
  return stop === undefined || stop < 0 ? undefined : stop === 0;
}
