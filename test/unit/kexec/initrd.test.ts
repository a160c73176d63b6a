import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { cpioArchive } from "../../../src/formats/cpio.ts";
import { joinInitrds } from "../../../src/kexec/initrd.ts";
import { overlayArchive } from "../../../src/kexec/overlay.ts";

describe("archives one behind the other", () => {
  test("each begins at a multiple of 4, behind at least 4 NULs, with its bytes", () => {
    const archive = fc.uint8Array({ minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(fc.array(archive, { maxLength: 6 }), (archives) => {
        const joined = Buffer.concat(joinInitrds(archives.map((data) => ({ from: "x", data }))));
        let position = 0;
        for (const [index, data] of archives.entries()) {
          const start = Math.ceil(position / 4) * 4 + (index === 0 ? 0 : 4);
          expect(start % 4).toBe(0);
          expect(joined.subarray(position, start).every((byte) => byte === 0)).toBe(true);
          expect(Buffer.compare(joined.subarray(start, start + data.length), data)).toBe(0);
          position = start + data.length;
        }
        expect(joined).toHaveLength(position);
      }),
    );
  });

  test("one with a boot configuration must be the last", () => {
    const plain = { from: "plain", data: Buffer.from("archive") };
    for (const end of ["", "\0\0"]) {
      const configured = { from: "configured", data: Buffer.from(`archive........#BOOTCONFIG\n${end}`) };
      expect(joinInitrds([plain, configured])).toHaveLength(3);
      expect(() => joinInitrds([configured, plain])).toThrow(
        expect.objectContaining({ code: "RK-INITRD-ORDER", exitCode: 4 }),
      );
    }
  });
});

describe("an overlay", () => {
  const scratch = mkdtempSync(join(tmpdir(), "rekernel-unit-"));
  const folder = join(scratch, "overlay");
  beforeEach(() => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
  });
  afterAll(() => rmSync(scratch, { recursive: true }));

  test("keeps modes, links and order, and everything is root's", async () => {
    mkdirSync(join(folder, "etc/keys"), { recursive: true });
    writeFileSync(join(folder, "etc/keys/root.key"), "secret");
    chmodSync(join(folder, "etc/keys/root.key"), 0o400);
    chmodSync(join(folder, "etc/keys"), 0o700);
    writeFileSync(join(folder, "etc/tool"), "#!");
    chmodSync(join(folder, "etc/tool"), 0o4755);
    symlinkSync("/nonexistent/target", join(folder, "a-link"));
    expect(await overlayArchive(folder)).toEqual(
      cpioArchive([
        { kind: "symlink", path: "a-link", target: "/nonexistent/target" },
        { kind: "directory", path: "etc", mode: 0o755 },
        { kind: "directory", path: "etc/keys", mode: 0o700 },
        { kind: "file", path: "etc/keys/root.key", mode: 0o400, data: Buffer.from("secret") },
        { kind: "file", path: "etc/tool", mode: 0o4755, data: Buffer.from("#!") },
      ]),
    );
  });

  const refused = (reason: RegExp) => ({
    code: "RK-OVERLAY",
    exitCode: 4,
    message: expect.stringMatching(reason),
  });

  test("pipes and devices are refused", async () => {
    execFileSync("mkfifo", [join(folder, "pipe")]);
    await expect(overlayArchive(folder)).rejects.toMatchObject(
      refused(/pipe is a device, a socket or a pipe/),
    );
  });

  test("folders that would hide /usr are refused, links and deeper ones are not", async () => {
    mkdirSync(join(folder, "usr/lib"), { recursive: true });
    symlinkSync("usr/bin", join(folder, "bin"));
    await overlayArchive(folder);
    mkdirSync(join(folder, "lib"));
    await expect(overlayArchive(folder)).rejects.toMatchObject(refused(/lib -> usr\/lib/));
  });

  test("too much is refused before it is read", async () => {
    writeFileSync(join(folder, "large"), "");
    truncateSync(join(folder, "large"), 2 ** 33);
    await expect(overlayArchive(folder)).rejects.toMatchObject(refused(/more than 256 MiB/));
  });

  test("what is no folder, or missing, is told", async () => {
    const file = join(folder, "file");
    writeFileSync(file, "");
    for (const path of [file, join(folder, "missing")])
      await expect(overlayArchive(path)).rejects.toMatchObject({ code: "RK-FILE" });
  });
});
