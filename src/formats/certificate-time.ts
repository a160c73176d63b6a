import type { RekernelError } from "../core/errors.ts";
import type { Asn1 } from "./asn1.ts";
import { latin1 } from "./bytes.ts";

const generalizedTime = 24;

/**
 * UTCTime (two digits of the year: 1950 to 2049) or GeneralizedTime, both to the second and in UTC.
 * Source: RFC 5280, section 4.1.2.5; x509_decode_time.
 */
export function decodedTime(node: Asn1, fail: (reason: string) => RekernelError): Date {
  const text = latin1(node.content);
  const long = node.tag === generalizedTime ? text : `${Number(text.slice(0, 2)) < 50 ? 20 : 19}${text}`;
  const digits = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(long)?.slice(1).map(Number);
  if (digits === undefined) throw fail("a time in it is not one");
  const [year, month, day, hour, minute, second] = digits as [number, number, number, number, number, number];
  const time = new Date(0);
  time.setUTCFullYear(year, month - 1, day);
  time.setUTCHours(hour, minute, second);
  if (time.getUTCMonth() !== month - 1 || time.getUTCDate() !== day) throw fail("a time in it is not one");
  return time;
}
