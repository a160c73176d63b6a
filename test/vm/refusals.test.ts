import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { renderReport, reportOf } from "../../src/cli/report.ts";
import { KernelImage } from "../../src/kernel/image.ts";
import { readSymvers } from "../../src/kernel/symvers.ts";
import { bootableKernel, type TargetKernel, targetKernel } from "../../src/kernel/target.ts";
import { buildLivePatch, exportedSymbols } from "../../src/livepatch/build/build.ts";
import { targetCompiler } from "../../src/livepatch/build/source/compiler.ts";
import { parsePatch } from "../../src/livepatch/build/source/patch.ts";
import { checkConfiguration, prepareTrees } from "../../src/livepatch/build/source/trees.ts";
import { testKernels } from "./kernels.ts";

const pagesFolder = join(import.meta.dirname, "../../docs/refusals");
const pages = (await readdir(pagesFolder)).filter((name) => name.startsWith("RK-"));
const examples = await Promise.all(
  pages.map(async (name) => {
    const text = await readFile(join(pagesFolder, name), "utf8");
    const [patch, printed] = ["diff", "text"].map(
      (language) => new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(text)?.[1],
    );
    return { code: basename(name, ".md"), patch, printed };
  }),
);

let folder: string;
let target: TargetKernel;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  target = await targetKernel((await testKernels()).previous);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function printedBy(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return stripVTControlCharacters(renderReport(reportOf(error), process.stderr));
  }
  return "nothing";
}

function build(code: string, patch: string, kernel: TargetKernel = target): Promise<unknown> {
  const output = join(folder, `${code}.ko`);
  // The examples are printed for patches that are called after what they do.
  return Promise.resolve().then(() =>
    buildLivePatch({ target: kernel, patches: [parsePatch(patch, "rename.patch")], output }),
  );
}

describe("the examples of docs/refusals print what the pages show", () => {
  test.each(examples.filter(({ patch }) => patch !== undefined))(
    "$code",
    async ({ code, patch, printed }) => {
      expect(await printedBy(build(code, patch!))).toBe(printed);
    },
  );
});

describe("targets whose parts do not belong together are refused", () => {
  const patch = examples.find(({ code }) => code === "RK-SYMBOL-UNKNOWN")!.patch!;
  const refusal = (code: string, message: string) =>
    expect.objectContaining({ code, exitCode: 4, message: expect.stringContaining(message) });

  test("an image of another release", async () => {
    const { image } = await bootableKernel((await testKernels()).series61);
    await expect(build("image", patch, { ...target, image })).rejects.toEqual(
      refusal("RK-IMAGE-MISMATCH", `not ${target.release}`),
    );
  });

  test("checksums of another build", async () => {
    const symvers = join(folder, "Module.symvers");
    const text = await readFile(target.symvers, "utf8");
    await writeFile(symvers, text.replace(/^0x\w+(?=\t_printk\t)/m, "0x12345678"));
    const image = await KernelImage.open(target.image);
    expect(exportedSymbols(await readSymvers(target.symvers), image).has("_printk")).toBe(true);
    const other = await readSymvers(symvers);
    expect(() => exportedSymbols(other, image)).toThrow(
      refusal("RK-SYMVERS-MISMATCH", "1 exports of vmlinux differ, _printk among them"),
    );
  });

  test("a module that the target does not have", async () => {
    const module = examples.find(({ code }) => code === "RK-KEY-OF-MODULE")!.patch!;
    const { modules: _modules, ...bare } = target;
    await expect(build("module", module, bare)).rejects.toEqual(
      refusal("RK-MODULE-MISSING", "drivers/md/dm.c belongs to the module dm_mod"),
    );
  });

  test("another configuration than the source came out with", async () => {
    const { pristine } = await prepareTrees(target);
    const { autoconf: _autoconf, ...given } = target;
    const config = await readFile(join(pristine, ".config"), "utf8");
    await checkConfiguration(given, config, pristine);
    const other = config.replace("CONFIG_SLUB=y", "CONFIG_SLAB=y");
    await expect(checkConfiguration(given, other, pristine)).rejects.toMatchObject({
      code: "RK-CONFIG-MISMATCH",
      exitCode: 4,
      details: "target: CONFIG_SLAB=y",
    });
  });

  test("a compiler of another version, and another compiler", async () => {
    const config = await readFile(target.config, "utf8");
    expect(await targetCompiler(config, {})).toMatch(/gcc/);
    await expect(targetCompiler(config.replace(/-\d+\+deb12u\d+\)/, "-3)"), {})).rejects.toEqual(
      refusal("RK-COMPILER-MISMATCH", "(Debian 12.2.0-3) 12.2.0”, and this machine's"),
    );
    await expect(targetCompiler(config.replace("CONFIG_CC_IS_GCC=y", ""), {})).rejects.toEqual(
      refusal("RK-COMPILER-MISMATCH", "rekernel builds with gcc only"),
    );
  });
});
