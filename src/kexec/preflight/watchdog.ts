import { readWatchdogs } from "../../host/watchdogs.ts";
import type { Check } from "./finding.ts";

/** Less than this is too short for the way down, the jump and the way up on a slow machine. */
const ampleSeconds = 180;

/** Watchdogs that may reset the machine in the middle of the next boot. */
export const watchdog: Check = {
  name: "watchdog",
  looksAt: "the watchdogs",
  async find({ host, init }) {
    const armed = (await readWatchdogs(host)).filter(({ active }) => active);
    return armed.map(({ name, identity, timeoutSeconds, noWayOut }) => ({
      severity: timeoutSeconds !== undefined && timeoutSeconds >= ampleSeconds ? "notes" : "warns",
      subject: `The watchdog ${name}${identity === undefined ? "" : ` (${identity})`} is armed${
        timeoutSeconds === undefined ? "" : `, with ${timeoutSeconds} seconds`
      }${noWayOut === true ? ", and cannot be stopped" : ""}`,
      items: [],
      why: "Where nothing feeds it until the next kernel's driver does, it resets the machine in the middle of that boot.",
      advice:
        init.kind === "systemd"
          ? "Set KExecWatchdogSec= together with RuntimeWatchdogSec= in /etc/systemd/system.conf to longer than the next boot takes."
          : noWayOut === true
            ? "Give it longer in the settings of the program that feeds it."
            : "Give it longer in the settings of the program that feeds it, or stop that program.",
    }));
  },
};
