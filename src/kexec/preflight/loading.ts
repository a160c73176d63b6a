import { readSecureBoot } from "../../host/secure-boot.ts";
import { loadingOff, signHint } from "../explain.ts";
import { readSignatureFacts } from "../signature/facts.ts";
import type { KernelKeys } from "../signature/keys.ts";
import type { Check, Finding } from "./finding.ts";

/** Whether the running kernel takes another one at all. */
export const loading: Check = {
  name: "loading",
  looksAt: "the state of kexec and Secure Boot",
  async find({ host }) {
    const [{ rules, keys }, secureBoot] = await Promise.all([readSignatureFacts(host), readSecureBoot(host)]);
    const { state, lockdown, enforced, imaAppraisal } = rules;
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
    if (lockedDown || enforced === true || secureBoot === true)
      findings.push({
        severity: "notes",
        subject: lockedDown
          ? `The kernel is locked down (${lockdown})`
          : enforced === true
            ? "The kernel takes signed kernels only"
            : "Secure Boot is on",
        items: trustedKeys(keys),
        why:
          lockedDown || enforced === true
            ? "It takes no kernel without a signature that it trusts."
            : "Many kernels then take no kernel without a signature that they trust.",
        advice: `${signHint} What it will say to an image: rekernel kexec load IMAGE --dry-run.`,
      });
    if (imaAppraisal === "signature" || imaAppraisal === "some")
      findings.push({
        severity: "notes",
        subject: "IMA's policy verifies kernels",
        items: [],
        why: "It wants a signature or a digest in the extended attribute security.ima of the kernel's file, which rekernel does not look at.",
        advice:
          "Sign the file with evmctl, and give it as it is: what is unpacked in memory has no such attribute.",
      });
    return findings;
  },
};

function trustedKeys({ trusted, platform }: KernelKeys): string[] {
  return [...(trusted ?? []), ...(platform ?? [])].map(
    ({ description, origin }) => `trusts ${description} (${origin})`,
  );
}
