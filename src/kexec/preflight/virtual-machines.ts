import { readVirtualMachines } from "../../host/virtual-machines.ts";
import type { Check, Finding } from "./finding.ts";

/** Guests that run here. */
export const virtualMachines: Check = {
  name: "virtual-machines",
  looksAt: "the processes that run virtual machines",
  async find({ host }) {
    const { machines, hiddenProcesses, inUse } = await readVirtualMachines(host);
    const findings: Omit<Finding, "check">[] = [];
    if (machines.length > 0)
      findings.push({
        severity: "blocks",
        subject: machines.length === 1 ? "A virtual machine runs" : `${machines.length} virtual machines run`,
        items: machines.map(({ command, pid }) => `${command} (process ${pid})`),
        why: "For a guest the jump is a power cut, unless something shuts it down or saves it before.",
        advice: "Shut the guests down, save them (virsh managedsave) or migrate them.",
      });
    const unseen = inUse === true && machines.length === 0;
    if (hiddenProcesses > 0 || unseen)
      findings.push({
        severity: "unknown",
        subject:
          hiddenProcesses > 0
            ? `Processes of other users may run virtual machines (${hiddenProcesses} could not be looked at)`
            : "KVM is in use, by what cannot be seen",
        items: [],
        why: "For a guest the jump is a power cut.",
        advice: "Run the command as root.",
      });
    return findings;
  },
};
