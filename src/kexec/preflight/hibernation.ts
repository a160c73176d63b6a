import { hibernationImage } from "../../host/hibernation.ts";
import type { Check } from "./finding.ts";

/** A hibernated system that the next kernel would wake. */
export const hibernation: Check = {
  name: "hibernation",
  looksAt: "the device that a hibernated system would wake from",
  async find({ host }) {
    const image = await hibernationImage(host);
    if (image?.waiting !== true) return [];
    return [
      {
        severity: "blocks",
        subject: "A hibernated system waits in swap",
        items: [image.path],
        why: "A next kernel with resume= wakes that system instead of starting, with memory of file systems that have changed since: they would be destroyed.",
        advice:
          "Start the next kernel with noresume, or make the swap anew if nothing of that system is wanted: mkswap, with its old UUID (-U).",
      },
    ];
  },
};
