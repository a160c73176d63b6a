import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { guestFileEntries } from "../../../src/lab/initramfs.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rekernel-initramfs-"));
  mkdirSync(join(folder, "tree/sub"), { recursive: true });
  writeFileSync(join(folder, "tree/sub/tool"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync("sub/tool", join(folder, "tree/tool"));
  symlinkSync("tree", join(folder, "alias"));
});

afterAll(() => rmSync(folder, { recursive: true }));

test("a folder comes whole, with links and modes", async () => {
  const entries = await guestFileEntries({ "/opt/x": join(folder, "alias") }, false);
  expect(entries).toEqual([
    { kind: "directory", path: "opt/x", mode: 0o755 },
    { kind: "directory", path: "opt/x/sub", mode: 0o755 },
    { kind: "file", path: "opt/x/sub/tool", mode: 0o755, data: Buffer.from("#!/bin/sh\n") },
    { kind: "symlink", path: "opt/x/tool", target: "sub/tool" },
  ]);
});

test("over the host's root a guest path goes through the host's links", async () => {
  const [entry] = await guestFileEntries({ [join(folder, "alias/new/file")]: Buffer.from("x") }, true);
  expect(`/${entry!.path}`).toBe(join(folder, "tree/new/file"));
  const [other] = await guestFileEntries({ [join(folder, "alias/new/file")]: Buffer.from("x") }, false);
  expect(`/${other!.path}`).toBe(join(folder, "alias/new/file"));
});

test.each(["relative", "", "/", "/.."])("refuses the guest path %j", async (path) => {
  await expect(guestFileEntries({ [path]: Buffer.from("") }, false)).rejects.toMatchObject({
    code: "RK-USAGE",
  });
});

test("a host file that is not there is named", async () => {
  await expect(guestFileEntries({ "/a": join(folder, "none") }, false)).rejects.toMatchObject({
    code: "RK-LAB-FILE",
    message: expect.stringContaining(join(folder, "none")),
  });
});
