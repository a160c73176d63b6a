/** JSON that every command can print. */
import { z } from "zod";
import type { ProgressEvent } from "../core/progress.ts";
import { documentOf } from "./document.ts";

/** On standard output in place of the result, when a command failed. */
export const errorDocument = z.strictObject({
  error: z.strictObject({
    code: z
      .string()
      .regex(/^RK-[A-Z0-9-]+$/)
      .describe("stable name of the error, see errors.md"),
    message: z.string().describe("what failed and why, for people"),
    hint: z.string().optional().describe("what to do about it"),
    details: z.string().optional().describe("longer evidence, such as a compiler's output"),
    exitCode: z.int().describe("the exit code of the command"),
  }),
});

/** One line on standard error for each event while a command works. */
export const progressLine = z.strictObject({
  progress: documentOf<ProgressEvent>()(
    z.discriminatedUnion("type", [
      z.strictObject({
        type: z.literal("start"),
        step: z.string().describe("stable name of the stage"),
        title: z.string().describe("the stage, for people"),
      }),
      z.strictObject({
        type: z.literal("update"),
        step: z.string(),
        fraction: z.number().optional().describe("how much is done, 0 to 1, where it is known"),
        note: z.string().optional().describe("what is being done"),
      }),
      z.strictObject({
        type: z.literal("done"),
        step: z.string(),
        title: z.string(),
        elapsedMs: z.number(),
      }),
    ]),
  ),
});
