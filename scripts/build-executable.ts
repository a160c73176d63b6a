/**
 * `npm run build`: dist/rekernel, one file that runs on a Linux x86-64 machine without Node.
 *
 * The sources become one module (rolldown); Node's own --build-sea puts it into a copy of the Node
 * that this checkout uses. That copy is freed of libatomic.so.1 first, which a minimal Debian does not have.
 * Same inputs give the same bytes.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { rolldown } from "rolldown";
import { runToolOk } from "../src/core/tools.ts";
import { readElf } from "../src/formats/elf/read.ts";
import { withoutLibatomic } from "./executable/without-libatomic.ts";

const root = join(import.meta.dirname, "..");
const output = join(root, "dist", "rekernel");

const folder = await mkdtemp(join(tmpdir(), "rekernel-build-"));
try {
  const main = await bundle(folder);
  const node = await prepareNode(folder);
  const built = await inject(folder, main, node);
  await mkdir(dirname(output), { recursive: true });
  // Next to its final place first: a rename across file systems would not be atomic.
  const staged = `${output}.${process.pid}.tmp`;
  await writeFile(staged, await readFile(built));
  await chmod(staged, 0o755);
  await rename(staged, output);
  const { size } = await stat(output);
  process.stdout.write(`${relative(process.cwd(), output)}: ${(size / 2 ** 20).toFixed(0)} MiB\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** All sources and dependencies in one module; what is imported lazily stays unevaluated until it is used. */
async function bundle(to: string): Promise<string> {
  const file = join(to, "rekernel.mjs");
  const bundler = await rolldown({
    input: join(root, "src", "cli", "main.ts"),
    cwd: root,
    platform: "node",
    logLevel: "warn",
  });
  await bundler.write({ file, format: "esm", codeSplitting: false });
  await bundler.close();
  return file;
}

/** A copy of the Node that runs this script, without libatomic. */
async function prepareNode(to: string): Promise<string> {
  const object = join(to, "compare-exchange.o");
  await runToolOk("gcc", ["-c", "-o", object, join(import.meta.dirname, "executable", "compare-exchange.S")]);
  const text = readElf(await readFile(object), object).section(".text");
  if (text === undefined) throw new Error("the assembler made no code");
  const node = join(to, "node");
  await writeFile(node, withoutLibatomic(await readFile(process.execPath), text.data), { mode: 0o755 });
  return node;
}

/** What `rekernel explain` shows: docs/errors.md and the pages below docs/refusals, by their paths in docs. */
async function pages(): Promise<Record<string, string>> {
  const folder = join(root, "docs");
  const refusals = (await readdir(join(folder, "refusals"))).map((name) => join("refusals", name));
  return Object.fromEntries(["errors.md", ...refusals.sort()].map((path) => [path, join(folder, path)]));
}

async function inject(to: string, main: string, node: string): Promise<string> {
  const built = join(to, "rekernel");
  await writeFile(
    join(to, "sea.json"),
    JSON.stringify({
      // Its path becomes part of the executable: a relative one is the same in every build.
      main: basename(main),
      mainFormat: "module",
      executable: node,
      output: built,
      assets: await pages(),
      disableExperimentalSEAWarning: true,
      useCodeCache: false,
      useSnapshot: false,
      // node:ffi still warns; NODE_OPTIONS of the user's shell are not meant for this program.
      execArgv: ["--disable-warning=ExperimentalWarning"],
      execArgvExtension: "none",
    }),
  );
  await runToolOk(process.execPath, ["--build-sea", "sea.json"], { cwd: to });
  return built;
}
