/**
 * X.509 certificates, with what the kernel knows them by.
 *
 * Source: RFC 5280, section 4; crypto/asymmetric_keys/x509.asn1, x509_cert_parser.c, x509_public_key.c.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import type { RekernelError } from "../core/errors.ts";
import { type Asn1, Asn1Members, badSignature, hex, oidText, readAsn1, tag } from "./asn1.ts";
import { latin1 } from "./bytes.ts";
import { decodedTime } from "./certificate-time.ts";
import { type SignatureScheme, signatureScheme } from "./signature-scheme.ts";

export interface Certificate {
  raw: Uint8Array;
  /** What the issuer signed. */
  tbs: Uint8Array;
  /** Its common name, else its organization, else all that names it. */
  subject: string;
  issuer: string;
  /** As the kernel names its key in /proc/keys: name, colon, subject key id (or serial number) in hex. */
  keyDescription: string;
  /** Serial number and issuer in hex, which a signature names its certificate by. */
  id: string;
  /** Subject key identifier in hex. */
  skid: string | undefined;
  /** What it names its issuer's certificate by: key identifier; serial number and issuer. In hex. */
  authority: { skid: string | undefined; id: string | undefined };
  /** Subject and issuer are the same, byte by byte. */
  ownIssuer: boolean;
  notBefore: Date;
  notAfter: Date;
  /** Undefined where Node's cryptography does not know its kind. */
  publicKey: KeyObject | undefined;
  signature: Uint8Array;
  /** Undefined for a kind that the kernel does not verify. */
  scheme: SignatureScheme | undefined;
  /** SHA-256 of the whole certificate, in hex. */
  sha256: string;
}

const oid = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  email: "1.2.840.113549.1.9.1",
  subjectKeyIdentifier: "2.5.29.14",
  authorityKeyIdentifier: "2.5.29.35",
} as const;
const shortNames: Readonly<Record<string, string>> = {
  [oid.commonName]: "CN",
  [oid.organization]: "O",
  [oid.email]: "email",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.11": "OU",
};

/**
 * @param name completes "… cannot be read"
 * @throws RekernelError RK-BAD-SIGNATURE (1)
 */
export function readCertificate(bytes: Uint8Array, name = "The certificate"): Certificate {
  return certificateOf(readAsn1(bytes, name), name);
}

/** {@link readCertificate} of what is decoded already. */
export function certificateOf(node: Asn1, name: string): Certificate {
  const fail = (reason: string) => badSignature(name, reason);
  const outer = new Asn1Members(node, fail);
  const tbs = outer.take(tag.sequence, "what is signed");
  outer.take(tag.sequence, "the signature's algorithm");
  const signature = outer.take(tag.bitString, "the signature");

  const members = new Asn1Members(tbs, fail);
  members.optional(0);
  const serial = members.take(tag.integer, "the serial number");
  const algorithm = members.take(tag.sequence, "the signature's algorithm");
  const issuer = members.take(tag.sequence, "the issuer");
  const validity = new Asn1Members(members.take(tag.sequence, "the validity"), fail);
  const subject = members.take(tag.sequence, "the subject");
  const key = members.take(tag.sequence, "the public key");
  members.optional(1);
  members.optional(2);
  const extensions = members.optional(3);

  const { skid, authority } = readExtensions(extensions, fail);
  const serialHex = hex(serial.content);
  const algorithmOid = oidText(new Asn1Members(algorithm, fail).take(tag.oid, "the signature's algorithm"));
  return {
    raw: node.raw,
    tbs: tbs.raw,
    subject: nameText(subject),
    issuer: nameText(issuer),
    keyDescription: `${kernelName(subject)}: ${skid ?? serialHex}`,
    id: serialHex + hex(issuer.content),
    skid,
    authority,
    ownIssuer: hex(subject.content) === hex(issuer.content),
    notBefore: decodedTime(validity.any("the validity"), fail),
    notAfter: decodedTime(validity.any("the validity"), fail),
    publicKey: publicKeyOf(key),
    // Its first byte counts unused bits.
    signature: signature.content.subarray(1),
    scheme: signatureScheme(algorithmOid),
    sha256: createHash("sha256").update(node.raw).digest("hex"),
  };
}

function publicKeyOf({ raw }: Asn1): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(raw), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

function readExtensions(extensions: Asn1 | undefined, fail: (reason: string) => RekernelError) {
  let skid: string | undefined;
  let authority: Certificate["authority"] = { skid: undefined, id: undefined };
  if (extensions !== undefined)
    for (const extension of new Asn1Members(extensions, fail).take(tag.sequence, "the extensions").children) {
      const members = new Asn1Members(extension, fail);
      const kind = oidText(members.take(tag.oid, "an extension's kind"));
      if (kind !== oid.subjectKeyIdentifier && kind !== oid.authorityKeyIdentifier) continue;
      // BOOLEAN: whether it is critical.
      members.optionalTag(1);
      const value = readAsn1(members.take(tag.octetString, "an extension's value").content, "An extension");
      if (kind === oid.subjectKeyIdentifier) skid = hex(value.content);
      else authority = readAuthority(value);
    }
  return { skid, authority };
}

function readAuthority(value: Asn1): Certificate["authority"] {
  const part = (number: number) => value.children.find((child) => child.context && child.tag === number);
  // GeneralNames: of them [4], the directory name, which is a SEQUENCE within.
  const issuer = part(1)?.children.find((name) => name.context && name.tag === 4)?.children[0];
  const [skid, serial] = [part(0), part(2)];
  return {
    skid: skid && hex(skid.content),
    id: serial && issuer && hex(serial.content) + hex(issuer.content),
  };
}

function attributes(name: Asn1): [oid: string, text: string][] {
  return name.children.flatMap(({ children }) =>
    children.flatMap(({ children: [kind, value] }): [string, string][] =>
      kind && value ? [[oidText(kind), attributeText(value)]] : [],
    ),
  );
}

/** UTF8String (12) and BMPString (30) by their rules, all others as Latin-1. */
function attributeText({ tag: kind, content }: Asn1): string {
  if (kind === 12) return Buffer.from(content).toString("utf8");
  if (kind !== 30) return latin1(content);
  return Array.from({ length: content.length >> 1 }, (_, index) =>
    String.fromCharCode((content[2 * index]! << 8) | content[2 * index + 1]!),
  ).join("");
}

function nameText(name: Asn1): string {
  const known = attributes(name).map(([kind, text]) => [shortNames[kind] ?? kind, text] as const);
  const common = known.find(([kind]) => kind === "CN") ?? known.find(([kind]) => kind === "O");
  return common?.[1] ?? known.map(([kind, text]) => `${kind}=${text}`).join(", ");
}

/** As x509_fabricate_name does: O and CN, unless the CN begins with the O or its first 7 bytes. */
function kernelName(name: Asn1): string {
  const all = new Map(attributes(name));
  const [common, organization] = [all.get(oid.commonName), all.get(oid.organization)];
  if (common === undefined) return organization ?? all.get(oid.email) ?? "";
  if (organization === undefined || common.startsWith(organization)) return common;
  const beginning = organization.slice(0, 7);
  return beginning.length === 7 && common.startsWith(beginning) ? common : `${organization}: ${common}`;
}
