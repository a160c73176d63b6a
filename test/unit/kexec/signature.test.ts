import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readCertificate } from "../../../src/formats/certificate.ts";
import { parseKernelConfig } from "../../../src/host/kernel-config.ts";
import { parseProcKeys } from "../../../src/host/keyrings.ts";
import { SyscallError } from "../../../src/host/syscall.ts";
import { explainKexecFailure } from "../../../src/kexec/explain.ts";
import { assessImage } from "../../../src/kexec/signature/assess.ts";
import { readSignatureFacts } from "../../../src/kexec/signature/facts.ts";
import type { KernelKey, KernelKeys } from "../../../src/kexec/signature/keys.ts";
import { predictKexec } from "../../../src/kexec/signature/predict.ts";
import {
  appraisalOf,
  type RuleSources,
  type SignatureRules,
  signatureRules,
} from "../../../src/kexec/signature/rules.ts";
import { verifyImage } from "../../../src/kexec/signature/verify.ts";
import { buildPe } from "../formats/build-pe.ts";
import {
  attributeCertificate,
  makeSigner,
  plainDigest,
  type SignatureChoice,
  signDigest,
  signPe,
  type TestSigner,
  withCertificates,
} from "../formats/sign-pe.ts";
import { fixtureHost } from "../host/fixture-host.ts";

const root = makeSigner({ name: "Root" });
const middle = makeSigner({ name: "Middle", by: root });
const leaf = makeSigner({ name: "Leaf", by: middle });
const stranger = makeSigner({ name: "Stranger" });
const image = buildPe([{ name: ".text", data: Buffer.alloc(3000, "kernel") }]);

const keyOf = ({ certificate }: TestSigner, origin = ".platform"): KernelKey => {
  const read = readCertificate(certificate);
  return { description: read.keyDescription, origin, certificate: read };
};
/** As the kernel shows those whose certificate nothing tells. */
const nameOf = (signer: TestSigner, origin = ".builtin_trusted_keys"): KernelKey => ({
  ...keyOf(signer, origin),
  certificate: undefined,
});
const keys = (some: Partial<KernelKeys> = {}): KernelKeys => ({
  trusted: [],
  platform: [],
  revokedCertificates: new Set(),
  revokedSigners: [],
  ...some,
});
const verdict = (bytes: Uint8Array, known: KernelKeys) => verifyImage(bytes, "image", known);
const outcome = (bytes: Uint8Array, known: KernelKeys) => {
  const { outcome: said, errno } = verdict(bytes, known);
  return errno ?? said;
};
const signedBy = (signer: TestSigner, choice: SignatureChoice = {}) => signPe(image, signer, choice);

describe("the kernel's verification", () => {
  test("takes a signer that it knows, or that a key it knows certified", () => {
    for (const known of [leaf, middle, root])
      expect(outcome(signedBy(leaf), keys({ platform: [keyOf(known)] })), known.name).toBe("valid");
    expect(verdict(signedBy(leaf), keys({ trusted: [nameOf(root)] })).trustedKey).toEqual({
      description: keyOf(root).description,
      origin: ".builtin_trusted_keys",
    });
    // The certificate in between is missing, and so is the way up to the root.
    expect(outcome(signedBy(leaf, { alone: true }), keys({ platform: [keyOf(root)] }))).toBe("ENOKEY");
    expect(outcome(signedBy(leaf, { alone: true }), keys({ platform: [keyOf(middle)] }))).toBe("valid");
    expect(outcome(signedBy(leaf, { alone: true }), keys({ trusted: [nameOf(middle)] }))).toBe("valid");
  });

  test("does not know strangers, and says so before it looks at the image", () => {
    const known = keys({ trusted: [nameOf(root)], platform: [keyOf(middle)] });
    expect(verdict(signedBy(stranger), known)).toMatchObject({
      outcome: "invalid",
      errno: "ENOKEY",
      signer: "Stranger",
      reason: "It is signed by “Stranger”, which is not among this kernel's keys.",
    });
    const changed = signedBy(stranger);
    changed[600]! ^= 1;
    expect(outcome(changed, known)).toBe("ENOKEY");
  });

  test("looks at the first signature only", () => {
    const known = keys({ platform: [keyOf(leaf)] });
    expect(outcome(signPe(signedBy(leaf), stranger), known)).toBe("valid");
    const late = verdict(signPe(signedBy(stranger), leaf), known);
    expect(late).toMatchObject({ errno: "ENOKEY", signatures: 2 });
    expect(late.reason).toContain("of its 2 signatures the kernel looks at the first only");
  });

  test("rejects what was changed, each thing with its own number", () => {
    const known = keys({ platform: [keyOf(leaf)] });
    const good = signedBy(leaf);
    const changed = Uint8Array.from(good);
    changed[600]! ^= 1;
    expect(outcome(changed, known)).toBe("EKEYREJECTED");
    expect(outcome(image, known)).toBe("ENODATA");
    expect(outcome(Buffer.from("no PE at all"), known)).toBe("ELIBBAD");
    expect(outcome(good.subarray(0, -8), known)).toBe("ELIBBAD");
    const entry = (data: Uint8Array, revision?: number, type?: number) =>
      withCertificates(image, attributeCertificate(data, revision, type));
    const data = signDigest(plainDigest(image), leaf);
    expect(outcome(entry(data), known)).toBe("valid");
    expect(outcome(entry(data, 0x100), known)).toBe("ENOTSUPP");
    expect(outcome(entry(data, 0x200, 1), known)).toBe("ENOTSUPP");
    expect(outcome(entry(Buffer.from("text and more")), known)).toBe("ELIBBAD");
    expect(outcome(entry(Buffer.from("3006020101020101", "hex")), known)).toBe("EBADMSG");
    expect(outcome(signedBy(leaf, { digest: Buffer.alloc(32) }), known)).toBe("EKEYREJECTED");
    expect(outcome(signedBy(leaf, { digest: Buffer.alloc(20) }), known)).toBe("EBADMSG");
  });

  test("no bit of a signature can be changed unseen", () => {
    const known = keys({ platform: [keyOf(stranger)] });
    const data = signDigest(plainDigest(image), stranger);
    const certificateAt = Buffer.from(data).indexOf(stranger.certificate);
    fc.assert(
      fc.property(fc.nat(data.length - 1), fc.nat(7), (offset, bit) => {
        // The certificate in it is the sender's copy: the trusted one decides.
        fc.pre(offset < certificateAt || offset >= certificateAt + stranger.certificate.length);
        const changed = Uint8Array.from(data);
        changed[offset]! ^= 1 << bit;
        const bytes = withCertificates(image, attributeCertificate(changed));
        // Some bits of lists of hashes, versions and parameters are nobody's business.
        if (outcome(bytes, known) === "valid")
          expect(Buffer.compare(significant(changed), significant(data))).toBe(0);
      }),
      { numRuns: 300 },
    );
    /** The signed content and the attributes: what all depends on. */
    function significant(bytes: Uint8Array): Buffer {
      const digestAt = Buffer.from(data).indexOf(plainDigest(image));
      return Buffer.concat([bytes.subarray(digestAt, digestAt + 32), bytes.subarray(-256)]);
    }
  });

  test("holds the time that the signer claims against the certificate, and no clock", () => {
    const old = makeSigner({ name: "Old", notAfter: new Date(Date.UTC(2021, 0, 1)) });
    const known = keys({ platform: [keyOf(old)] });
    expect(outcome(signedBy(old), known)).toBe("valid");
    expect(outcome(signedBy(old, { signingTime: new Date(Date.UTC(2020, 5, 1)) }), known)).toBe("valid");
    expect(outcome(signedBy(old, { signingTime: new Date(Date.UTC(2021, 5, 1)) }), known)).toBe(
      "EKEYREJECTED",
    );
  });

  test("knows revoked certificates and signers", () => {
    const known = { platform: [keyOf(leaf), keyOf(root)] };
    const { createHash } = process.getBuiltinModule("node:crypto");
    const digestOf = (signer: TestSigner) =>
      createHash("sha256").update(readCertificate(signer.certificate).tbs).digest("hex");
    for (const revoked of [leaf, middle, root])
      expect(
        outcome(signedBy(leaf), keys({ ...known, revokedCertificates: new Set([digestOf(revoked)]) })),
      ).toBe("EKEYREJECTED");
    expect(
      outcome(signedBy(leaf), keys({ ...known, revokedCertificates: new Set([digestOf(stranger)]) })),
    ).toBe("valid");
    const revokedSigners = [readCertificate(middle.certificate)];
    expect(outcome(signedBy(leaf), keys({ ...known, revokedSigners }))).toBe("EKEYREJECTED");
  });

  test("is not known where the keys are not to be seen", () => {
    const hidden = keys({ trusted: undefined, platform: [keyOf(leaf, "the firmware's db")] });
    expect(outcome(signedBy(leaf), hidden)).toBe("valid");
    expect(outcome(signedBy(stranger), hidden)).toBe("unknown");
    expect(outcome(image, hidden)).toBe("ENODATA");
  });

  test("a key of the same name that is another one is none", () => {
    const double = { ...keyOf(stranger), certificate: undefined, description: `Leaf: ${"0".repeat(40)}` };
    expect(outcome(signedBy(leaf), keys({ trusted: [double] }))).toBe("ENOKEY");
  });
});

const state = {
  supported: true,
  loaded: false,
  crashLoaded: false,
  crashSizeBytes: 0,
  loadDisabled: false,
  loadLimitReboot: -1,
  loadLimitPanic: -1,
};
const debian = `CONFIG_KEXEC=y
CONFIG_KEXEC_FILE=y
CONFIG_KEXEC_SIG=y
# CONFIG_KEXEC_SIG_FORCE is not set
CONFIG_KEXEC_BZIMAGE_VERIFY_SIG=y
CONFIG_IMA=y
CONFIG_IMA_APPRAISE=y
CONFIG_IMA_ARCH_POLICY=y
CONFIG_IMA_SECURE_AND_OR_TRUSTED_BOOT=y
CONFIG_INTEGRITY_PLATFORM_KEYRING=y
`;
const rules = (some: Partial<RuleSources> = {}, config = debian): SignatureRules =>
  signatureRules({
    state,
    lockdown: "none",
    secureBoot: false,
    config: parseKernelConfig(config),
    ima: { state: "hidden" },
    commandLine: "quiet",
    ...some,
  });
const secureBoot = { lockdown: "integrity", secureBoot: true } as const;

describe("prediction", () => {
  const known = keys({ platform: [keyOf(leaf)] });
  const good = verdict(signedBy(leaf), known);
  const bad = verdict(signedBy(stranger), known);
  const hidden = verdict(signedBy(stranger), keys({ trusted: undefined }));
  const said = (method: "kexec_file_load" | "kexec_load", found: typeof good, by: SignatureRules) => {
    const { outcome: is, errno } = predictKexec(method, method === "kexec_load" ? undefined : found, by);
    return errno ?? is;
  };

  test.each<[string, Partial<RuleSources>, string, [good: string, bad: string, segments: string]]>([
    ["Debian without Secure Boot", {}, debian, ["accepted", "accepted", "accepted"]],
    ["Debian under Secure Boot", secureBoot, debian, ["accepted", "ENOKEY", "EACCES"]],
    ["lockdown alone", { lockdown: "integrity" }, debian, ["accepted", "EPERM", "EPERM"]],
    [
      "a kernel that insists",
      {},
      debian.replace("# CONFIG_KEXEC_SIG_FORCE is not set", "CONFIG_KEXEC_SIG_FORCE=y"),
      ["accepted", "ENOKEY", "accepted"],
    ],
    ["a kernel before 5.4", {}, `${debian}CONFIG_KEXEC_VERIFY_SIG=y\n`, ["accepted", "ENOKEY", "accepted"]],
    [
      "a kernel that verifies nothing, locked down",
      { lockdown: "integrity" },
      "CONFIG_KEXEC=y\nCONFIG_KEXEC_FILE=y\n",
      ["accepted", "accepted", "EPERM"],
    ],
    [
      "a kernel that cannot verify bzImages",
      secureBoot,
      debian.replace("CONFIG_KEXEC_BZIMAGE_VERIFY_SIG=y\n", ""),
      ["EKEYREJECTED", "EKEYREJECTED", "EACCES"],
    ],
    ["no kexec", {}, "CONFIG_X86_64=y\n", ["ENOSYS", "ENOSYS", "ENOSYS"]],
    ["the latch", { state: { ...state, loadDisabled: true } }, debian, ["EPERM", "EPERM", "EPERM"]],
    ["the limit", { state: { ...state, loadLimitReboot: 0 } }, debian, ["EPERM", "EPERM", "EPERM"]],
    [
      "a lockdown that is not to be seen",
      { lockdown: "unknown" },
      debian,
      ["accepted", "unknown", "unknown"],
    ],
    ["a policy of one's own", { ima: { state: "replaced" } }, debian, ["unknown", "unknown", "unknown"]],
    [
      "IMA's own policy for Secure Boot",
      { commandLine: "ima_policy=secure_boot" },
      debian,
      ["unknown", "unknown", "EACCES"],
    ],
    [
      "the same, switched off",
      { commandLine: "ima_policy=secure_boot ima_appraise=off" },
      debian,
      ["accepted", "accepted", "accepted"],
    ],
    [
      "the same under Secure Boot, which cannot be switched off",
      { ...secureBoot, commandLine: "ima_policy=secure_boot ima_appraise=off" },
      debian,
      ["unknown", "unknown", "EACCES"],
    ],
  ])("%s", (_name, some, config, expected) => {
    const by = rules(some, config);
    expect([
      said("kexec_file_load", good, by),
      said("kexec_file_load", bad, by),
      said("kexec_load", good, by),
    ]).toEqual(expected);
  });

  test("without a configuration to read says what it does not know", () => {
    const by = rules({ config: undefined, lockdown: "integrity", ima: { state: "none" } });
    expect(said("kexec_file_load", good, by)).toBe("accepted");
    expect(predictKexec("kexec_file_load", bad, by)).toMatchObject({
      outcome: "unknown",
      reason: expect.stringContaining("which is not among this kernel's keys."),
    });
  });

  test("of a signer nobody can look up is unknown only where it matters", () => {
    expect(said("kexec_file_load", hidden, rules())).toBe("accepted");
    expect(said("kexec_file_load", hidden, rules(secureBoot))).toBe("unknown");
  });

  test("every combination has an answer with a whole sentence", () => {
    const option = fc.constantFrom(true, false, undefined);
    const some = fc.record({
      state: fc.constant(state),
      lockdown: fc.constantFrom("none", "integrity", "confidentiality", "unknown"),
      secureBoot: option,
      hasKexecLoad: option,
      hasKexecFileLoad: option,
      verifies: option,
      verifiesBzImages: option,
      enforced: option,
      imaWantsFiles: option,
      imaAppraisal: fc.constantFrom("none", "signature", "some", "unknown"),
    }) as fc.Arbitrary<SignatureRules>;
    fc.assert(
      fc.property(some, fc.constantFrom(good, bad, hidden, undefined), (by, found) => {
        const prediction = predictKexec(found ? "kexec_file_load" : "kexec_load", found, by);
        expect(prediction.errno !== undefined).toBe(prediction.outcome === "refused");
        expect(prediction.reason).toMatch(/^[A-Z“kI].*[.]$/s);
        // What is locked down never takes what it cannot verify, unless it verifies nothing at all.
        if (found === bad && by.lockdown === "integrity" && by.verifies === true)
          expect(prediction.outcome).not.toBe("accepted");
      }),
    );
  });
});

test("IMA's rules: the first that fits a kernel decides", () => {
  expect(
    appraisalOf("measure func=KEXEC_KERNEL_CHECK\nappraise func=MODULE_CHECK appraise_type=imasig"),
  ).toBe("none");
  expect(appraisalOf("appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig|modsig\n")).toBe("signature");
  expect(appraisalOf("dont_appraise fsmagic=0x9fa0\nappraise fowner=0\n")).toBe("some");
  expect(appraisalOf("appraise func=KEXEC_KERNEL_CHECK")).toBe("some");
  fc.assert(fc.property(fc.string(), (text) => void appraisalOf(text)));
});

test("/proc/keys is read as a guest under Secure Boot showed it", () => {
  const text = `0065cb4f I------     1 perm 1f0b0000     0     0 keyring   .platform: 1
0a2c61d7 I------     2 perm 09090000     0     0 blacklist bin:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
1f069a39 I------     1 perm 1f010000     0     0 asymmetri SnakeOil: 63b8d5ee5df87b9a2f08dde4dba1e606c854dadb: X509.rsa c854dadb []
2123d952 I------     1 perm 1f030000     0     0 asymmetri Build time autogenerated kernel key: f8737d2b0cb3acd10f915583dfb07a29db3f1982: X509.ecdsa-nist-p384 db3f1982 []
3df8d88d I------     2 perm 1f0b0000     0     0 keyring   .machine: empty
26d28af5 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid_ses.0: 1
`;
  expect(parseProcKeys(text)).toEqual([
    { serial: 0x0065cb4f, type: "keyring", description: ".platform" },
    {
      serial: 0x0a2c61d7,
      type: "blacklist",
      description: "bin:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    },
    {
      serial: 0x1f069a39,
      type: "asymmetri",
      description: "SnakeOil: 63b8d5ee5df87b9a2f08dde4dba1e606c854dadb",
    },
    {
      serial: 0x2123d952,
      type: "asymmetri",
      description: "Build time autogenerated kernel key: f8737d2b0cb3acd10f915583dfb07a29db3f1982",
    },
    { serial: 0x3df8d88d, type: "keyring", description: ".machine" },
    { serial: 0x26d28af5, type: "keyring", description: "_uid_ses.0" },
  ]);
  fc.assert(fc.property(fc.string(), (any) => void parseProcKeys(any)));
});

describe("a machine under Secure Boot, seen by an ordinary user", () => {
  const variable = (name: string, guid: string, value: Uint8Array) => ({
    [`/sys/firmware/efi/efivars/${name}-${guid}`]: Buffer.concat([Uint8Array.of(6, 0, 0, 0), value]),
  });
  const security = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
  const list = (kind: string, data: Uint8Array) => {
    const bytes = Buffer.alloc(44 + data.length);
    bytes.write(kind, 0, "hex");
    bytes.writeUInt32LE(bytes.length, 16);
    bytes.writeUInt32LE(16 + data.length, 24);
    bytes.set(data, 44);
    return bytes;
  };
  const machine = (more: Readonly<Record<string, string | Uint8Array>> = {}) =>
    fixtureHost({
      "/proc/sys/kernel/osrelease": "6.12.117+deb12-amd64\n",
      "/proc/config.gz": process.getBuiltinModule("node:zlib").gzipSync(debian),
      "/proc/cmdline": "quiet\n",
      "/proc/keys": "",
      "/sys/kernel/kexec_loaded": "0\n",
      "/sys/kernel/security/lsm": "lockdown,capability,ima",
      "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
      "/sys/kernel/security/ima/violations": "0\n",
      "/sys/kernel/security/ima/policy": "measure func=KEXEC_KERNEL_CHECK\n",
      ...variable("SecureBoot", "8be4df61-93ca-11d2-aa0d-00e098032b8c", Uint8Array.of(1)),
      ...variable("db", security, list("a159c0a5e494a74a87b5ab155c2bf072", root.certificate)),
      ...more,
    });

  test("knows what the firmware's db vouches for", async () => {
    const host = machine();
    expect(await readSignatureFacts(host)).toMatchObject({
      rules: { enforced: true, lockdown: "integrity", imaAppraisal: "none", imaWantsFiles: true },
      keys: { trusted: undefined, platform: [{ origin: "the firmware's db" }] },
    });
    expect(
      await assessImage(signedBy(leaf), "image", "kexec_file_load", await readSignatureFacts(host)),
    ).toMatchObject({
      prediction: { outcome: "accepted" },
      notes: [],
    });
    const unknown = await assessImage(
      signedBy(stranger),
      "image",
      "kexec_file_load",
      await readSignatureFacts(host),
    );
    expect(unknown.prediction).toMatchObject({ outcome: "unknown" });
    expect(
      (await assessImage(image, "image", "kexec_file_load", await readSignatureFacts(host))).prediction,
    ).toMatchObject({
      outcome: "refused",
      errno: "ENODATA",
    });
  });

  test("notes what the firmware revokes, and kexec does not look at", async () => {
    const digest = list("2616c4c14c509240aca941f936934328", plainDigest(image));
    const byDigest = await assessImage(
      signedBy(leaf),
      "image",
      "kexec_file_load",
      await readSignatureFacts(machine(variable("dbx", security, digest))),
    );
    expect(byDigest.prediction.outcome).toBe("accepted");
    expect(byDigest.notes).toEqual([expect.stringContaining("(dbx) names this one")]);
    const signer = list("a159c0a5e494a74a87b5ab155c2bf072", leaf.certificate);
    const bySigner = await assessImage(
      signedBy(leaf),
      "image",
      "kexec_file_load",
      await readSignatureFacts(machine(variable("dbx", security, signer))),
    );
    expect(bySigner.notes).toEqual([expect.stringContaining("revokes the certificate of “Leaf”")]);
  });

  test("a damaged list is as good as none", async () => {
    const host = machine(variable("db", security, Buffer.alloc(100, 0xff)));
    expect((await readSignatureFacts(host)).keys.platform).toBeUndefined();
  });
});

test("a refusal is explained by what was found", () => {
  const found = verdict(signPe(signedBy(stranger), leaf), keys({ platform: [keyOf(leaf)] }));
  const message = (errno: number, lockdown: "none" | "integrity") =>
    explainKexecFailure("load vmlinuz", new SyscallError("kexec_file_load", errno), {
      state,
      lockdown,
      signature: found,
    }).message;
  expect(message(126, "integrity")).toBe(
    "Cannot load vmlinuz: it is signed by “Stranger”, which is not among this kernel's keys; of its 2 signatures the kernel looks at the first only (ENOKEY).",
  );
  expect(message(1, "integrity")).toContain("does not trust the image: it is signed by “Stranger”");
  // Something else than what was found is left to speak for itself.
  expect(message(129, "integrity")).not.toContain("Stranger");
  expect(message(12, "none")).not.toContain("Stranger");
});
