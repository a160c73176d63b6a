/** A pair of real objects: net/ipv4/tcp_input.c of a stock kernel, and the same with one function changed. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TargetKernel } from "../src/kernel/target.ts";
import { makePatchedTree } from "../src/livepatch/build/source/patched-tree.ts";
import { prepareTrees } from "../src/livepatch/build/source/trees.ts";
import { compileUnits } from "../src/livepatch/build/units/compile.ts";
import { describeUnits } from "../src/livepatch/build/units/units.ts";

const path = "net/ipv4/tcp_input.c";
const functionStart = "void tcp_enter_cwr(struct sock *sk)\n{\n";

export async function objectPair(
  target: TargetKernel,
): Promise<{ original: Uint8Array; patched: Uint8Array }> {
  const trees = await prepareTrees(target);
  const source = await readFile(join(trees.pristine, path), "latin1");
  const text = source.replace(
    functionStart,
    `${functionStart}\tif (!sk)\n\t\treturn;\n#line ${lineOf(source)}\n`,
  );
  if (text === source)
    throw new Error(`${path} of ${target.release} has no tcp_enter_cwr() as it was in 6.12`);
  await using tree = await makePatchedTree(trees, [
    { path, change: "modify", text, compiled: text, offsets: [] },
  ]);
  const [unit] = await compileUnits(trees, tree, await describeUnits(trees, [path]));
  return { original: await readFile(unit!.original), patched: await readFile(unit!.patched) };
}

function lineOf(source: string): number {
  return source.slice(0, source.indexOf(functionStart) + functionStart.length).split("\n").length;
}
