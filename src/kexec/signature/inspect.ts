/** Which signatures an image carries, and whether they hold by themselves: no machine's keys are asked. */
import { RekernelError } from "../../core/errors.ts";
import {
  type AttributeCertificate,
  attributeCertificates,
  authenticodeDigest,
  PKCS_SIGNED_DATA,
  REVISION_2,
} from "../../formats/authenticode.ts";
import type { Certificate } from "../../formats/certificate.ts";
import { isPe, type PeFile, readPe } from "../../formats/pe.ts";
import { digest, verifies } from "../../formats/signature-scheme.ts";
import { readSignedData, type SignedData, type Signer } from "../../formats/signed-data.ts";

/** One signature of an image, as a plain value. */
export interface ImageSignature {
  /** Names of the signers' certificates; a certificate that is not included is known by its number only. */
  signers: readonly { name: string; issuer: string | undefined; sha256: string | undefined }[];
  /** The hash that was signed: `sha256`. */
  hash: string | undefined;
  /** The digest in it is that of this file. */
  digestValid: boolean;
  /** The signers' own signatures fit their certificates. */
  signatureValid: boolean;
  /** Why it cannot be read. */
  problem: string | undefined;
}

/**
 * All signatures of a PE file, in the order of its table; a kernel looks at the first only.
 *
 * @returns an empty list for an unsigned file, and for one that is no PE
 * @throws RekernelError RK-BAD-IMAGE, RK-BAD-SIGNATURE (1) for headers or a table that cannot be read
 */
export function imageSignatures(bytes: Uint8Array, name: string): ImageSignature[] {
  if (!isPe(bytes)) return [];
  const pe = readPe(bytes, name);
  return attributeCertificates(bytes, pe).map((entry) => inspect(bytes, pe, entry));
}

function inspect(bytes: Uint8Array, pe: PeFile, entry: AttributeCertificate): ImageSignature {
  const unreadable = (problem: string): ImageSignature => ({
    signers: [],
    hash: undefined,
    digestValid: false,
    signatureValid: false,
    problem,
  });
  if (entry.revision !== REVISION_2 || entry.type !== PKCS_SIGNED_DATA)
    return unreadable(`it is of kind ${entry.type}, revision 0x${entry.revision.toString(16)}`);
  let data: SignedData;
  try {
    data = readSignedData(entry.data);
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
    return unreadable(error.message.replace(/\.$/, ""));
  }
  return {
    signers: data.signers.map((signer) => {
      const certificate = signerCertificate(data, signer);
      return {
        name:
          certificate?.subject ?? `a certificate that is not included (${signer.certificateId.slice(0, 40)})`,
        issuer: certificate?.issuer,
        sha256: certificate?.sha256,
      };
    }),
    hash: data.image?.hash,
    digestValid: digestHolds(bytes, pe, data),
    signatureValid: data.signers.every((signer) => {
      const certificate = signerCertificate(data, signer);
      return certificate !== undefined && signerHolds(data, signer, certificate);
    }),
    problem: undefined,
  };
}

export function signerCertificate(data: SignedData, signer: Signer): Certificate | undefined {
  return data.certificates.find(({ id }) => id === signer.certificateId);
}

/** Whether the digest of the image is the one that was signed. */
export function digestHolds(bytes: Uint8Array, pe: PeFile, { image }: SignedData): boolean {
  return image?.hash !== undefined && authenticodeDigest(bytes, pe, image.hash) === image.digest;
}

/** Whether the signer's message digest is that of the content: pkcs7_digest. */
export function messageDigestHolds(data: SignedData, signer: Signer): boolean {
  return signer.hash !== undefined && digest(signer.hash, data.content) === signer.messageDigest;
}

function signerHolds(data: SignedData, signer: Signer, certificate: Certificate): boolean {
  return messageDigestHolds(data, signer) && signatureFits(signer, certificate);
}

/** Whether the signature over the attributes was made with the certificate's key. */
export function signatureFits(signer: Signer, { publicKey }: Certificate): boolean {
  const { hash, key, attributes, signature } = signer;
  if (hash === undefined || key === undefined || attributes === undefined || publicKey === undefined)
    return false;
  return verifies(publicKey, { key, hash }, attributes, signature);
}
