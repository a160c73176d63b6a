import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { documents } from "../../../src/documents/documents.ts";
import { readBootParams, readSetupData } from "../../../src/formats/boot-params/read.ts";
import { prepareKexec } from "../../../src/kexec/plan.ts";
import { rekernel } from "../cli/run.ts";
import { buildUki } from "../formats/build-pe.ts";
import { buildBzImage, buildVmlinux } from "../kernel/build-image.ts";

const folder = mkdtempSync(join(tmpdir(), "rekernel-unit-"));
const at = (name: string) => join(folder, name);
beforeAll(() => {
  const image = buildBzImage(buildVmlinux(), (header) => header.writeUInt32LE(0x7fffffff, 0x22c));
  writeFileSync(at("vmlinuz"), image);
  writeFileSync(
    at("uki.efi"),
    buildUki([
      [".linux", image],
      [".cmdline", "quiet"],
      [".dtb", "device tree"],
    ]),
  );
  writeFileSync(at("initrd"), "070701 initrd");
  const map =
    "00001000-0009fbff : System RAM\n00100000-3ffdffff : System RAM\n3ffe0000-3fffffff : Reserved\n";
  writeFileSync(at("map"), map);
  writeFileSync(at("hidden"), map.replace(/\w+-\w+/g, "00000000-00000000"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("a plan for another machine's memory", () => {
  const words = () => ["kexec", "load", at("vmlinuz"), "--initrd", at("initrd"), "--memory-map", at("map")];

  test("shows what lies where, as a table and as a document", async () => {
    const text = await rekernel([...words(), "--command-line", "quiet", "--dry-run"]);
    expect(text.exitCode).toBe(0);
    expect(text.stdout).toMatch(/system call +kexec_load: By a given memory map only kexec_load/);
    expect(text.stdout).toMatch(/^ +kernel +1000000-[0-9a-f]{7} +\d+ /m);
    expect(text.stdout).toMatch(/^ +initrd +3ffdf000-3ffdffff +13 +4096 bytes$/m);
    expect(text.stdout).toMatch(
      /entry 0x[0-9a-f]+ in the purgatory, which verifies their SHA-256 and goes on at 0x1000200/,
    );
    const { stdout } = await rekernel([...words(), "--dry-run", "--json"]);
    const plan = documents["rekernel kexec load"]!.parse(JSON.parse(stdout));
    expect(plan).toMatchObject({
      loaded: false,
      kind: "bzimage",
      method: "kexec_load",
      layout: { memoryFrom: "given", kernelEntry: "0x1000200" },
    });
  });

  test("has a 32-bit entry where that is asked for", async () => {
    const { stdout } = await rekernel([...words(), "--entry-32bit", "--dry-run", "--json"]);
    expect(JSON.parse(stdout).layout.kernelEntry).toBe("0x1000000");
  });

  test.each([
    ["nothing is loaded by it", [], "RK-USAGE", 2],
    ["the running kernel cannot plan by it", ["--syscall", "kexec_file_load", "--dry-run"], "RK-USAGE", 2],
    ["one that was copied without root", ["--memory-map", "hidden", "--dry-run"], "RK-BAD-MEMORY-MAP", 1],
    ["one that is not there", ["--memory-map", "nowhere", "--dry-run"], "RK-FILE", 1],
    ["no port", ["--serial", "0x10000", "--dry-run"], "RK-USAGE", 2],
  ])("%s", async (_, more, code, exitCode) => {
    const args = more.map((word) => (["hidden", "nowhere"].includes(word) ? at(word) : word));
    const { stdout, exitCode: exited } = await rekernel([...words(), ...args, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code } });
    expect(exited).toBe(exitCode);
  });
});

test("the device tree of a unified kernel image goes through kexec_load", async () => {
  const request = { image: at("uki.efi"), memoryMap: at("map") };
  const { plan, handover } = await prepareKexec(request, "");
  expect(plan.notes.join(" ")).not.toMatch(/device tree/);
  if (handover.by !== "kexec_load") throw new Error(handover.by);
  const { address, data } = handover.layout.segments.find(({ name }) => name === "boot_params")!;
  const tree = readSetupData(data, address, readBootParams(data).setupData).find(({ type }) => type === 2);
  expect(Buffer.from(tree!.data).toString()).toBe("device tree");
});

test("two plans have different random seeds for the next kernel", async () => {
  const seeds = await Promise.all(
    [1, 2].map(async () => {
      const { handover } = await prepareKexec({ image: at("vmlinuz"), memoryMap: at("map") }, "");
      if (handover.by !== "kexec_load") throw new Error(handover.by);
      const { address, data } = handover.layout.segments.find(({ name }) => name === "boot_params")!;
      const seed = readSetupData(data, address, readBootParams(data).setupData).find(
        ({ type }) => type === 9,
      );
      return Buffer.from(seed!.data);
    }),
  );
  expect(seeds.map(({ length }) => length)).toEqual([32, 32]);
  expect(seeds[0]).not.toEqual(seeds[1]);
});
