/**
 * PKCS #7 SignedData around Microsoft's SpcIndirectDataContent: an Authenticode signature.
 *
 * Source: RFC 2315, section 9; Microsoft, "Windows Authenticode Portable Executable Signature Format";
 * crypto/asymmetric_keys/pkcs7.asn1, mscode.asn1.
 */
import type { RekernelError } from "../core/errors.ts";
import { type Asn1, Asn1Members, badSignature, hex, oidText, readAsn1, tag } from "./asn1.ts";
import { type Certificate, certificateOf } from "./certificate.ts";
import { decodedTime } from "./certificate-time.ts";
import { hashName, signerKeyKind } from "./signature-scheme.ts";

export interface SignedData {
  /** The content without tag and length: what the signers' message digests cover. */
  content: Uint8Array;
  /** It is an SpcIndirectDataContent; a kernel takes no other for a kexec. */
  isAuthenticode: boolean;
  /** What the content vouches for: the digest of a PE file. Undefined when it cannot be read. */
  image: ImageDigest | undefined;
  certificates: readonly Certificate[];
  signers: readonly Signer[];
}

export interface ImageDigest {
  /** A name that node:crypto knows; undefined for a hash that kernels do not take. */
  hash: string | undefined;
  digest: string;
}

export interface Signer {
  /** What names its certificate: serial number and issuer, or the subject key id. In hex. */
  certificateId: string;
  /** Undefined for a hash, or kind of key, that kernels do not take. */
  hash: string | undefined;
  key: "rsa" | "ecdsa" | undefined;
  /** What was signed: the attributes as a SET. */
  attributes: Uint8Array | undefined;
  /** Of the content, in hex. */
  messageDigest: string | undefined;
  signingTime: Date | undefined;
  signature: Uint8Array;
}

const oid = {
  signedData: "1.2.840.113549.1.7.2",
  indirectData: "1.3.6.1.4.1.311.2.1.4",
  peImageData: "1.3.6.1.4.1.311.2.1.15",
  // pesign wrote this one for a time.
  individualPurpose: "1.3.6.1.4.1.311.2.1.21",
  messageDigest: "1.2.840.113549.1.9.4",
  signingTime: "1.2.840.113549.1.9.5",
} as const;

const name = "The signature";
const fail = (reason: string): RekernelError => badSignature(name, reason);

/** @throws RekernelError RK-BAD-SIGNATURE (1) */
export function readSignedData(bytes: Uint8Array): SignedData {
  const outer = new Asn1Members(readAsn1(bytes, name), fail);
  if (oidText(outer.take(tag.oid, "its kind")) !== oid.signedData) throw fail("it is no SignedData");
  const wrapped = outer.optional(0)?.children[0];
  if (wrapped === undefined) throw fail("it is empty");
  const members = new Asn1Members(wrapped, fail);
  members.take(tag.integer, "the version");
  members.any("the list of hashes");
  const contentInfo = new Asn1Members(members.take(tag.sequence, "the content"), fail);
  const contentType = oidText(contentInfo.take(tag.oid, "the kind of content"));
  const content = contentInfo.optional(0)?.children[0];
  if (content === undefined) throw fail("it has no content");
  const certificates = (members.optional(0) ?? members.optional(2))?.children ?? [];
  // Revocation lists, which kernels pass over.
  if (members.optional(1) === undefined) members.optional(3);
  const signers = members.any("the list of signers").children;
  if (signers.length === 0) throw fail("it has no signer");
  const isAuthenticode = contentType === oid.indirectData;
  return {
    content: content.content,
    isAuthenticode,
    image: isAuthenticode ? imageDigest(content) : undefined,
    certificates: certificates.map((node) => certificateOf(node, "A certificate in the signature")),
    signers: signers.map(readSigner),
  };
}

function imageDigest(content: Asn1): ImageDigest | undefined {
  try {
    const members = new Asn1Members(content, fail);
    const type = new Asn1Members(members.take(tag.sequence, "the kind of file"), fail);
    const kind = oidText(type.take(tag.oid, "the kind of file"));
    if (kind !== oid.peImageData && kind !== oid.individualPurpose) return undefined;
    const info = new Asn1Members(members.take(tag.sequence, "the digest"), fail);
    const algorithm = new Asn1Members(info.take(tag.sequence, "the hash"), fail);
    return {
      hash: hashName(oidText(algorithm.take(tag.oid, "the hash"))),
      digest: hex(info.take(tag.octetString, "the digest").content),
    };
  } catch {
    return undefined;
  }
}

function readSigner(node: Asn1): Signer {
  const members = new Asn1Members(node, fail);
  members.take(tag.integer, "a signer's version");
  const certificateId = signerId(members);
  const hashOid = oidText(
    new Asn1Members(members.take(tag.sequence, "a signer's hash"), fail).take(tag.oid, "a signer's hash"),
  );
  const attributes = members.optional(0);
  const keyOid = oidText(
    new Asn1Members(members.take(tag.sequence, "a signer's algorithm"), fail).take(tag.oid, "an algorithm"),
  );
  const signature = members.take(tag.octetString, "a signer's signature").content;
  return {
    certificateId,
    hash: hashName(hashOid),
    key: signerKeyKind(keyOid),
    // The tag [0] stands in for that of a SET, which is what was signed (RFC 2315, section 9.3).
    attributes: attributes && Buffer.concat([Uint8Array.of(0x31), attributes.raw.subarray(1)]),
    ...readAttributes(attributes),
    signature,
  };
}

function signerId(members: Asn1Members): string {
  const keyId = members.optional(0);
  if (keyId !== undefined) return hex(keyId.content);
  const named = new Asn1Members(members.take(tag.sequence, "a signer's certificate"), fail);
  const issuer = named.take(tag.sequence, "the issuer of a signer's certificate");
  return (
    hex(named.take(tag.integer, "the serial number of a signer's certificate").content) + hex(issuer.content)
  );
}

function readAttributes(attributes: Asn1 | undefined): Pick<Signer, "messageDigest" | "signingTime"> {
  let messageDigest: string | undefined;
  let signingTime: Date | undefined;
  for (const attribute of attributes?.children ?? []) {
    const members = new Asn1Members(attribute, fail);
    const kind = oidText(members.take(tag.oid, "an attribute's kind"));
    const value = members.take(tag.set, "an attribute's value").children[0];
    if (value === undefined) throw fail("an attribute has no value");
    if (kind === oid.messageDigest) messageDigest = hex(value.content);
    if (kind === oid.signingTime) signingTime = decodedTime(value, fail);
  }
  return { messageDigest, signingTime };
}
