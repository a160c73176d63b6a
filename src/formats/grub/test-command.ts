/**
 * GRUB's command `test`, also written `[ … ]` (GRUB manual, "test"), without parentheses, which grub-mkconfig does
 * not write. Pure.
 *
 * @param words behind the command
 * @param isThere whether a file exists, by GRUB's name for it
 */
export function grubTest(words: readonly string[], isThere: (path: string) => boolean): boolean {
  const part = (from: number, to?: number) => grubTest(words.slice(from, to), isThere);
  const or = words.lastIndexOf("-o");
  if (or > 0) return part(0, or) || part(or + 1);
  const and = words.lastIndexOf("-a");
  if (and > 0) return part(0, and) && part(and + 1);
  if (words[0] === "!") return !part(1);
  const [first = "", second = "", third] = words;
  if (third !== undefined) return compare(first, second, third);
  if (words.length < 2) return first !== "";
  if (first === "-z") return second === "";
  if (first === "-n") return second !== "";
  return /^-[edfs]$/.test(first) && isThere(second);
}

function compare(left: string, operator: string, right: string): boolean {
  switch (operator) {
    case "=":
    case "==":
      return left === right;
    case "!=":
      return left !== right;
    case "-eq":
      return Number(left) === Number(right);
    case "-ne":
      return Number(left) !== Number(right);
    case "-lt":
      return Number(left) < Number(right);
    case "-le":
      return Number(left) <= Number(right);
    case "-gt":
      return Number(left) > Number(right);
    case "-ge":
      return Number(left) >= Number(right);
    default:
      return false;
  }
}
