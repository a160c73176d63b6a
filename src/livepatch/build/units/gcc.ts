/** Runs the compiler of a unit, in the pristine tree or the patched one. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { RekernelError } from "../../../core/errors.ts";
import type { WorkOptions } from "../../../core/progress.ts";
import { runClean } from "../source/kbuild.ts";
import type { PatchedTree } from "../source/patched-tree.ts";
import type { Unit } from "./units.ts";

/** Tells apart what is kept of a unit: by how it is compiled. */
export function keyOf(unit: Unit, extra: readonly string[]): string {
  return createHash("sha256")
    .update(JSON.stringify([unit.command, extra, ...(unit.identity === undefined ? [] : [unit.identity])]))
    .digest("hex")
    .slice(0, 12);
}

/** Gives what the compiler says when it fails, undefined when it made the object. */
export async function runCompiler(
  unit: Unit,
  extra: readonly string[],
  cwd: string,
  object: string,
  options: WorkOptions,
  stage: readonly string[] = ["-c"],
): Promise<string | undefined> {
  const arguments_ = [...extra, `-Wp,-MMD,${object}.d`, ...stage, "-o", object, unit.input];
  const { exitCode, stderr } = await runClean([...unit.command, ...arguments_], {
    cwd,
    signal: options.signal,
  });
  if (exitCode === 0) return undefined;
  if (/No space left on device/.test(stderr))
    throw new RekernelError("failed", "RK-DISK-FULL", `No space left to compile ${unit.source}.`, {
      hint: `Free some space in ${tmpdir()}, or point TMPDIR at a larger file system.`,
    });
  const lines = stderr.split("\n").filter((line) => line !== "");
  const firstError = lines.findIndex((line) => /\berror: /.test(line));
  const from = Math.max(0, firstError < 0 ? lines.length - 10 : firstError - 2);
  return lines.slice(from, from + 16).join("\n");
}

/** Runs the compiler in the patched tree until it has read no pristine file in place of a patched one. */
export async function inPatchedTree(
  tree: PatchedTree,
  unit: Unit,
  output: string,
  run: (extra: readonly string[]) => Promise<string | undefined>,
): Promise<string | undefined> {
  // Each pass that finds such a file makes more folders real, or another unit did meanwhile: it ends.
  for (let pass = 0; ; ) {
    const changes = tree.changes();
    const failed = await run([`-I${tree.include}`]);
    if (tree.changes() !== changes) continue;
    if (failed !== undefined) return failed;
    const read = dependencies(await readFile(`${output}.d`, "utf8"));
    const missed = await tree.missed(read);
    if (missed.length === 0) return undefined;
    if (pass++ === 4)
      throw new RekernelError("failed", "RK-UNIT", `${unit.source} does not see the patched ${missed[0]}.`);
    await tree.makeReal(read.filter((path) => !path.startsWith("/")));
  }
}

/** The files in a dependency file that gcc -MMD wrote. */
export function dependencies(text: string): string[] {
  const colon = text.indexOf(": ");
  return text
    .slice(colon + 2)
    .replace(/\\\n/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "");
}
