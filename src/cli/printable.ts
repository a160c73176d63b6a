/** Files are hostile: no control characters of theirs reach a terminal. */
export function printable(text: string): string {
  return /\p{Cc}/u.test(text) ? text.replace(/\p{Cc}/gu, "\ufffd") : text;
}
