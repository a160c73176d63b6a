/** ASN.1 as signatures use it: a tree of values with their bytes. The decoder is the library asn1js. */
import { type BaseBlock, fromBER } from "asn1js";
import { RekernelError } from "../core/errors.ts";

/** Universal tags (X.680), as far as certificates and signatures have them. */
export const tag = {
  integer: 2,
  bitString: 3,
  octetString: 4,
  oid: 6,
  sequence: 16,
  set: 17,
} as const;

export interface Asn1 {
  /** One of {@link tag} for a universal value; the number in brackets, such as [0], for a context-specific one. */
  tag: number;
  context: boolean;
  constructed: boolean;
  /** The value with tag and length. */
  raw: Uint8Array;
  /** Without them. */
  content: Uint8Array;
  /** Of a constructed value. */
  children: readonly Asn1[];
}

const limits = { maxDepth: 40, maxNodes: 20_000, maxContentLength: 1 << 20, parseEmbedded: false };

/** What is wrong with a signature, a certificate, or a list of them. */
export function badSignature(name: string, reason: string, cause?: unknown): RekernelError {
  return new RekernelError("failed", "RK-BAD-SIGNATURE", `${name} cannot be read: ${reason}.`, {
    hint: "It is damaged, or not what its place says it is.",
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Reads one value in BER or DER; what stands behind it is left alone.
 *
 * @param name completes "… cannot be read": `The certificate`
 * @throws RekernelError RK-BAD-SIGNATURE (1)
 */
export function readAsn1(bytes: Uint8Array, name: string): Asn1 {
  let decoded: ReturnType<typeof fromBER>;
  try {
    decoded = fromBER(new Uint8Array(bytes), limits);
  } catch (cause) {
    throw badSignature(name, "its ASN.1 is damaged", cause);
  }
  if (decoded.offset === -1)
    throw badSignature(name, `its ASN.1 is damaged (${decoded.result.error || "it ends too early"})`);
  return nodeOf(decoded.result);
}

function nodeOf(block: BaseBlock): Asn1 {
  const { idBlock, lenBlock } = block;
  const raw = block.valueBeforeDecodeView;
  const header = idBlock.blockLength + lenBlock.blockLength;
  const constructed = idBlock.isConstructed;
  const value: unknown = "value" in block.valueBlock ? block.valueBlock.value : undefined;
  return {
    tag: idBlock.tagNumber,
    context: idBlock.tagClass === 3,
    constructed,
    raw,
    // A value of indefinite length ends in two zero bytes.
    content: raw.subarray(header, lenBlock.isIndefiniteForm ? -2 : undefined),
    children: constructed && Array.isArray(value) ? (value as BaseBlock[]).map(nodeOf) : [],
  };
}

/** Reads the members of a SEQUENCE, SET or context-specific value in their order. */
export class Asn1Members {
  readonly #members: readonly Asn1[];
  readonly #fail: (reason: string) => RekernelError;
  #next = 0;

  constructor(of: Asn1, fail: (reason: string) => RekernelError) {
    this.#members = of.children;
    this.#fail = fail;
  }

  /** The next member, which must be of this universal tag. */
  take(wanted: number, what: string): Asn1 {
    const member = this.#members[this.#next];
    if (member === undefined || member.context || member.tag !== wanted)
      throw this.#fail(`${what} is missing`);
    this.#next++;
    return member;
  }

  /** The next member whatever it is. */
  any(what: string): Asn1 {
    const member = this.#members[this.#next++];
    if (member === undefined) throw this.#fail(`${what} is missing`);
    return member;
  }

  /** The next member if it is `[number]`. */
  optional(number: number): Asn1 | undefined {
    const member = this.#members[this.#next];
    if (member?.context !== true || member.tag !== number) return undefined;
    this.#next++;
    return member;
  }

  /** The next member if it is of this universal tag. */
  optionalTag(wanted: number): Asn1 | undefined {
    const member = this.#members[this.#next];
    if (member === undefined || member.context || member.tag !== wanted) return undefined;
    this.#next++;
    return member;
  }
}

/** An OBJECT IDENTIFIER in dots: `1.2.840.113549.1.7.2`. */
export function oidText(node: Asn1): string {
  const numbers: bigint[] = [];
  let value = 0n;
  for (const byte of node.content) {
    value = (value << 7n) | BigInt(byte & 0x7f);
    if (byte & 0x80) continue;
    if (numbers.length === 0) {
      const first = value < 40n ? 0n : value < 80n ? 1n : 2n;
      numbers.push(first, value - first * 40n);
    } else numbers.push(value);
    value = 0n;
  }
  return numbers.join(".");
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}
