import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sourceDigest } from "../../../src/livepatch/build/source/source-digest.ts";

test("a source's tarball is digested once for the trees that were made of it", async () => {
  const store = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const path = join(store, "linux-source.tar.xz");
    writeFileSync(path, "packed");
    const digest = { name: path, sha256: createHash("sha256").update("packed").digest("hex") };
    const source = { kind: "tarball", path } as const;
    expect(await sourceDigest({ source }, { store })).toEqual(digest);
    rmSync(path);
    expect(await sourceDigest({ source }, { store })).toEqual(digest);
    // Damaged: made anew.
    writeFileSync(join(store, "source.sha256"), "nothing");
    writeFileSync(path, "packed");
    expect(await sourceDigest({ source }, { store })).toEqual(digest);
    expect(await sourceDigest({ source: { kind: "tree", path: store } }, { store })).toBeUndefined();
    expect(readdirSync(store).sort()).toEqual(["linux-source.tar.xz", "source.sha256"]);
  } finally {
    rmSync(store, { recursive: true });
  }
});
