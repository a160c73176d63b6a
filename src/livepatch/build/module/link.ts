/** Links unit objects and the patch's description into a module, with the target's own kbuild. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RekernelError } from "../../../core/errors.ts";
import { runClean } from "../source/kbuild.ts";

export interface LinkInput {
  /** Prepared source tree of the target; nothing is written there. */
  tree: string;
  /** Variables for make: compiler, LOCALVERSION. */
  makeArgs: readonly string[];
  /** Module name, with underscores. */
  name: string;
  glue: string;
  units: readonly Uint8Array[];
  /** An existing private folder to work in. */
  folder: string;
  signal?: AbortSignal | undefined;
}

export interface LinkedModule {
  bytes: Uint8Array;
  /** What objtool and modpost had to say, other than that livepatch's symbols are undefined. */
  warnings: readonly string[];
}

/**
 * livepatch's symbols are undefined for modpost; and objtool notes functions without an endbr64 in the table of
 * new functions, to which ftrace returns rather than jumps.
 */
const expectedWarnings =
  /modpost: (.*undefined!|suppressed \d+ unresolved)|Skipping BTF|functions_\d+\+0x[0-9a-f]+: data relocation to !ENDBR/;

/**
 * @throws RekernelError RK-LINK (1) with kbuild's output
 */
export async function linkModule(input: LinkInput): Promise<LinkedModule> {
  const folder = join(input.folder, "module");
  await mkdir(folder);
  const objects = input.units.map((_, index) => `unit${index}.o`);
  await writeFile(join(folder, "livepatch.c"), input.glue);
  await writeFile(
    join(folder, "Kbuild"),
    `obj-m := ${input.name}.o\n${input.name}-y := livepatch.o ${objects.join(" ")}\n`,
  );
  await Promise.all(
    input.units.map((bytes, index) => writeFile(join(folder, `${objects[index]}_shipped`), bytes)),
  );
  // modpost reads the commands of all parts; ours were compiled elsewhere.
  await Promise.all(
    objects.map((object) =>
      writeFile(join(folder, `.${object}.cmd`), `savedcmd_${join(folder, object)} := true\n`),
    ),
  );
  // modpost does not know livepatch's symbols; the audit checks every symbol of the finished module.
  // Debug information would bring the name of the private folder into the module.
  const settings = [`M=${folder}`, ...input.makeArgs, "KBUILD_MODPOST_WARN=1", "KCFLAGS=-g0"];
  const result = await runClean(["make", "-C", input.tree, ...settings, "modules"], {
    cwd: folder,
    signal: input.signal,
  });
  const output = `${result.stdout}${result.stderr}`;
  if (result.exitCode !== 0)
    throw new RekernelError("failed", "RK-LINK", `kbuild cannot link the module ${input.name}.`, {
      details: output.trim().split("\n").slice(-20).join("\n"),
    });
  const warnings = output
    .split("\n")
    .filter((line) => /warning:/i.test(line) && !expectedWarnings.test(line))
    .map((line) => line.trim().replaceAll(`${folder}/`, ""));
  return { bytes: await readFile(join(folder, `${input.name}.ko`)), warnings };
}
