import { readKexecState } from "../../host/kexec.ts";
import { readLockdown } from "../../host/lockdown.ts";
import { readSecureBoot } from "../../host/secure-boot.ts";
import { loadingOff, signHint } from "../explain.ts";
import type { Check, Finding } from "./finding.ts";

/** Whether the running kernel takes another one at all. */
export const loading: Check = {
  name: "loading",
  looksAt: "the state of kexec and Secure Boot",
  async find({ host }) {
    const [state, lockdown, secureBoot] = await Promise.all([
      readKexecState(host),
      readLockdown(host),
      readSecureBoot(host),
    ]);
    if (!state.supported)
      return [
        {
          severity: "blocks",
          subject: "The running kernel has no kexec",
          items: [],
          why: "It cannot start another kernel.",
          advice: "It needs CONFIG_KEXEC_FILE=y; until then, reboot through the firmware.",
        },
      ];
    const findings: Omit<Finding, "check">[] = [];
    const off = loadingOff(state);
    if (off !== undefined)
      findings.push({
        severity: state.loaded === true ? "notes" : "blocks",
        subject: `Nothing can be loaded: ${off.reason}`,
        items: [],
        why:
          state.loaded === true
            ? "The kernel that is loaded can be started, but not replaced."
            : "There is no kernel to start, and there will be none.",
        advice: off.hint,
      });
    const lockedDown = lockdown === "integrity" || lockdown === "confidentiality";
    if (lockedDown || secureBoot === true)
      findings.push({
        severity: "notes",
        subject: lockedDown ? `The kernel is locked down (${lockdown})` : "Secure Boot is on",
        items: [],
        why: lockedDown
          ? "It takes no kernel without a signature that it trusts."
          : "Many kernels then take no kernel without a signature that they trust.",
        advice: signHint,
      });
    return findings;
  },
};
