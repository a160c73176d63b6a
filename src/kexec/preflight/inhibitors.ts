import { readInhibitors } from "../../host/inhibitors.ts";
import type { Check } from "./finding.ts";

/** Programs that asked for no shutdown now. */
export const inhibitors: Check = {
  name: "inhibitors",
  looksAt: "who inhibits the shutdown",
  async find({ host }) {
    const blocking = (await readInhibitors(host)).filter(
      ({ what, mode }) => what.includes("shutdown") && mode.startsWith("block"),
    );
    if (blocking.length === 0) return [];
    return [
      {
        severity: "warns",
        subject: "Programs ask not to be shut down now",
        items: blocking.map(
          ({ who, why, pid }) =>
            `${who}${pid === undefined ? "" : ` (process ${pid})`}${why === "" ? "" : `: ${why}`}`,
        ),
        why: "They do what should not be interrupted, such as an upgrade of packages; systemctl kexec may refuse because of them.",
        advice: "Wait until they are done: systemd-inhibit --list",
      },
    ];
  },
};
