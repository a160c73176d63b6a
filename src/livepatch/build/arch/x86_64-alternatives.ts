/**
 * Where struct alt_instr (arch/x86/include/asm/alternative.h) keeps the length of the replacement, by the size of an
 * entry: 12 bytes until 4.0 and from 5.13, 13 between (with padlen), 14 since 6.3 (with flags).
 */
const replacementLengthAt: ReadonlyMap<number, number> = new Map([
  [12, 11],
  [13, 11],
  [14, 13],
]);

/**
 * Whether an entry of .altinstructions replaces by nothing, as static_cpu_has() does. Its reference to
 * .altinstr_replacement then leads to whatever stands there for somebody else.
 */
export function isEmptyReplacement(entry: Uint8Array): boolean {
  const at = replacementLengthAt.get(entry.length);
  return at !== undefined && entry[at] === 0;
}
