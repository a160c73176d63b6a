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
}

/** Empty where there is none, or where the kernel lacks CONFIG_WATCHDOG_SYSFS. */
export async function readWatchdogs(host: HostPaths = thisHost): Promise<Watchdog[]> {
  const folder = `${host.sys}/class/watchdog`;
  return Promise.all(
    (await listNames(folder)).map(async (name) => {
      const [identity, state, timeoutSeconds, noWayOut] = await Promise.all([
        readText(`${folder}/${name}/identity`),
        readText(`${folder}/${name}/state`),
        readInteger(`${folder}/${name}/timeout`),
        readFlag(`${folder}/${name}/nowayout`),
      ]);
      return { name, identity, active: state === "active", timeoutSeconds, noWayOut };
    }),
  );
}
