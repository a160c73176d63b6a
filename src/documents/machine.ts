import { z } from "zod";
import type { MachineReport } from "../doctor/report.ts";
import { documentOf } from "./document.ts";

const check = z.strictObject({
  name: z.string().describe("what was looked at: a Debian package, or a word such as `memory`"),
  state: z
    .enum(["ok", "note", "missing", "unknown"])
    .describe("`note` works, with something to know; only `missing` makes the capability unavailable"),
  finding: z.string().describe("what was found, for people"),
  hint: z.string().optional().describe("what to do about it"),
});

/** `rekernel doctor` */
export const machineReportDocument = documentOf<MachineReport>()(
  z.strictObject({
    kernelRelease: z.string().describe("the running kernel, as `uname -r` prints it"),
    capabilities: z.array(
      z.strictObject({
        name: z.enum(["build", "livepatch", "kexec", "lab"]),
        title: z.string().describe("the capability, for people"),
        available: z.boolean().describe("no check is `missing`"),
        checks: z.array(check),
      }),
    ),
    missingPackages: z.array(z.string()).describe("Debian packages that would bring what is missing"),
    installCommand: z.string().optional().describe("the one line that installs them"),
  }),
);
