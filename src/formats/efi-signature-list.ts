/**
 * EFI_SIGNATURE_LIST, the format of the variables db, dbx, MokListRT and MokListXRT.
 *
 * Source: UEFI specification 2.10, section 32.4.1; security/integrity/platform_certs/efi_parser.c.
 */
import { badSignature, hex } from "./asn1.ts";
import { ByteReader } from "./bytes.ts";

/** What a list holds, by its GUID; other kinds are `unknown`. */
export type EfiSignatureKind = "x509" | "sha256" | "x509-sha256" | "unknown";

export interface EfiSignature {
  kind: EfiSignatureKind;
  /** GUID of the kind, in the usual order of digits. */
  kindGuid: string;
  /** GUID of who put it there. */
  owner: string;
  /** A certificate; a digest; of `x509-sha256` the digest of a certificate's signed part and a time. */
  data: Uint8Array;
}

const kinds: Readonly<Record<string, EfiSignatureKind>> = {
  "a5c059a1-94e4-4aa7-87b5-ab155c2bf072": "x509",
  "c1c41626-504c-4092-aca9-41f936934328": "sha256",
  "3bd2a492-96c0-4079-b420-fcf98ef103ed": "x509-sha256",
};
const listHeaderSize = 28;
const ownerSize = 16;

/**
 * @param bytes the variable's value, without the attributes that efivarfs puts before it
 * @param name completes "… cannot be read": `The EFI variable db`
 * @throws RekernelError RK-BAD-SIGNATURE (1)
 */
export function readEfiSignatures(bytes: Uint8Array, name: string): EfiSignature[] {
  const r = new ByteReader(bytes, (reason) => badSignature(name, reason));
  const found: EfiSignature[] = [];
  for (let at = 0; at < r.length; ) {
    const [listSize, headerSize, signatureSize] = [r.u32(at + 16), r.u32(at + 20), r.u32(at + 24)];
    const list = r.slice(at, listSize, "a list in it");
    const kindGuid = guidText(list);
    const room = listSize - listHeaderSize - headerSize;
    if (room < 0 || signatureSize < ownerSize || room % signatureSize !== 0)
      throw badSignature(name, `a list of ${listSize} bytes cannot hold entries of ${signatureSize}`);
    for (let entry = listHeaderSize + headerSize; entry < listSize; entry += signatureSize)
      found.push({
        kind: kinds[kindGuid] ?? "unknown",
        kindGuid,
        owner: guidText(list.subarray(entry)),
        data: list.subarray(entry + ownerSize, entry + signatureSize),
      });
    at += listSize;
  }
  return found;
}

/** The first three fields are little-endian. */
function guidText(bytes: Uint8Array): string {
  const part = (from: number, to: number) => hex(bytes.subarray(from, to));
  const little = (from: number, to: number) => hex(bytes.slice(from, to).reverse());
  return [little(0, 4), little(4, 6), little(6, 8), part(8, 10), part(10, 16)].join("-");
}
