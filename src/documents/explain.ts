import { z } from "zod";

/** `rekernel explain CODE` */
export const explainDocument = z.strictObject({
  code: z.string().describe("the stable code, such as `RK-DATA-CHANGE`"),
  title: z.string().describe("what it means, in one line"),
  text: z.string().describe("the whole explanation, as Markdown"),
  hasPage: z
    .boolean()
    .describe("false where docs/errors.md says all there is to say, in one row of its tables"),
});
export type Explanation = z.infer<typeof explainDocument>;

/** `rekernel explain` */
export const explainListDocument = z.strictObject({
  codes: z.array(explainDocument.omit({ text: true })).describe("every code there is"),
});
