/**
 * Signer, certificates, keys: as the kernel goes through them.
 *
 * Validity dates of certificates count only against the time that the signer claims, never against the clock;
 * key usage and basic constraints do not count at all.
 * Source: crypto/asymmetric_keys/pkcs7_verify.c, pkcs7_trust.c; certs/system_keyring.c verify_pkcs7_message_sig.
 */
import type { Certificate } from "../../formats/certificate.ts";
import { digest, verifies } from "../../formats/signature-scheme.ts";
import type { SignedData, Signer } from "../../formats/signed-data.ts";
import { messageDigestHolds, signatureFits, signerCertificate } from "./inspect.ts";
import { findKey, type KernelKey, type KernelKeys } from "./keys.ts";

/** Why a signature does not hold: the kernel's error number, and what was found, completing "because". */
export interface Rejection {
  errno: string;
  reason: string;
}

/** The signer with the certificates above its own, as far as the signature includes them. */
export interface Chain {
  signer: Signer;
  /** The signer's first; empty when its certificate is not included. */
  certificates: readonly Certificate[];
}

/** What the kernel finds out without any key: pkcs7_verify. */
export function verifyWithin(data: SignedData, keys: KernelKeys): Chain[] | Rejection {
  const chains: Chain[] = [];
  let rejected: Rejection | undefined;
  for (const signer of data.signers) {
    const chain = verifySigner(data, signer, keys.revokedCertificates);
    if (!("errno" in chain)) chains.push(chain);
    else if (chain.errno === "ENOPKG" || chain.revoked === true) rejected ??= chain;
    else return chain;
  }
  return chains.length > 0 ? chains : (rejected ?? { errno: "ENOPKG", reason: "no signer of it is known" });
}

function verifySigner(
  data: SignedData,
  signer: Signer,
  revoked: ReadonlySet<string>,
): Chain | (Rejection & { revoked?: boolean }) {
  if (signer.hash === undefined || signer.key === undefined)
    return { errno: "ENOPKG", reason: "it uses a hash or a kind of key that kernels do not take" };
  if (signer.attributes === undefined || signer.messageDigest === undefined)
    return { errno: "EBADMSG", reason: "its signed attributes are missing" };
  if (!messageDigestHolds(data, signer))
    return { errno: "EKEYREJECTED", reason: "the signature was changed after it was made" };
  const own = signerCertificate(data, signer);
  if (own === undefined) return { signer, certificates: [] };
  const { signingTime } = signer;
  if (signingTime !== undefined && (signingTime < own.notBefore || signingTime > own.notAfter))
    return {
      errno: "EKEYREJECTED",
      reason: `it was made at a time (${signingTime.toISOString()}) when the certificate of “${own.subject}” was not valid`,
    };
  if (own.publicKey === undefined)
    return { errno: "ENOPKG", reason: `the key of “${own.subject}” is of a kind that kernels do not take` };
  if (!signatureFits(signer, own))
    return {
      errno: "EKEYREJECTED",
      reason: `it was not made with the key of “${own.subject}”, or was changed`,
    };
  return climb(data, signer, own, revoked);
}

function climb(
  data: SignedData,
  signer: Signer,
  own: Certificate,
  revoked: ReadonlySet<string>,
): Chain | (Rejection & { revoked?: boolean }) {
  const certificates: Certificate[] = [];
  for (let next: Certificate | undefined = own; next !== undefined && !certificates.includes(next); ) {
    const current: Certificate = next;
    certificates.push(current);
    if (current.scheme !== undefined && revoked.has(digest(current.scheme.hash, current.tbs)))
      return {
        errno: "EKEYREJECTED",
        reason: `the certificate of “${current.subject}” is revoked`,
        revoked: true,
      };
    if (isRoot(current)) break;
    const { id, skid } = current.authority;
    const issuer = data.certificates.find((other) =>
      id !== undefined ? other.id === id : skid !== undefined && other.skid === skid,
    );
    if (issuer === undefined) break;
    if (id !== undefined && skid !== undefined && issuer.skid !== skid)
      return {
        errno: "EKEYREJECTED",
        reason: `the certificates above “${current.subject}” contradict each other`,
      };
    if (!certificateFits(current, issuer))
      return {
        errno: "EKEYREJECTED",
        reason: `the certificate of “${current.subject}” was not signed by “${issuer.subject}”`,
      };
    next = issuer;
  }
  return { signer, certificates };
}

/** x509_check_for_self_signed */
function isRoot(certificate: Certificate): boolean {
  const { ownIssuer, authority, id, skid } = certificate;
  if (!ownIssuer) return false;
  const named = authority.id !== undefined || authority.skid !== undefined;
  return !named || authority.id === id || (authority.skid !== undefined && authority.skid === skid);
}

function certificateFits(certificate: Certificate, { publicKey }: Certificate): boolean {
  const { scheme, tbs, signature } = certificate;
  return scheme !== undefined && publicKey !== undefined && verifies(publicKey, scheme, tbs, signature);
}

/** Who vouches for a signature. */
export interface Trust {
  key: KernelKey;
  /** The kernel tells only the key's name, so that its signature could not be verified here. */
  assumed: boolean;
}

/**
 * Looks for one of the keys behind one of the chains: pkcs7_validate_trust.
 *
 * @returns undefined when no key knows any signer (ENOKEY)
 */
export function findTrust(
  chains: readonly Chain[],
  keys: readonly KernelKey[],
): Trust | Rejection | undefined {
  let trust: Trust | undefined;
  for (const chain of chains) {
    const found = trustOf(chain, keys);
    if (found !== undefined && "errno" in found) return found;
    trust ??= found;
  }
  return trust;
}

function trustOf({ signer, certificates }: Chain, keys: readonly KernelKey[]): Trust | Rejection | undefined {
  for (const [index, certificate] of certificates.entries()) {
    const { id, skid, keyDescription: description } = certificate;
    const key = findKey(keys, { id, skid, description });
    if (key !== undefined) {
      // The trusted copy has to verify what the certificate signed.
      const holder = key.certificate ?? certificate;
      const below = certificates[index - 1];
      const fits = below === undefined ? signatureFits(signer, holder) : certificateFits(below, holder);
      return fits ? { key, assumed: false } : wrongKey(key);
    }
    if (isRoot(certificate)) return undefined;
  }
  const last = certificates.at(-1);
  if (last !== undefined && (last.authority.id !== undefined || last.authority.skid !== undefined)) {
    const key = findKey(keys, last.authority);
    if (key !== undefined) {
      if (key.certificate === undefined) return { key, assumed: true };
      return certificateFits(last, key.certificate) ? { key, assumed: false } : wrongKey(key);
    }
  }
  const direct = findKey(keys, { id: signer.certificateId, description: undefined });
  if (direct?.certificate === undefined) return undefined;
  return signatureFits(signer, direct.certificate) ? { key: direct, assumed: false } : wrongKey(direct);
}

function wrongKey({ description, origin }: KernelKey): Rejection {
  return { errno: "EKEYREJECTED", reason: `the key “${description}” of ${origin} did not make it` };
}
