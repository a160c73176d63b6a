import { readWatchdogs, type Watchdog, watchdogsRunOn } from "../../host/watchdogs.ts";
import type { Check, Finding } from "./finding.ts";

/** Less than this is too short for the way down, the jump and the way up on a slow machine. */
const ampleSeconds = 180;

/** Watchdogs that may reset the machine in the middle of the next boot. */
export const watchdog: Check = {
  name: "watchdog",
  looksAt: "the watchdogs",
  async find({ host, init }) {
    const all = await readWatchdogs(host);
    const armed = all.filter(({ active }) => active);
    const [idle] = all;
    if (armed.length === 0 && idle !== undefined) return [unarmed(idle, await watchdogsRunOn(host))];
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

function unarmed({ name, identity }: Watchdog, runsOn: boolean | undefined): Omit<Finding, "check"> {
  const kept = "kept armed over the jump it turns a hang into a reset";
  return {
    severity: "notes",
    subject: `The watchdog ${name}${identity === undefined ? "" : ` (${identity})`} is not armed`,
    items: [],
    why: "A next kernel that hangs before its user space stays hung.",
    advice:
      runsOn === true
        ? `Armed, it runs on over the jump (watchdog.stop_on_reboot=0), and ${kept}.`
        : runsOn === false
          ? "Arming it does not help: this kernel stops watchdogs at the jump (watchdog.stop_on_reboot=1)."
          : `Most drivers stop theirs at the jump; boot this kernel with watchdog.stop_on_reboot=0, and ${kept}.`,
    ...(runsOn === false ? {} : { remedies: [{ action: "arm-watchdog" as const, target: name }] }),
  };
}
