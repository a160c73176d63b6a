import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { readAsn1 } from "../../../src/formats/asn1.ts";
import { attributeCertificates, authenticodeDigest } from "../../../src/formats/authenticode.ts";
import { readCertificate } from "../../../src/formats/certificate.ts";
import { readEfiSignatures } from "../../../src/formats/efi-signature-list.ts";
import { readPe } from "../../../src/formats/pe.ts";
import { readSignedData } from "../../../src/formats/signed-data.ts";
import { imageSignatures } from "../../../src/kexec/signature/inspect.ts";
import { buildPe } from "./build-pe.ts";
import {
  attributeCertificate,
  makeSigner,
  plainDigest,
  signDigest,
  signPe,
  withCertificates,
} from "./sign-pe.ts";

const authority = makeSigner({ name: "Authority", organization: "Example" });
const signer = makeSigner({ name: "Signer", by: authority });
const image = buildPe([
  { name: ".text", data: Buffer.alloc(700, "code") },
  { name: ".data", data: Buffer.alloc(100, "data") },
]);
const signed = signPe(image, signer, { signingTime: new Date(Date.UTC(2026, 10, 22)) });

/** Reads, or throws what is expected; anything else fails the test. */
function readOrRefuse(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
  }
}

describe("the table of signatures", () => {
  test("is read entry by entry, over the padding between them", () => {
    const entries = [Buffer.from("first"), Buffer.from("the second one")].map((data) =>
      attributeCertificate(data),
    );
    // A length that does not cover the padding is what pesign writes.
    Buffer.from(entries[0]!.buffer, entries[0]!.byteOffset).writeUInt32LE(8 + 5, 0);
    const bytes = withCertificates(image, ...entries);
    const read = attributeCertificates(bytes, readPe(bytes));
    expect(read.map(({ revision, type }) => [revision, type])).toEqual([
      [0x200, 2],
      [0x200, 2],
    ]);
    expect(Buffer.from(read[0]!.data).toString()).toBe("first");
    expect(Buffer.from(read[1]!.data).toString()).toMatch(/^the second one\0+$/);
    expect(attributeCertificates(image, readPe(image))).toEqual([]);
  });

  test("that leads out of itself is refused", () => {
    for (const length of [0, 7, 1000, 0xffffffff]) {
      const entry = Buffer.from(attributeCertificate(Buffer.alloc(8)));
      entry.writeUInt32LE(length, 0);
      const bytes = withCertificates(image, entry);
      expect(() => attributeCertificates(bytes, readPe(bytes))).toThrow(RekernelError);
    }
  });
});

describe("the digest of an image", () => {
  test("leaves out the checksum, the entry of the signatures, and the signatures", () => {
    const digest = Buffer.from(plainDigest(image)).toString("hex");
    expect(authenticodeDigest(image, readPe(image), "sha256")).toBe(digest);
    expect(authenticodeDigest(signed, readPe(signed), "sha256")).toBe(digest);
    const otherChecksum = Buffer.from(signed);
    otherChecksum.writeUInt32LE(0x12345678, readPe(signed).checksumOffset);
    expect(authenticodeDigest(otherChecksum, readPe(otherChecksum), "sha256")).toBe(digest);
  });

  test("takes sections in the order of their data, and what follows them", () => {
    const pe = readPe(image);
    const [first, second] = pe.sections;
    const swapped = { ...pe, sections: [second!, first!] };
    expect(authenticodeDigest(image, swapped, "sha256")).toBe(authenticodeDigest(image, pe, "sha256"));
    const longer = Buffer.concat([image, Buffer.alloc(64, "behind")]);
    expect(authenticodeDigest(longer, readPe(longer), "sha256")).toBe(
      Buffer.from(plainDigest(longer)).toString("hex"),
    );
  });

  test("changes with every bit that it covers", () => {
    const pe = readPe(signed);
    const entry = pe.directories[4]!.headerOffset;
    const covered = (offset: number) =>
      !(offset >= pe.checksumOffset && offset < pe.checksumOffset + 4) &&
      !(offset >= entry && offset < entry + 8);
    const digest = authenticodeDigest(signed, pe, "sha256");
    fc.assert(
      fc.property(fc.nat(pe.certificates!.offset - 1).filter(covered), fc.nat(7), (offset, bit) => {
        const changed = Uint8Array.from(signed);
        changed[offset]! ^= 1 << bit;
        expect(authenticodeDigest(changed, pe, "sha256")).not.toBe(digest);
      }),
      { numRuns: 200 },
    );
  });
});

describe("signatures", () => {
  test("name their signers, and hold", () => {
    expect(imageSignatures(signed, "image")).toEqual([
      {
        signers: [
          {
            name: "Signer",
            issuer: "Authority",
            sha256: createHash("sha256").update(signer.certificate).digest("hex"),
          },
        ],
        hash: "sha256",
        digestValid: true,
        signatureValid: true,
        problem: undefined,
      },
    ]);
    expect(imageSignatures(image, "image")).toEqual([]);
    expect(imageSignatures(Buffer.from("no PE"), "image")).toEqual([]);
  });

  test("made with an elliptic curve hold, too", () => {
    const curve = makeSigner({ name: "Curve", kind: "ec" });
    expect(imageSignatures(signPe(image, curve), "image")).toMatchObject([
      { digestValid: true, signatureValid: true },
    ]);
  });

  test("of a changed image do not", () => {
    const changed = Uint8Array.from(signed);
    changed[600]! ^= 1;
    expect(imageSignatures(changed, "image")).toMatchObject([{ digestValid: false, signatureValid: true }]);
  });

  test("are read with all that they say", () => {
    const [entry] = attributeCertificates(signed, readPe(signed));
    const data = readSignedData(entry!.data);
    expect(data).toMatchObject({
      isAuthenticode: true,
      image: { hash: "sha256", digest: Buffer.from(plainDigest(image)).toString("hex") },
      signers: [{ hash: "sha256", key: "rsa", signingTime: new Date(Date.UTC(2026, 10, 22)) }],
    });
    expect(data.certificates.map(({ subject }) => subject)).toEqual(["Signer", "Authority"]);
  });

  const hasTools = existsSync("/usr/bin/sbsign") && existsSync("/usr/share/ovmf/PkKek-1-snakeoil.pem");
  test.runIf(hasTools)("of sbsign are read, and sbverify takes those that these tests make", () => {
    const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const at = (name: string) => join(folder, name);
    const pem = (certificate: Uint8Array) => new X509Certificate(certificate).toString();
    writeFileSync(at("key"), authority.key.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(at("cert"), pem(authority.certificate));
    writeFileSync(at("image"), image);
    execFileSync(
      "sbsign",
      ["--key", at("key"), "--cert", at("cert"), "--output", at("signed"), at("image")],
      {
        stdio: "ignore",
      },
    );
    expect(imageSignatures(readFileSync(at("signed")), "image")).toMatchObject([
      { signers: [{ name: "Authority", issuer: "Authority" }], digestValid: true, signatureValid: true },
    ]);
    writeFileSync(at("ours"), signed);
    expect(
      execFileSync("sbverify", ["--cert", at("cert"), at("ours")], { encoding: "utf8", stdio: "pipe" }),
    ).toContain("Signature verification OK");
  });
});

describe("certificates", () => {
  test("are read as Node reads them", () => {
    for (const { certificate } of [authority, signer, makeSigner({ name: "Ünïcode", kind: "ec" })]) {
      const read = readCertificate(certificate);
      const node = new X509Certificate(certificate);
      expect(read).toMatchObject({
        notBefore: new Date(node.validFrom),
        notAfter: new Date(node.validTo),
        sha256: node.fingerprint256.replaceAll(":", "").toLowerCase(),
      });
      expect(node.subject).toContain(`CN=${read.subject}`);
      expect(read.id.startsWith(node.serialNumber.toLowerCase())).toBe(true);
      expect(read.publicKey!.equals(node.publicKey)).toBe(true);
    }
  });

  test("are described as the kernel describes their keys", () => {
    const described = (organization: string | undefined, name: string) =>
      readCertificate(
        makeSigner({ name, ...(organization === undefined ? {} : { organization }) }).certificate,
      ).keyDescription.replace(/: [0-9a-f]{40}$/, "");
    // x509_fabricate_name: the organization only where the name does not say it already.
    expect(described(undefined, "Kernel")).toBe("Kernel");
    expect(described("Debian", "Kernel")).toBe("Debian: Kernel");
    expect(described("Debian", "Debian Secure Boot CA")).toBe("Debian Secure Boot CA");
    expect(described("Microsoft Corp.", "Microsoft UEFI CA")).toBe("Microsoft UEFI CA");
    const { keyDescription } = readCertificate(makeSigner({ name: "No id", skid: false }).certificate);
    expect(keyDescription).toMatch(/^No id: 01[0-9a-f]{16}$/);
  });
});

describe("EFI signature lists", () => {
  const x509 = "a159c0a5e494a74a87b5ab155c2bf072";
  const sha256 = "2616c4c14c509240aca941f936934328";
  const list = (kind: string, ...entries: readonly Uint8Array[]) => {
    const size = 16 + entries[0]!.length;
    const bytes = Buffer.alloc(28 + size * entries.length);
    bytes.write(kind, 0, "hex");
    bytes.writeUInt32LE(bytes.length, 16);
    bytes.writeUInt32LE(size, 24);
    for (const [index, entry] of entries.entries()) {
      bytes.write("0123456789abcdef0123456789abcdef", 28 + index * size, "hex");
      bytes.set(entry, 28 + index * size + 16);
    }
    return bytes;
  };

  test("give certificates and digests, in their order", () => {
    const digests = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const bytes = Buffer.concat([list(x509, authority.certificate), list(sha256, ...digests)]);
    const read = readEfiSignatures(bytes, "db");
    expect(read.map(({ kind }) => kind)).toEqual(["x509", "sha256", "sha256"]);
    expect(read[0]!.kindGuid).toBe("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
    expect(read[0]!.owner).toBe("67452301-ab89-efcd-0123-456789abcdef");
    expect(readCertificate(read[0]!.data).subject).toBe("Authority");
    expect(Buffer.from(read[2]!.data)).toEqual(digests[1]);
    expect(readEfiSignatures(new Uint8Array(0), "db")).toEqual([]);
  });

  test("that do not add up are refused, and nothing loops", () => {
    const good = list(sha256, Buffer.alloc(32, 1));
    for (const [offset, value] of [
      [16, 0],
      [16, 27],
      [16, 0xffffffff],
      [20, 1],
      [20, 0xffffffff],
      [24, 0],
      [24, 15],
      [24, 47],
    ] as const) {
      const bad = Buffer.from(good);
      bad.writeUInt32LE(value, offset);
      expect(() => readEfiSignatures(bad, "db"), `${offset}: ${value}`).toThrow(RekernelError);
    }
    expect(() => readEfiSignatures(good.subarray(0, -1), "db")).toThrow(RekernelError);
  });

  test("of any content are read or refused", () => {
    const good = Buffer.concat([list(x509, authority.certificate), list(sha256, Buffer.alloc(32, 1))]);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (offset, value) => {
        const changed = Uint8Array.from(good);
        changed[offset] = value;
        readOrRefuse(() => readEfiSignatures(changed, "db"));
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
        readOrRefuse(() => readEfiSignatures(bytes, "db")),
      ),
    );
  });
});

describe("bytes of any content", () => {
  const readers: readonly [string, Uint8Array, (bytes: Uint8Array) => unknown][] = [
    ["a signature", signDigest(plainDigest(image), signer), readSignedData],
    ["a certificate", signer.certificate, readCertificate],
    ["a signed image", signed, (bytes) => imageSignatures(bytes, "image")],
  ];
  test.each(readers)("%s that was changed is read or refused", (_name, good, read) => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.option(fc.nat(good.length)),
        (changes, length) => {
          const changed = Uint8Array.from(good).subarray(0, length ?? good.length);
          for (const [offset, value] of changes) if (offset < changed.length) changed[offset] = value;
          readOrRefuse(() => read(changed));
        },
      ),
      { numRuns: 500 },
    );
  });

  test("are no signature", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        readOrRefuse(() => readAsn1(bytes, "It"));
        readOrRefuse(() => readSignedData(bytes));
        readOrRefuse(() => readCertificate(bytes));
      }),
    );
  });

  test("that nest without end are refused", () => {
    const deep = Buffer.alloc(10_000);
    for (let at = 0; at < deep.length; at += 2) deep.writeUInt16LE(0x8030, at);
    expect(() => readAsn1(deep, "It")).toThrow(RekernelError);
  });
});
