import { z } from "zod";
import type { LabRun } from "../lab/run.ts";
import { documentOf } from "./document.ts";

/** `rekernel lab run` */
export const labRunDocument = documentOf<LabRun>()(
  z.strictObject({
    kernel: z.string().describe("release of the kernel that the command ran on"),
    exitCode: z.int().describe("the command's own exit code; 128 + N where signal N ended it"),
    stdout: z.string(),
    stderr: z.string(),
    elapsedMs: z.number().describe("the command's run time, without the boot"),
    dmesg: z.string().optional().describe("the kernel's messages, with --dmesg"),
  }),
);
