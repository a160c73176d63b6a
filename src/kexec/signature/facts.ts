/** Reads what the running kernel will judge an image by. */
import { RekernelError } from "../../core/errors.ts";
import { hex } from "../../formats/asn1.ts";
import { type Certificate, readCertificate } from "../../formats/certificate.ts";
import { type EfiSignature, readEfiSignatures } from "../../formats/efi-signature-list.ts";
import { imageSecurityGuid, readEfiVariable, readMokVariable, shimGuid } from "../../host/efi-variables.ts";
import { readImaPolicy } from "../../host/ima.ts";
import { runningKernelConfig } from "../../host/kernel-config.ts";
import { readKexecState } from "../../host/kexec.ts";
import { keyringMembers, type ListedKey, readListedKeys } from "../../host/keyrings.ts";
import { readLockdown } from "../../host/lockdown.ts";
import { type HostPaths, thisHost } from "../../host/paths.ts";
import { isForbidden } from "../../host/pseudo-files.ts";
import { runningKernel } from "../../host/running-kernel.ts";
import { readSecureBoot } from "../../host/secure-boot.ts";
import type { KernelKey, KernelKeys } from "./keys.ts";
import { type SignatureRules, signatureRules } from "./rules.ts";

export interface SignatureFacts {
  rules: SignatureRules;
  keys: KernelKeys;
  /** What the firmware (dbx) and the machine owner's list revoke, whether the kernel looks at it or not. */
  revoked: { digests: ReadonlySet<string>; certificates: readonly Certificate[] };
}

/** The lists of the firmware and of shim. */
interface FirmwareLists {
  /** The variable's name with each certificate that the kernel should have loaded from it. */
  trusted: { origin: string; certificate: Certificate }[];
  revoked: SignatureFacts["revoked"];
}

/** @throws system errors only where a pseudo file fails in an unforeseen way */
export async function readSignatureFacts(host: HostPaths = thisHost): Promise<SignatureFacts> {
  const { release, commandLine } = await runningKernel(host);
  const [state, lockdown, secureBoot, config, ima, listed] = await Promise.all([
    readKexecState(host),
    readLockdown(host),
    secureBootState(host),
    runningKernelConfig(release, host),
    readImaPolicy(host),
    readListedKeys(host),
  ]);
  const lists = await readFirmwareLists(secureBoot === true, host);
  const readsRevocations = config?.get("CONFIG_SYSTEM_REVOCATION_LIST") === "y";
  const hasPlatformKeys =
    config?.get("CONFIG_INTEGRITY_PLATFORM_KEYRING") !== undefined || config === undefined;
  return {
    rules: signatureRules({ state, lockdown, secureBoot, config, ima, commandLine }),
    keys: {
      trusted: await keysOf(listed, [".secondary_trusted_keys", ".builtin_trusted_keys"], lists),
      platform: hasPlatformKeys ? ((await keysOf(listed, [".platform"], lists)) ?? fromFirmware(lists)) : [],
      revokedCertificates: blacklisted(listed, "tbs"),
      revokedSigners: readsRevocations ? lists.revoked.certificates : [],
    },
    revoked: {
      digests: new Set([...lists.revoked.digests, ...blacklisted(listed, "bin")]),
      certificates: lists.revoked.certificates,
    },
  };
}

/** Without EFI there is no Secure Boot; undefined where it may not be looked at. */
async function secureBootState(host: HostPaths): Promise<boolean | undefined> {
  try {
    return (await readSecureBoot(host)) ?? false;
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}

/** Source: security/integrity/platform_certs/load_uefi.c: shim's lists count only under Secure Boot. */
async function readFirmwareLists(secureBoot: boolean, host: HostPaths): Promise<FirmwareLists> {
  const variable = async (name: string, guid: string) =>
    signaturesOf((await readMokVariable(name, host)) ?? (await readEfiVariable(name, guid, host)), name);
  const ignoresDb = (await readEfiVariable("MokIgnoreDB", shimGuid, host)) !== undefined;
  const [db, dbx, mok, mokx] = await Promise.all([
    ignoresDb ? [] : variable("db", imageSecurityGuid),
    variable("dbx", imageSecurityGuid),
    secureBoot ? variable("MokListRT", shimGuid) : [],
    secureBoot ? variable("MokListXRT", shimGuid) : [],
  ]);
  const revoked = [...dbx, ...mokx];
  return {
    trusted: [
      ...certificatesOf(db).map((certificate) => ({ origin: "the firmware's db", certificate })),
      ...certificatesOf(mok).map((certificate) => ({ origin: "the machine owner's list", certificate })),
    ],
    revoked: {
      digests: new Set(revoked.filter(({ kind }) => kind === "sha256").map(({ data }) => hex(data))),
      certificates: certificatesOf(revoked),
    },
  };
}

/** A damaged list ends there for the kernel, too, which goes on without. */
function signaturesOf(value: Uint8Array | undefined, name: string): EfiSignature[] {
  return value === undefined
    ? []
    : (unlessDamaged(() => readEfiSignatures(value, `The EFI variable ${name}`)) ?? []);
}

function certificatesOf(signatures: readonly EfiSignature[]): Certificate[] {
  return signatures
    .filter(({ kind }) => kind === "x509")
    .flatMap(({ data }) => unlessDamaged(() => readCertificate(data)) ?? []);
}

function unlessDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof RekernelError) return undefined;
    throw error;
  }
}

/** The keys of the first of these keyrings that there is, and of the keyrings in it; undefined: not to be seen. */
async function keysOf(
  listed: readonly ListedKey[],
  names: readonly string[],
  lists: FirmwareLists,
): Promise<KernelKey[] | undefined> {
  for (const name of names) {
    const keyring = listed.find(({ type, description }) => type === "keyring" && description === name);
    if (keyring !== undefined) return membersOf(keyring, listed, lists, new Set());
  }
  return undefined;
}

async function membersOf(
  keyring: ListedKey,
  listed: readonly ListedKey[],
  lists: FirmwareLists,
  seen: Set<number>,
): Promise<KernelKey[] | undefined> {
  seen.add(keyring.serial);
  const members = await keyringMembers(keyring.serial);
  if (members === undefined) return undefined;
  const keys: KernelKey[] = [];
  for (const serial of members) {
    const member = listed.find((key) => key.serial === serial);
    if (member === undefined || seen.has(serial)) continue;
    const { type, description } = member;
    if (type === "keyring") keys.push(...((await membersOf(member, listed, lists, seen)) ?? []));
    else if (type === "asymmetri") {
      const known = lists.trusted.find(({ certificate }) => certificate.keyDescription === description);
      keys.push({ description, origin: keyring.description, certificate: known?.certificate });
    }
  }
  return keys;
}

/** What the kernel should have put into .platform, for who may not see that; undefined without any. */
function fromFirmware({ trusted }: FirmwareLists): KernelKey[] | undefined {
  if (trusted.length === 0) return undefined;
  return trusted.map(({ origin, certificate }) => ({
    description: certificate.keyDescription,
    origin,
    certificate,
  }));
}

/** Descriptions such as `tbs:HEX` in the keyring .blacklist: certs/blacklist.c. */
function blacklisted(listed: readonly ListedKey[], kind: "tbs" | "bin"): Set<string> {
  const beginning = `${kind}:`;
  return new Set(
    listed
      .filter(({ type, description }) => type === "blacklist" && description.startsWith(beginning))
      .map(({ description }) => description.slice(beginning.length)),
  );
}
