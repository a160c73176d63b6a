import { readLivePatches } from "../../host/livepatches.ts";
import type { Check } from "./finding.ts";

/** Live patches go with the kernel that they patch. */
export const livePatches: Check = {
  name: "live-patches",
  looksAt: "the live patches",
  async find({ host }) {
    const enabled = (await readLivePatches(host)).filter((patch) => patch.enabled);
    if (enabled.length === 0) return [];
    return [
      {
        severity: "warns",
        subject:
          enabled.length === 1 ? "A live patch is loaded" : `${enabled.length} live patches are loaded`,
        items: enabled.map(({ name }) => name),
        why: "They patch this kernel only: what they mend is broken again if the next kernel does not bring it.",
        advice: "Start a kernel that has the fixes, or load live patches that were built for it.",
      },
    ];
  },
};
