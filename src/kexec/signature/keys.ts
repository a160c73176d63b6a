/** The keys that the running kernel verifies images with. */
import type { Certificate } from "../../formats/certificate.ts";

/** One key. Of most the kernel tells only how it describes them. */
export interface KernelKey {
  /** Name, colon, subject key id or serial number in hex: as /proc/keys shows it. */
  description: string;
  /** Where it is: `.builtin_trusted_keys`, `.platform`, or the EFI variable that it was read from. */
  origin: string;
  certificate: Certificate | undefined;
}

export interface KernelKeys {
  /** Of .secondary_trusted_keys with .builtin_trusted_keys and .machine in it; undefined: not to be seen. */
  trusted: readonly KernelKey[] | undefined;
  /** Of .platform, which the kernel asks when the others do not know the signer. */
  platform: readonly KernelKey[] | undefined;
  /** Digests of the signed parts of certificates (`tbs:`) that are not to be trusted, in hex. */
  revokedCertificates: ReadonlySet<string>;
  /** Certificates that the kernel does not trust as signers: dbx, where it reads it (SYSTEM_REVOCATION_LIST). */
  revokedSigners: readonly Certificate[];
}

/** What a key is looked for by: see {@link findKey}. */
export interface KeyId {
  id?: string | undefined;
  skid?: string | undefined;
  description?: string | undefined;
}

/**
 * The key with this identity. Where only its description is known, the subject key id in it has to do.
 *
 * Source: crypto/asymmetric_keys/asymmetric_type.c find_asymmetric_key. Two keys with the same serial number and
 * issuer but another key id, which the kernel refuses, are taken for strangers.
 */
export function findKey(keys: readonly KernelKey[], wanted: KeyId): KernelKey | undefined {
  const { id, skid, description } = wanted;
  return keys.find(({ certificate, description: known }) => {
    if (certificate === undefined)
      return (
        (description !== undefined && known === description) ||
        (skid !== undefined && known.endsWith(`: ${skid}`))
      );
    if (id === undefined) return skid !== undefined && certificate.skid === skid;
    return (
      (certificate.id === id || certificate.skid === id) && (skid === undefined || certificate.skid === skid)
    );
  });
}
