import { readMemoryInfo } from "../../host/memory.ts";
import { damageOf, readTaint } from "../../host/taint.ts";
import { type Check, type Finding, size } from "./finding.ts";

/** Damage that a reboot through the firmware would mend, and a kexec may not. */
export const kernelHealth: Check = {
  name: "kernel-health",
  looksAt: "the kernel's health",
  async find({ host }) {
    const [taint, memory] = await Promise.all([readTaint(host), readMemoryInfo(host)]);
    const findings: Omit<Finding, "check">[] = [];
    const damage = damageOf(taint);
    if (damage.length > 0)
      findings.push({
        severity: "warns",
        subject: "Something went wrong in this kernel since it booted",
        items: damage,
        why: "It may hang on its way down, and hand devices on in a state that the firmware would have reset.",
        advice: "See dmesg; reboot through the firmware if hardware is to blame.",
      });
    const bad = memory.get("HardwareCorrupted") ?? 0;
    if (bad > 0)
      findings.push({
        severity: "warns",
        subject: `Memory is broken: this kernel has set ${size(bad)} aside (HardwareCorrupted)`,
        items: [],
        why: "The next kernel does not know which pages these are, and uses them.",
        advice: "Reboot through the firmware, which tests memory, or replace it.",
      });
    return findings;
  },
};
