/** The processor as the running kernel uses it. */
import { access } from "node:fs/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { readHead } from "./pseudo-files.ts";

export interface Processor {
  /** 5-level paging is on; the kernel clears the flag where it does not use it. */
  fiveLevelPaging: boolean;
  /**
   * A virtual machine whose memory the host cannot read (SEV, TDX). Plain SEV before it has encrypted state
   * (SEV-ES) cannot be told from an ordinary machine by every kernel.
   */
  confidential: boolean;
}

/** One processor's lines of /proc/cpuinfo fit, however many there are. */
const headBytes = 64 << 10;

/** Source: arch/x86/kernel/cpu/proc.c; arch/x86/coco/sev/core.c (platform device sev-guest). */
export async function readProcessor(host: HostPaths = thisHost): Promise<Processor> {
  const text = (await readHead(`${host.proc}/cpuinfo`, headBytes))?.toString("latin1") ?? "";
  const flags = new Set(/^flags\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/));
  const isSevGuest = flags.has("hypervisor") && ["sev", "sev_es", "sev_snp"].some((flag) => flags.has(flag));
  const isSnpGuest = await access(`${host.sys}/devices/platform/sev-guest`).then(
    () => true,
    () => false,
  );
  return {
    fiveLevelPaging: flags.has("la57"),
    confidential: flags.has("tdx_guest") || isSevGuest || isSnpGuest,
  };
}
