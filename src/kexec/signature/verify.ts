/**
 * What the running kernel finds when it verifies an image.
 *
 * In its order, which decides the error number: the PE headers, the first entry of the table, the signature in
 * itself, revoked certificates, known keys, and only then the digest of the image. The digests in the firmware's
 * dbx are not among it: the kernel lists them, but its kexec does not ask.
 *
 * Source: kernel/kexec_file.c kexec_kernel_verify_pe_sig, crypto/asymmetric_keys/verify_pefile.c (6.1, 6.12).
 */
import { RekernelError } from "../../core/errors.ts";
import {
  type AttributeCertificate,
  attributeCertificates,
  authenticodeDigest,
  PKCS_SIGNED_DATA,
  REVISION_2,
} from "../../formats/authenticode.ts";
import { type PeFile, readPe } from "../../formats/pe.ts";
import { readSignedData, type SignedData } from "../../formats/signed-data.ts";
import { type Chain, findTrust, type Rejection, verifyWithin } from "./chain.ts";
import type { KernelKeys } from "./keys.ts";

/** As a plain value. */
export interface SignatureVerdict {
  /** `valid`: the kernel verifies it. `unknown`: its keys are not to be seen. */
  outcome: "valid" | "invalid" | "unknown";
  /** What the kernel's verification ends with; undefined when it is valid, or not known. */
  errno: string | undefined;
  /** What was found, a whole sentence. */
  reason: string;
  /** The name of the (first) signer. */
  signer: string | undefined;
  /** How many signatures the image carries; the kernel looks at the first. */
  signatures: number;
  /** The key that vouches for it, and the keyring that it is in. */
  trustedKey: { description: string; origin: string } | undefined;
  /** The image's SHA-256 digest (Authenticode) in hex, by which a dbx names it. */
  imageDigest: string | undefined;
}

/** @param name of the image, for people */
export function verifyImage(bytes: Uint8Array, name: string, keys: KernelKeys): SignatureVerdict {
  const found: Found = { signatures: 0 };
  const result = judge(bytes, name, keys, found);
  const common = {
    signer: found.signer,
    signatures: found.signatures,
    imageDigest: found.pe && authenticodeDigest(bytes, found.pe, "sha256"),
  };
  if ("trust" in result)
    return {
      outcome: "valid",
      errno: undefined,
      reason: `It is signed by “${found.signer}”, whom the key “${result.trust.description}” of ${result.trust.origin} vouches for.`,
      trustedKey: result.trust,
      ...common,
    };
  if ("unknown" in result)
    return { outcome: "unknown", errno: undefined, reason: result.unknown, trustedKey: undefined, ...common };
  return {
    outcome: "invalid",
    errno: result.errno,
    reason: `${result.reason.charAt(0).toUpperCase()}${result.reason.slice(1)}.`,
    trustedKey: undefined,
    ...common,
  };
}

interface Found {
  pe?: PeFile;
  signer?: string;
  signatures: number;
}

type Judgement = Rejection | { trust: { description: string; origin: string } } | { unknown: string };

function judge(bytes: Uint8Array, name: string, keys: KernelKeys, found: Found): Judgement {
  const pe = peOf(bytes, name);
  if ("errno" in pe) return pe;
  found.pe = pe;
  if (pe.certificates === undefined) return { errno: "ENODATA", reason: "it is not signed" };
  const entries = entriesOf(bytes, pe);
  if ("errno" in entries) return entries;
  found.signatures = entries.length;
  const data = signedDataOf(entries[0]!);
  if ("errno" in data) return data;
  found.signer = signerName(data);
  const chains = verifyWithin(data, keys);
  if ("errno" in chains) return chains;
  const revoked = findTrust(
    chains,
    keys.revokedSigners.map((certificate) => ({
      description: certificate.keyDescription,
      origin: "dbx",
      certificate,
    })),
  );
  if (revoked !== undefined && "key" in revoked)
    return { errno: "EKEYREJECTED", reason: `the key “${revoked.key.description}” of its signer is revoked` };
  const trust = trustOf(chains, keys, found);
  if (!("trust" in trust)) return trust;
  return imageRejection(bytes, pe, data) ?? trust;
}

/** Headers as the kernel wants them: pefile_parse_binary. */
function peOf(bytes: Uint8Array, name: string): PeFile | Rejection {
  const bad = { errno: "ELIBBAD", reason: "its PE header is damaged, or missing" };
  try {
    const pe = readPe(bytes, name);
    return pe.directories.length < 5 || pe.sizeOfHeaders >= bytes.length ? bad : pe;
  } catch (error) {
    if (error instanceof RekernelError) return bad;
    throw error;
  }
}

function entriesOf(bytes: Uint8Array, pe: PeFile): AttributeCertificate[] | Rejection {
  try {
    return attributeCertificates(bytes, pe);
  } catch (error) {
    if (error instanceof RekernelError)
      return { errno: "ELIBBAD", reason: "its table of signatures is damaged" };
    throw error;
  }
}

/** pefile_strip_sig_wrapper, pkcs7_parse_message */
function signedDataOf({ revision, type, data }: AttributeCertificate): SignedData | Rejection {
  if (revision !== REVISION_2 || type !== PKCS_SIGNED_DATA)
    // ENOTSUPP is a number of the kernel's own.
    return { errno: "ENOTSUPP", reason: "its first signature is of a kind that kernels do not take" };
  if (data.length < 4) return { errno: "EKEYREJECTED", reason: "its first signature is empty" };
  if (data[0] !== 0x30) return { errno: "ELIBBAD", reason: "its first signature is damaged" };
  // Lengths of three bytes and more; 0x80 is the indefinite length.
  if (data[1]! > 0x82) return { errno: "EMSGSIZE", reason: "its first signature is larger than 64 KiB" };
  try {
    const read = readSignedData(data);
    if (!read.isAuthenticode)
      return { errno: "EKEYREJECTED", reason: "its first signature is not one of a PE file (Authenticode)" };
    return read;
  } catch (error) {
    if (error instanceof RekernelError) return { errno: "EBADMSG", reason: "its first signature is damaged" };
    throw error;
  }
}

function signerName({ signers, certificates }: SignedData): string {
  const id = signers[0]?.certificateId;
  const own = certificates.find((certificate) => certificate.id === id);
  return own?.subject ?? "a certificate that is not included";
}

function trustOf(
  chains: readonly Chain[],
  { trusted, platform }: KernelKeys,
  { signer, signatures }: Found,
): Judgement {
  for (const keys of [trusted, platform]) {
    const trust = keys && findTrust(chains, keys);
    if (trust !== undefined && "errno" in trust) return trust;
    if (trust !== undefined)
      return { trust: { description: trust.key.description, origin: trust.key.origin } };
  }
  if (trusted === undefined || platform === undefined)
    return {
      unknown: `It is signed by “${signer}”; whether this kernel knows that key shows to root only.`,
    };
  const others = signatures > 1 ? `; of its ${signatures} signatures the kernel looks at the first only` : "";
  return {
    errno: "ENOKEY",
    reason: `it is signed by “${signer}”, which is not among this kernel's keys${others}`,
  };
}

/** mscode_parse, pefile_digest_pe */
function imageRejection(bytes: Uint8Array, pe: PeFile, data: SignedData): Rejection | undefined {
  const { image } = data;
  if (image === undefined) return { errno: "EBADMSG", reason: "what its signature covers cannot be read" };
  if (image.hash === undefined)
    return { errno: "ENOPKG", reason: "its signature uses a hash that kernels do not take" };
  const digest = authenticodeDigest(bytes, pe, image.hash);
  if (digest === undefined) return { errno: "ELIBBAD", reason: "its sections overlap" };
  if (digest.length !== image.digest.length)
    return { errno: "EBADMSG", reason: "the digest in its signature has the wrong length" };
  return digest === image.digest
    ? undefined
    : { errno: "EKEYREJECTED", reason: "it was changed after it was signed" };
}
