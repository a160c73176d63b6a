import { readKexecState } from "../../host/kexec.ts";
import type { Check } from "./finding.ts";

/** The kernel that waits for a panic goes, too. */
export const crashKernel: Check = {
  name: "crash-kernel",
  looksAt: "the crash kernel",
  async find({ host }) {
    if ((await readKexecState(host)).crashLoaded !== true) return [];
    return [
      {
        severity: "notes",
        subject: "A crash kernel is loaded",
        items: [],
        why: "It is dropped at the jump; a panic before the next one is loaded leaves no dump.",
        advice:
          "Keep crashkernel= on the next kernel's command line, and let kdump load its kernel again at boot.",
      },
    ];
  },
};
