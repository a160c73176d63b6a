import { foreignModules } from "../../host/taint.ts";
import type { Check } from "./finding.ts";

/** Modules that the next kernel's package does not bring. */
export const modules: Check = {
  name: "modules",
  looksAt: "the loaded modules",
  async find({ host }) {
    const foreign = await foreignModules(host);
    if (foreign.length === 0) return [];
    return [
      {
        severity: "notes",
        subject: "Modules are loaded that did not come with the kernel",
        items: foreign,
        why: "Another release needs them built for it, or what they drive is missing.",
        advice: "See that they are there for the next kernel: dkms status, modinfo -k RELEASE MODULE",
      },
    ];
  },
};
