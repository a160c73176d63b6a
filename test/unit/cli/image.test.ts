import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildBzImage, buildModule, buildVmlinux, testBanner, testSymbols } from "../kernel/build-image.ts";
import { rekernel } from "./run.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-cli-image-"));
const image = join(folder, "vmlinuz");
const module = join(folder, "test.ko");

beforeAll(() => {
  writeFileSync(image, buildBzImage(buildVmlinux()));
  writeFileSync(module, buildModule());
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("rekernel image info", () => {
  test("shows an image", async () => {
    const { exitCode, stdout } = await rekernel(["image", "info", image]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Linux 6\.12\.0-test\n/);
    expect(stdout).toMatch(/compiler +gcc-12 \(Debian 12\.2\.0-14\) 12\.2\.0, GNU ld/);
    expect(stdout).toMatch(/boot protocol +2\.15/);
    expect(stdout).toMatch(/packed with gzip/);
    expect(stdout).toMatch(/has +live patching, modversions\n/);
  });

  test("--json has it all", async () => {
    const { exitCode, stdout } = await rekernel(["image", "info", image, "--json"]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      kind: "vmlinuz",
      banner: testBanner,
      buildId: "1234abcd",
      compression: "gzip",
      boot: { protocol: "2.15", prefAddress: "0x1000000", xloadflags: { kernel64: true } },
      symbols: { total: testSymbols.length },
      exports: { total: 2, gplOnly: 1 },
    });
  });

  test("shows a module", async () => {
    const { exitCode, stdout } = await rekernel(["image", "info", module]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Module test_module\n/);
    expect(stdout).toMatch(/needs +first, second_part/);
  });

  test("says why a file is none", async () => {
    const random = join(folder, "random");
    writeFileSync(random, Buffer.alloc(5000, "noise"));
    const { exitCode, stdout, stderr } = await rekernel(["image", "info", random]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toMatch(/neither a bzImage nor an ELF file/);
    expect(stderr).toContain("[RK-BAD-IMAGE]");
  });
});

describe("rekernel image symbols", () => {
  test("prints what /proc/kallsyms would", async () => {
    const { exitCode, stdout } = await rekernel(["image", "symbols", image]);
    expect(exitCode).toBe(0);
    expect(stdout).toBe(
      testSymbols
        .map(({ address, type, name }) => `${address.toString(16).padStart(16, "0")} ${type} ${name}\n`)
        .join(""),
    );
  });

  test("--match takes * and ?", async () => {
    const { stdout } = await rekernel(["image", "symbols", image, "--match", "t?in"]);
    expect(stdout).toBe("ffffffff81008100 t twin\nffffffff81008200 t twin\n");
    const json = await rekernel(["image", "symbols", image, "--match", "klp_*", "--json"]);
    expect(JSON.parse(json.stdout)).toEqual({
      symbols: [{ address: "0xffffffff81008000", type: "T", name: "klp_enable_patch" }],
    });
  });

  test("a pattern is no regular expression, and none matching is a failure", async () => {
    const { exitCode, stderr } = await rekernel(["image", "symbols", image, "--match", "t(win|.*"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("[RK-NO-SYMBOL]");
  });

  test("lists a module's symbols with its name", async () => {
    const { stdout } = await rekernel(["image", "symbols", module, "--match", "shared"]);
    expect(stdout).toMatch(/^[0-9a-f]{16} T shared\t\[test_module\]\n$/);
  });
});
