import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { onTestFinished } from "vitest";

/**
 * A script for a guest, with all that it imports in one file, which goes with the test: to open hundreds of
 * files takes a guest half a minute.
 */
export async function bundle(script: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await using bundler = await rolldown({ input: script, platform: "node", logLevel: "warn" });
  const file = join(folder, "script.mjs");
  await bundler.write({ file, format: "esm", codeSplitting: false });
  return file;
}
