/** Certificates and Authenticode signatures, made by the letter of RFC 5280, RFC 2315 and Microsoft's paper. */
import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import {
  Boolean as AsnBoolean,
  BitString,
  BmpString,
  Constructed,
  fromBER,
  Integer,
  Null,
  ObjectIdentifier,
  OctetString,
  Primitive,
  PrintableString,
  Sequence,
  Set as SetOf,
  UTCTime,
  Utf8String,
} from "asn1js";

type Block = Sequence | SetOf | Constructed | Primitive | Integer | ObjectIdentifier;

export interface TestSigner {
  name: string;
  key: KeyObject;
  /** DER */
  certificate: Uint8Array;
  /** Those above it, which its signatures include. */
  above: readonly Uint8Array[];
  issuer: Uint8Array;
  serial: Uint8Array;
}

export interface SignerChoice {
  name: string;
  organization?: string;
  /** Who signs the certificate; without one it signs itself. */
  by?: TestSigner;
  notAfter?: Date;
  kind?: "rsa" | "ec";
  skid?: boolean;
}

const der = (block: { toBER(): ArrayBuffer }) => new Uint8Array(block.toBER());
const raw = (bytes: Uint8Array) => fromBER(new Uint8Array(bytes)).result as unknown as Sequence;
const oid = (value: string) => new ObjectIdentifier({ value });
const sequence = (...value: unknown[]) => new Sequence({ value: value as Sequence[] });
const setOf = (...value: unknown[]) => new SetOf({ value: value as Sequence[] });
const octets = (bytes: Uint8Array) => new OctetString({ valueHex: new Uint8Array(bytes).buffer });
const context = (number: number, ...value: unknown[]) =>
  new Constructed({ idBlock: { tagClass: 3, tagNumber: number }, value: value as Block[] });
const integer = (bytes: Uint8Array) => new Integer({ valueHex: new Uint8Array(bytes).buffer });
const sha256Id = () => sequence(oid("2.16.840.1.101.3.4.2.1"), new Null());
const schemes = {
  rsa: { certificate: "1.2.840.113549.1.1.11", signer: "1.2.840.113549.1.1.1" },
  ec: { certificate: "1.2.840.10045.4.3.2", signer: "1.2.840.10045.4.3.2" },
} as const;
const kindOf = (key: KeyObject) => (key.asymmetricKeyType === "ec" ? "ec" : "rsa");

export function makeSigner(choice: SignerChoice): TestSigner {
  const { name, organization, by, kind = "rsa", notAfter = new Date(Date.UTC(2045, 0, 1)) } = choice;
  const { privateKey, publicKey } =
    kind === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ format: "der", type: "spki" });
  const attribute = (type: string, value: unknown) => setOf(sequence(oid(type), value));
  const subject = sequence(
    ...(organization === undefined
      ? []
      : [attribute("2.5.4.10", new PrintableString({ value: organization }))]),
    attribute("2.5.4.3", new Utf8String({ value: name })),
  );
  const subjectDer = der(subject);
  const issuer = by === undefined ? subjectDer : subjectOf(by.certificate);
  const keyId = keyIdOfKey(spki);
  const authority = by === undefined ? keyId : keyIdOf(by);
  const serial = Buffer.concat([Uint8Array.of(1), randomBytes(8)]);
  const signerKey = by?.key ?? privateKey;
  const algorithm = () => sequence(oid(schemes[kindOf(signerKey)].certificate));
  const extension = (type: string, value: { toBER(): ArrayBuffer }) =>
    sequence(oid(type), octets(der(value)));
  const tbs = sequence(
    context(0, new Integer({ value: 2 })),
    integer(serial),
    algorithm(),
    raw(issuer),
    sequence(
      new UTCTime({ valueDate: new Date(Date.UTC(2020, 0, 1)) }),
      new UTCTime({ valueDate: notAfter }),
    ),
    subject,
    raw(spki),
    ...(choice.skid === false
      ? []
      : [
          context(
            3,
            sequence(
              extension("2.5.29.19", sequence(new AsnBoolean({ value: true }))),
              extension("2.5.29.14", octets(keyId)),
              extension(
                "2.5.29.35",
                sequence(
                  new Primitive({
                    idBlock: { tagClass: 3, tagNumber: 0 },
                    valueHex: new Uint8Array(authority).buffer,
                  }),
                ),
              ),
            ),
          ),
        ]),
  );
  const tbsDer = der(tbs);
  const signature = sign("sha256", tbsDer, signerKey);
  const certificate = der(
    sequence(raw(tbsDer), algorithm(), new BitString({ valueHex: new Uint8Array(signature).buffer })),
  );
  return {
    name,
    key: privateKey,
    certificate,
    above: by === undefined ? [] : [by.certificate, ...by.above],
    issuer,
    serial,
  };
}

/** A signer from PEM, such as the one that the package `ovmf` ships. */
export function signerFromPem(key: string, passphrase: string, certificatePem: string): TestSigner {
  const certificate = Buffer.from(certificatePem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const tbs = raw(certificate).valueBlock.value[0] as Sequence;
  const [, serial, , issuer] = tbs.valueBlock.value as [unknown, Integer, unknown, Sequence];
  return {
    name: "from PEM",
    key: createPrivateKey({ key, passphrase }),
    certificate: new Uint8Array(certificate),
    above: [],
    issuer: der(issuer),
    serial: serial.valueBlock.valueHexView,
  };
}

function subjectOf(certificate: Uint8Array): Uint8Array {
  const tbs = raw(certificate).valueBlock.value[0] as Sequence;
  return der(tbs.valueBlock.value[5] as Sequence);
}

function keyIdOf({ certificate }: TestSigner): Uint8Array {
  const tbs = raw(certificate).valueBlock.value[0] as Sequence;
  return keyIdOfKey(der(tbs.valueBlock.value[6] as Sequence));
}

/** RFC 5280, section 4.2.1.2, the first method. */
function keyIdOfKey(spki: Uint8Array): Uint8Array {
  const bits = raw(spki).valueBlock.value[1] as unknown as BitString;
  return createHash("sha1").update(bits.valueBlock.valueHexView).digest();
}

export interface SignatureChoice {
  /** Instead of the image's own. */
  digest?: Uint8Array;
  signingTime?: Date;
  /** Leave out the certificates above the signer's. */
  alone?: boolean;
}

/** PKCS #7 SignedData around SpcIndirectDataContent. */
export function signDigest(digest: Uint8Array, signer: TestSigner, choice: SignatureChoice = {}): Uint8Array {
  const file = context(
    0,
    context(2, new Primitive({ idBlock: { tagClass: 3, tagNumber: 0 }, valueHex: new ArrayBuffer(0) })),
  );
  const spc = sequence(
    sequence(oid("1.3.6.1.4.1.311.2.1.15"), sequence(new BitString({ valueHex: new ArrayBuffer(0) }), file)),
    sequence(sha256Id(), octets(choice.digest ?? digest)),
  );
  const spcDer = der(spc);
  const content = raw(spcDer);
  const headerSize =
    spcDer.length - content.valueBlock.value.reduce((sum, block) => sum + block.blockLength, 0);
  const messageDigest = createHash("sha256").update(spcDer.subarray(headerSize)).digest();
  const attribute = (type: string, value: unknown) => sequence(oid(type), setOf(value));
  const attributes = [
    attribute("1.2.840.113549.1.9.3", oid("1.3.6.1.4.1.311.2.1.4")),
    ...(choice.signingTime === undefined
      ? []
      : [attribute("1.2.840.113549.1.9.5", new UTCTime({ valueDate: choice.signingTime }))]),
    attribute("1.2.840.113549.1.9.4", octets(messageDigest)),
    attribute("1.3.6.1.4.1.311.2.1.12", sequence(context(0, context(1, new BmpString({ value: "" }))))),
  ].sort((a, b) => Buffer.compare(der(a), der(b)));
  const signature = sign("sha256", der(setOf(...attributes)), signer.key);
  const certificates = [signer.certificate, ...(choice.alone === true ? [] : signer.above)];
  const signerInfo = sequence(
    new Integer({ value: 1 }),
    sequence(raw(signer.issuer), integer(signer.serial)),
    sha256Id(),
    context(0, ...attributes),
    sequence(oid(schemes[kindOf(signer.key)].signer)),
    octets(signature),
  );
  return der(
    sequence(
      oid("1.2.840.113549.1.7.2"),
      context(
        0,
        sequence(
          new Integer({ value: 1 }),
          setOf(sha256Id()),
          sequence(oid("1.3.6.1.4.1.311.2.1.4"), context(0, raw(spcDer))),
          context(0, ...certificates.map(raw)),
          setOf(signerInfo),
        ),
      ),
    ),
  );
}

/** A WIN_CERTIFICATE, padded to 8 bytes. */
export function attributeCertificate(data: Uint8Array, revision = 0x0200, type = 0x0002): Uint8Array {
  const bytes = Buffer.alloc(Math.ceil((8 + data.length) / 8) * 8);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(revision, 4);
  bytes.writeUInt16LE(type, 6);
  bytes.set(data, 8);
  return bytes;
}

const certificateEntry = (image: Buffer) => image.readUInt32LE(0x3c) + 24 + 112 + 4 * 8;

/** The image with entries behind those that its table has. */
export function withCertificates(image: Uint8Array, ...entries: readonly Uint8Array[]): Uint8Array {
  const padded = Buffer.alloc(Math.ceil(image.length / 8) * 8);
  padded.set(image);
  const entry = certificateEntry(padded);
  const size = padded.readUInt32LE(entry + 4);
  if (size === 0) padded.writeUInt32LE(padded.length, entry);
  padded.writeUInt32LE(
    entries.reduce((sum, { length }) => sum + length, size),
    entry + 4,
  );
  return new Uint8Array(Buffer.concat([padded, ...entries]));
}

/**
 * The digest of a file whose sections follow the headers and each other without gaps, which all that compilers
 * and these tests make do: everything but checksum, certificate entry and certificates.
 */
export function plainDigest(image: Uint8Array): Uint8Array {
  const bytes = Buffer.from(image);
  const entry = certificateEntry(bytes);
  const checksum = bytes.readUInt32LE(0x3c) + 24 + 64;
  const end = bytes.length - bytes.readUInt32LE(entry + 4);
  const padding = Buffer.alloc(Math.ceil(end / 8) * 8 - end);
  return createHash("sha256")
    .update(bytes.subarray(0, checksum))
    .update(bytes.subarray(checksum + 4, entry))
    .update(bytes.subarray(entry + 8, end))
    .update(padding)
    .digest();
}

/** Signs an image; one that is signed already gets a further signature. */
export function signPe(image: Uint8Array, signer: TestSigner, choice: SignatureChoice = {}): Uint8Array {
  return withCertificates(image, attributeCertificate(signDigest(plainDigest(image), signer, choice)));
}
