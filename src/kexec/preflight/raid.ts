import type { Check } from "./finding.ts";

/** Actions that leave an array without its redundancy until they end. */
const serious = new Set(["resync", "recover", "reshape"]);

/** RAID arrays (md) that are at work. */
export const raid: Check = {
  name: "raid",
  looksAt: "the RAID arrays",
  async find({ blockDevices }) {
    return [...(await blockDevices).values()]
      .filter(({ raidAction }) => raidAction !== undefined && !["idle", "frozen"].includes(raidAction))
      .map(({ name, raidAction, raidProgress }) => ({
        severity: serious.has(raidAction!) ? "warns" : "notes",
        subject: `The array ${name} is at work: ${raidAction}${
          raidProgress === undefined || raidProgress === "none" ? "" : `, ${raidProgress} sectors`
        }`,
        items: [],
        why: serious.has(raidAction!)
          ? "Until that ends the array may lack redundancy; the jump interrupts it, and it goes on from its last checkpoint."
          : "The jump interrupts it.",
        advice: `Wait until /sys/block/${name}/md/sync_action says idle.`,
      }));
  },
};
