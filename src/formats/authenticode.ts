/**
 * Where a PE file carries its signatures, and what they cover.
 *
 * Source: Microsoft's "PE Format" (attribute certificate table, "Calculating the PE Image Hash");
 * crypto/asymmetric_keys/verify_pefile.c.
 */
import { createHash } from "node:crypto";
import { badSignature } from "./asn1.ts";
import { ByteReader } from "./bytes.ts";
import type { PeFile } from "./pe.ts";

const certificateDirectory = 4;
const entryHeaderSize = 8;

/** WIN_CERT_REVISION_2_0 */
export const REVISION_2 = 0x0200;
/** WIN_CERT_TYPE_PKCS_SIGNED_DATA */
export const PKCS_SIGNED_DATA = 0x0002;

/** A WIN_CERTIFICATE: one entry of the certificate table. */
export interface AttributeCertificate {
  revision: number;
  type: number;
  /** What follows its header, with the padding that its length covers. A view of the file. */
  data: Uint8Array;
}

/**
 * The entries of the certificate table, each padded to 8 bytes; none for an unsigned file.
 *
 * @throws RekernelError RK-BAD-SIGNATURE (1) for an entry that is too short or leads out of the table
 */
export function attributeCertificates(bytes: Uint8Array, pe: PeFile): AttributeCertificate[] {
  if (pe.certificates === undefined) return [];
  const { offset, size } = pe.certificates;
  const r = new ByteReader(bytes.subarray(offset, offset + size), (reason) =>
    badSignature("The table of signatures", reason),
  );
  const entries: AttributeCertificate[] = [];
  for (let at = 0; at < size; ) {
    const length = r.u32(at);
    if (length < entryHeaderSize)
      throw badSignature("The table of signatures", `an entry in it claims a length of ${length} bytes`);
    const entry = r.slice(at, length, "a signature");
    entries.push({
      revision: r.u16(at + 4),
      type: r.u16(at + 6),
      data: entry.subarray(entryHeaderSize),
    });
    at += Math.ceil(length / 8) * 8;
  }
  return entries;
}

/**
 * The Authenticode digest: headers without checksum and certificate directory entry, sections in the order of
 * their data, what follows them up to the certificates.
 *
 * @param hash a name that node:crypto knows
 * @returns in hex; undefined where headers and sections are such that the kernel computes none (ELIBBAD)
 */
export function authenticodeDigest(bytes: Uint8Array, pe: PeFile, hash: string): string | undefined {
  const entry = pe.directories[certificateDirectory];
  if (entry === undefined || pe.sizeOfHeaders < entry.headerOffset + 8 || pe.sizeOfHeaders > bytes.length)
    return undefined;
  const sum = createHash(hash);
  sum.update(bytes.subarray(0, pe.checksumOffset));
  sum.update(bytes.subarray(pe.checksumOffset + 4, entry.headerOffset));
  sum.update(bytes.subarray(entry.headerOffset + 8, pe.sizeOfHeaders));
  let hashed = pe.sizeOfHeaders;
  const withData = pe.sections.filter(({ fileSize }) => fileSize > 0);
  for (const { fileOffset, fileSize } of withData.sort((a, b) => a.fileOffset - b.fileOffset)) {
    sum.update(bytes.subarray(fileOffset, fileOffset + fileSize));
    hashed += fileSize;
  }
  if (bytes.length > hashed) {
    const end = bytes.length - (pe.certificates?.size ?? 0);
    if (end < hashed) return undefined;
    sum.update(bytes.subarray(hashed, end));
  }
  return sum.digest("hex");
}
