import { lstat } from "node:fs/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { readText } from "./pseudo-files.ts";

/** Who starts and stops services here. */
export interface InitSystem {
  /** `systemd` when it is running as process 1; `other` for all else, minimal containers included. */
  kind: "systemd" | "other";
  /** The name of process 1. */
  name: string;
}

/** Source: sd_booted(3): systemd runs the machine exactly when /run/systemd/system is a folder. */
export async function initSystem(host: HostPaths = thisHost): Promise<InitSystem> {
  const name = (await readText(`${host.proc}/1/comm`)) ?? "unknown";
  const booted = await lstat(`${host.run}/systemd/system`).then(
    (stat) => stat.isDirectory(),
    () => false,
  );
  return { kind: booted ? "systemd" : "other", name };
}
