import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ModuleFiles } from "../../../src/kernel/module-files.ts";

const root = mkdtempSync(join(tmpdir(), "rekernel-test-"));
afterAll(() => rmSync(root, { recursive: true }));

/** A folder of modules that has none of the kernel's own. */
function emptyFolder(name: string): string {
  mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, name, "modules.order"), "");
  return join(root, name);
}

/** A module's object as modpost leaves it, as far as its information goes. */
function makeModule(path: string, release: string, content: string): string {
  const file = join(root, path);
  mkdirSync(join(file, ".."), { recursive: true });
  const information = [
    "name=gadget",
    `vermagic=${release} SMP preempt mod_unload modversions `,
    `srcversion=${content}`,
  ];
  const lines = information.map(
    (text, index) =>
      `const char info_${index}[] __attribute__((section(".modinfo"))) = ${JSON.stringify(text)};`,
  );
  writeFileSync(join(root, "gadget.c"), `${lines.join("\n")}\nint ${content.toLowerCase()};\n`);
  execFileSync("gcc", ["-c", "gadget.c", "-o", file], { cwd: root });
  return file;
}

describe("files of an out-of-tree module", () => {
  const release = "6.12.1-test";
  const folder = emptyFolder;

  it("are found where the module is installed", async () => {
    const file = makeModule("one/updates/gadget.ko", release, "A1");
    const files = new ModuleFiles({ release, modules: folder("one") });
    expect((await files.find("gadget"))?.path).toBe(file);
    expect(await files.find("other")).toBeUndefined();
  });

  it("are refused when they are different builds of one module, unless one is given", async () => {
    makeModule("two/updates/gadget.ko", release, "A1");
    const extra = makeModule("two/extra/gadget.ko", release, "B2");
    const found = new ModuleFiles({ release, modules: folder("two") }).find("gadget");
    await expect(found).rejects.toMatchObject({
      code: "RK-MODULE-AMBIGUOUS",
      exitCode: 4,
      message: expect.stringContaining("are different builds of the module gadget"),
    });
    const given = new ModuleFiles({ release, modules: folder("two"), files: [extra] });
    expect((await given.find("gadget"))?.path).toBe(extra);
  });

  it("are refused when they are for another kernel", async () => {
    const file = makeModule("three/updates/gadget.ko", "6.1.0-other", "A1");
    const refusal = {
      code: "RK-MODULE-TARGET",
      exitCode: 4,
      message: `${file} is not a module of ${release}: its vermagic is "6.1.0-other SMP preempt mod_unload modversions ".`,
    };
    await expect(new ModuleFiles({ release, modules: folder("three") }).find("gadget")).rejects.toMatchObject(
      refusal,
    );
    await expect(
      new ModuleFiles({ release, modules: undefined, files: [file] }).find("gadget"),
    ).rejects.toMatchObject(refusal);
  });
});
