/** The algorithms of signatures that kernels verify: x509_note_sig_algo, pkcs7_sig_note_{digest,pkey}_algo. */
import { createHash, type KeyObject, verify } from "node:crypto";

export interface SignatureScheme {
  key: "rsa" | "ecdsa";
  /** A name that node:crypto knows. */
  hash: string;
}

const hashes: Readonly<Record<string, string>> = {
  "1.3.14.3.2.26": "sha1",
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
  "2.16.840.1.101.3.4.2.8": "sha3-256",
  "2.16.840.1.101.3.4.2.9": "sha3-384",
  "2.16.840.1.101.3.4.2.10": "sha3-512",
};

const schemes: Readonly<Record<string, SignatureScheme>> = {
  "1.2.840.113549.1.1.5": { key: "rsa", hash: "sha1" },
  "1.2.840.113549.1.1.11": { key: "rsa", hash: "sha256" },
  "1.2.840.113549.1.1.12": { key: "rsa", hash: "sha384" },
  "1.2.840.113549.1.1.13": { key: "rsa", hash: "sha512" },
  "1.2.840.10045.4.1": { key: "ecdsa", hash: "sha1" },
  "1.2.840.10045.4.3.2": { key: "ecdsa", hash: "sha256" },
  "1.2.840.10045.4.3.3": { key: "ecdsa", hash: "sha384" },
  "1.2.840.10045.4.3.4": { key: "ecdsa", hash: "sha512" },
};
const rsaEncryption = "1.2.840.113549.1.1.1";

/** The name of a hash by its object identifier. */
export function hashName(oid: string): string | undefined {
  return hashes[oid];
}

/** Hash and kind of key that one identifier names, as certificates do. */
export function signatureScheme(oid: string): SignatureScheme | undefined {
  return schemes[oid];
}

/** The kind of key in a SignerInfo, which names the hash apart from it. */
export function signerKeyKind(oid: string): SignatureScheme["key"] | undefined {
  if (oid === rsaEncryption) return "rsa";
  return schemes[oid]?.key === "ecdsa" ? "ecdsa" : undefined;
}

export function digest(hash: string, ...chunks: readonly Uint8Array[]): string {
  const sum = createHash(hash);
  for (const chunk of chunks) sum.update(chunk);
  return sum.digest("hex");
}

/** RSA with PKCS #1 v1.5, ECDSA with a DER signature; false also for a key of the wrong kind. */
export function verifies(
  key: KeyObject,
  scheme: SignatureScheme,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (key.asymmetricKeyType !== (scheme.key === "rsa" ? "rsa" : "ec")) return false;
  try {
    return verify(scheme.hash, data, key, signature);
  } catch {
    return false;
  }
}
