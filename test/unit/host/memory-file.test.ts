import { readlinkSync, writeSync } from "node:fs";
import { expect, test } from "vitest";
import { memoryFile } from "../../../src/host/memory-file.ts";

test("a file in memory holds its chunks, and its handle cannot write", async () => {
  const file = await memoryFile("initrd", [Buffer.from("one"), Buffer.alloc(0), Buffer.from("two")]);
  try {
    expect(readlinkSync(`/proc/self/fd/${file.fd}`)).toMatch(/^\/memfd:initrd/);
    expect((await file.stat()).isFile()).toBe(true);
    expect(await file.readFile("utf8")).toBe("onetwo");
    expect(() => writeSync(file.fd, "x")).toThrow(/EBADF/);
  } finally {
    await file.close();
  }
});
