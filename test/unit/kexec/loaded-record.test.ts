import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { forgetLoaded, recallLoaded, rememberLoaded } from "../../../src/kexec/loaded-record.ts";
import { verifyBeforeJump } from "../../../src/kexec/verify.ts";
import { fixtureHost } from "../host/fixture-host.ts";

test("what was loaded is remembered for this boot only, for root alone", async () => {
  const run = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(run, { recursive: true }));
  const boot = (id: string) => ({ ...fixtureHost({ "/proc/sys/kernel/random/boot_id": `${id}\n` }), run });
  const record = {
    release: "6.12.0-test",
    image: "/boot/vmlinuz",
    commandLine: "ro",
    digest: "sum" as const,
    expected: {
      entry: "0x1000",
      segments: [{ name: "kernel", address: "0x2000", dataBytes: 1, memoryBytes: 4096, sha256: "00" }],
    },
  };
  expect(await recallLoaded(boot("a"))).toBeUndefined();
  await rememberLoaded(record, boot("a"));
  const path = join(run, "rekernel/kexec-loaded.json");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await recallLoaded(boot("a"))).toMatchObject(record);
  expect(await recallLoaded(boot("b"))).toBeUndefined();
  // Without kcore nothing can be compared, which is no reason to stay.
  expect(await verifyBeforeJump({}, boot("a"))).toEqual({
    verified: false,
    reason: expect.stringMatching(/cannot be read back: .* The purgatory verifies it \(sum\)/),
  });
  expect(await verifyBeforeJump({}, boot("b"))).toMatchObject({ verified: false });
  await rm(path);
  await rememberLoaded(record, boot("a"));
  expect((await readFile(path)).toString()).toContain('"version":1');
  await forgetLoaded(boot("a"));
  expect(await recallLoaded(boot("a"))).toBeUndefined();
});
