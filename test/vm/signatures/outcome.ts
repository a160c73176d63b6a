import type { KexecPrediction } from "../../../src/kexec/signature/predict.ts";
import type { SignatureVerdict } from "../../../src/kexec/signature/verify.ts";

/** What was said of an image beforehand, and what the kernel answered. */
export interface Outcome {
  predicted: KexecPrediction;
  signature: SignatureVerdict | undefined;
  notes: readonly string[];
  /** Undefined: it was taken. */
  errno: string | undefined;
  /** What a user would read. */
  message: string | undefined;
}
