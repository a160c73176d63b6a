/** What the running kernel will say about an image, with all that was found on the way. */
import type { KexecMethod } from "../method.ts";
import type { SignatureFacts } from "./facts.ts";
import { imageSignatures } from "./inspect.ts";
import { type KexecPrediction, predictKexec } from "./predict.ts";
import { type SignatureVerdict, verifyImage } from "./verify.ts";

export interface ImageAssessment {
  prediction: KexecPrediction;
  /** Undefined for kexec_load of an image that is not unpacked here: nobody looks at its signature. */
  signature: SignatureVerdict | undefined;
  /** What is odd all the same, in full sentences. */
  notes: readonly string[];
}

/**
 * @param image the kernel as the system call gets it, out of whatever it was packed in
 * @param name of it, for people
 * @param unpacked by rekernel, for kexec_load: its signature is looked at in place of the kernel, which sees none
 */
export function assessImage(
  image: Uint8Array,
  name: string,
  method: KexecMethod,
  facts: SignatureFacts,
  unpacked = false,
): ImageAssessment {
  if (method === "kexec_load" && !unpacked)
    return { prediction: predictKexec(method, undefined, facts.rules), signature: undefined, notes: [] };
  const signature = verifyImage(image, name, facts.keys);
  const notes = signature.outcome === "invalid" ? [] : revocations(image, name, signature, facts);
  if (method === "kexec_load" && signature.outcome === "invalid" && signature.signatures > 0)
    notes.push(`The running kernel would not find the image's signature valid: ${signature.reason}`);
  const asked = method === "kexec_load" ? undefined : signature;
  return { prediction: predictKexec(method, asked, facts.rules), signature, notes };
}

/** The firmware starts nothing that dbx names; kexec looks at less of it. */
function revocations(
  image: Uint8Array,
  name: string,
  { imageDigest }: SignatureVerdict,
  { revoked }: SignatureFacts,
): string[] {
  const but =
    "the firmware would not start it under Secure Boot, but the running kernel's kexec does not look at that.";
  if (imageDigest !== undefined && revoked.digests.has(imageDigest))
    return [`The firmware's list of revoked images (dbx) names this one: ${but}`];
  const certificates = new Set(revoked.certificates.map(({ sha256 }) => sha256));
  const signers = imageSignatures(image, name)[0]?.signers ?? [];
  return signers
    .filter(({ sha256 }) => sha256 !== undefined && certificates.has(sha256))
    .map((signer) => `The firmware's list (dbx) revokes the certificate of “${signer.name}”: ${but}`);
}
