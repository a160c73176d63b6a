import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { moduleName } from "../../../src/kernel/modules-folder.ts";
import { modulesInLoadOrder } from "../../../src/lab/kernel-modules.ts";

let folder: string;

/** An object file with the .modinfo of a module that needs `depends`. */
function module(depends: string): Buffer {
  const source = join(folder, "module.s");
  const object = join(folder, "module.o");
  writeFileSync(source, `.section .modinfo,"a"\n.asciz "depends=${depends}"\n.asciz "vermagic=6.0 SMP "\n`);
  execFileSync("gcc", ["-c", source, "-o", object]);
  return execFileSync("cat", [object]);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rekernel-modules-"));
  mkdirSync(join(folder, "kernel/fs"), { recursive: true });
  const files: Record<string, string> = {
    "top-one": "left,right",
    left: "base",
    right: "base",
    base: "",
    x: "y",
    y: "x",
  };
  for (const [name, depends] of Object.entries(files))
    writeFileSync(join(folder, `kernel/fs/${name}.ko`), module(depends));
  writeFileSync(join(folder, "kernel/fs/packed.ko.gz"), gzipSync(module("base")));
  const names = [...Object.keys(files), "packed", "gone"];
  writeFileSync(join(folder, "modules.order"), names.map((name) => `kernel/fs/${name}.ko\n`).join(""));
  writeFileSync(join(folder, "modules.builtin"), "kernel/drivers/virtio-pci.ko\n");
});

afterAll(() => rmSync(folder, { recursive: true }));

const order = async (...names: string[]) => (await modulesInLoadOrder(folder, names)).map(({ name }) => name);

test("dependencies come first, each once, whatever way a name is spelled", async () => {
  expect(await order("top_one")).toEqual(["base", "left", "right", "top_one"]);
  expect(await order("right", "top-one")).toEqual(["base", "right", "left", "top_one"]);
  expect(await order()).toEqual([]);
});

test("what is built in needs no loading, what is packed is unpacked", async () => {
  expect(await order("virtio_pci", "packed")).toEqual(["base", "packed"]);
  const [, packed] = await modulesInLoadOrder(folder, ["packed"]);
  expect(Buffer.from(packed!.data.subarray(0, 4)).toString("latin1")).toBe("\x7fELF");
});

test.each([
  ["nosuch", "no module nosuch"],
  ["gone", "kernel/fs/gone.ko is missing"],
  ["x", "x -> y -> x"],
])("%s: %s", async (name, message) => {
  await expect(order(name)).rejects.toMatchObject({
    code: "RK-LAB-MODULE",
    message: expect.stringContaining(message),
  });
});

test("a folder that holds no kernel's modules is named", async () => {
  await expect(modulesInLoadOrder(join(folder, "kernel"), ["x"])).rejects.toMatchObject({
    code: "RK-MODULES-FOLDER",
  });
});

test("module names are the kernel's own", () => {
  expect(moduleName("kernel/drivers/net/virtio-net.ko.xz")).toBe("virtio_net");
});
