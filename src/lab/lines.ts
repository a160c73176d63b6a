import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/** Longest line that is kept; a guest could send an endless one. */
const lineLimit = 1 << 20;

/** Calls `listener` with each complete line of a stream, without its end (`\n` or `\r\n`). */
export function onLines(stream: Readable, listener: (line: string) => void): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  stream.on("data", (data: Buffer) => {
    const lines = (rest + decoder.write(data)).split("\n");
    rest = lines.pop()!.slice(-lineLimit);
    for (const line of lines) listener(line.replace(/\r+$/, ""));
  });
}
