import type { FileSignature } from "../kexec/signature/file-signatures.ts";

/** Signatures for `--json`. */
export function signatureDetails(signatures: readonly FileSignature[]) {
  return signatures.map(({ of, signers, hash, digestValid, signatureValid, problem }) => ({
    of,
    signers: signers.map(({ name, issuer, sha256 }) => ({
      name,
      issuer: issuer ?? null,
      sha256: sha256 ?? null,
    })),
    hash: hash ?? null,
    digestValid,
    signatureValid,
    problem: problem ?? null,
  }));
}

export function signatureRows(signatures: readonly FileSignature[]): [string, string][] {
  if (signatures.length === 0) return [["signature", "none"]];
  return signatures.map((signature, index) => [
    index === 0 ? "signature" : "",
    `${signature.of === "kernel" ? "of the kernel inside: " : ""}${signatureText(signature)}`,
  ]);
}

function signatureText({ signers, hash, digestValid, signatureValid, problem }: FileSignature): string {
  if (problem !== undefined) return `damaged: ${problem}`;
  const names = signers.map(({ name, issuer }) =>
    issuer === undefined || issuer === name ? `“${name}”` : `“${name}” (certified by “${issuer}”)`,
  );
  const state = !digestValid
    ? "and changed afterwards: its digest does not fit"
    : signatureValid
      ? `${hash}, digest and signature fit; whom a kernel trusts is its own matter`
      : "but the signature does not fit the signer";
  return `by ${names.join(" and ")}, ${state}`;
}
