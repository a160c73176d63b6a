import { readMemoryInfo } from "../../host/memory.ts";
import { type Check, size } from "./finding.ts";

/** So much takes seconds to write on a slow disk. */
const much = 256 * 2 ** 20;

/** Data that has to be written before the jump. */
export const unwrittenData: Check = {
  name: "unwritten-data",
  looksAt: "how much data is not written yet",
  async find({ host }) {
    const memory = await readMemoryInfo(host);
    const bytes = (memory.get("Dirty") ?? 0) + (memory.get("Writeback") ?? 0);
    if (bytes < much) return [];
    return [
      {
        severity: "notes",
        subject: `${size(bytes)} are not written to disk yet`,
        items: [],
        why: "They are written before the jump, while services are down already.",
        advice: "Run sync shortly before.",
        remedies: [{ action: "write-out", target: "" }],
      },
    ];
  },
};
