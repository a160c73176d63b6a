/**
 * Orders of version strings: that of the UAPI Version Format Specification (UAPI.10), by which boot entries are
 * sorted, and rpm's, by which Fedora's GRUB sorts them. Debian's is in debian.ts.
 */

const known = /[a-zA-Z0-9.~^-]/;
const digits = /[0-9]*/y;
const letters = /[a-zA-Z]*/y;

/**
 * Negative, zero or positive, as `a` is older than, equal to or newer than `b` (UAPI.10, "Version Comparison").
 *
 * A tilde sorts lower than the end, as "Version Format" says there and as systemd-boot does
 * (strverscmp_improved), although one of the steps of the comparison has it the other way.
 */
export function compareUapiVersions(a: string, b: string): number {
  let i = 0;
  let j = 0;
  for (;;) {
    while (i < a.length && !known.test(a[i]!)) i++;
    while (j < b.length && !known.test(b[j]!)) j++;
    for (const [mark, sign] of marks) {
      const left = a[i] === mark;
      const right = b[j] === mark;
      if (left !== right) return left ? sign : -sign;
      if (left) {
        i++;
        j++;
      }
      if (mark === "~" && (i >= a.length || j >= b.length))
        return Number(i < a.length) - Number(j < b.length);
    }
    const runs = compareRuns(a, i, b, j, isDigit(a[i]) || isDigit(b[j]));
    if (runs.difference !== 0) return runs.difference;
    i += runs.left;
    j += runs.right;
  }
}

/** What a special character says about the string that has it where the other has not; in the order of the specification. */
const marks = [
  ["~", -1],
  ["-", -1],
  ["^", 1],
  [".", -1],
] as const;

/** rpm's order of one version or release (rpmvercmp): negative, zero or positive. */
export function compareRpmVersions(a: string, b: string): number {
  let i = 0;
  let j = 0;
  const separator = /[^a-zA-Z0-9~^]/;
  for (;;) {
    while (i < a.length && separator.test(a[i]!)) i++;
    while (j < b.length && separator.test(b[j]!)) j++;
    if (a[i] === "~" || b[j] === "~") {
      if (a[i] !== b[j]) return a[i] === "~" ? -1 : 1;
      i++;
      j++;
      continue;
    }
    if (a[i] === "^" || b[j] === "^") {
      if (i >= a.length) return -1;
      if (j >= b.length) return 1;
      if (a[i] !== b[j]) return a[i] === "^" ? -1 : 1;
      i++;
      j++;
      continue;
    }
    if (i >= a.length || j >= b.length) return Number(i < a.length) - Number(j < b.length);
    // A number is newer than letters.
    if (isDigit(a[i]) !== isDigit(b[j])) return isDigit(a[i]) ? 1 : -1;
    const runs = compareRuns(a, i, b, j, isDigit(a[i]));
    if (runs.difference !== 0) return runs.difference;
    i += runs.left;
    j += runs.right;
  }
}

/** Compares the digits, or the letters, that stand at both places; `left` and `right` are how many those are. */
function compareRuns(a: string, i: number, b: string, j: number, isNumber: boolean) {
  const left = take(isNumber ? digits : letters, a, i);
  const right = take(isNumber ? digits : letters, b, j);
  const difference = isNumber ? compareNumbers(left, right) : compareTexts(left, right);
  return { difference, left: left.length, right: right.length };
}

function take(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)![0];
}

function isDigit(character: string | undefined): boolean {
  return character !== undefined && character >= "0" && character <= "9";
}

/** Numbers of any length; an empty one is 0. */
function compareNumbers(a: string, b: string): number {
  const left = a.replace(/^0+/, "");
  const right = b.replace(/^0+/, "");
  return left.length - right.length || compareTexts(left, right);
}

function compareTexts(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
