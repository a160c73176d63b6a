/** kpatch's create-diff-object on the same pair of objects, where it is installed (Debian: package kpatch-build). */
import { execFile } from "node:child_process";
import { access, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { KernelTrees } from "../src/livepatch/build/source/trees.ts";

const run = promisify(execFile);

/** Sizes of the entries of the kernel's tables, which kpatch-build reads from the kernel's debug information: those of 6.12. */
const entrySizes = {
  ALT_STRUCT_SIZE: "14",
  BUG_STRUCT_SIZE: "12",
  EX_STRUCT_SIZE: "12",
  JUMP_STRUCT_SIZE: "16",
  ORC_STRUCT_SIZE: "6",
  PRINTK_INDEX_STRUCT_SIZE: "48",
  STATIC_CALL_STRUCT_SIZE: "8",
};

/** What kbuild does to objects and the compiler alone does not; create-diff-object expects it. */
const objtoolOptions =
  "--hacks=jump_label --hacks=noinstr --hacks=skylake --mcount --orc --retpoline --rethunk --static-call --uaccess --prefix=16";

export interface PeerRun {
  /** Whole process; the reading of a vmlinux's symbol table, which it needs in real use, is left out. */
  ms: number;
  changed: string[];
  /** The pair as objtool leaves it, for a comparison of the same bytes. */
  original: Uint8Array;
  patched: Uint8Array;
}

/** Undefined where there is none: neither in PATH nor as $CREATE_DIFF_OBJECT. */
export async function findCreateDiffObject(): Promise<string | undefined> {
  const named = process.env.CREATE_DIFF_OBJECT;
  const candidates = named
    ? [named]
    : ["/usr/libexec/kpatch", "/usr/lib/kpatch", ...(process.env.PATH ?? "").split(":")].map((folder) =>
        join(folder, "create-diff-object"),
      );
  for (const path of candidates)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  return undefined;
}

export async function runCreateDiffObject(
  program: string,
  trees: KernelTrees,
  pair: { original: Uint8Array; patched: Uint8Array },
  folder: string,
  runs: number,
): Promise<PeerRun> {
  const paths = { original: join(folder, "peer.original.o"), patched: join(folder, "peer.patched.o") };
  for (const side of ["original", "patched"] as const) {
    await writeFile(paths[side], pair[side]);
    await run(join(trees.pristine, "tools/objtool/objtool"), [...objtoolOptions.split(" "), paths[side]]);
    await run("strip", ["-d", "--keep-file-symbols", paths[side]]);
  }
  const symbols = join(folder, "peer.symtab");
  await writeFile(symbols, (await run("readelf", ["-sW", paths.original], { maxBuffer: 1 << 26 })).stdout);
  const args = [
    paths.original,
    paths.patched,
    "vmlinux",
    symbols,
    join(trees.pristine, "Module.symvers"),
    "livepatch_bench",
    join(folder, "peer.o"),
  ];
  const times: number[] = [];
  let output = "";
  for (let index = 0; index < runs; index++) {
    const startedMs = performance.now();
    output = (await run(program, args, { env: { ...process.env, ...entrySizes } })).stdout;
    times.push(performance.now() - startedMs);
  }
  return {
    ms: times.sort((a, b) => a - b)[times.length >> 1]!,
    changed: [...output.matchAll(/changed function: (\S+)/g)].map((match) => match[1]!).sort(),
    original: await readFile(paths.original),
    patched: await readFile(paths.patched),
  };
}
