import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { targetKernel } from "../../src/kernel/target.ts";
import { linkModule } from "../../src/livepatch/build/module/link.ts";
import { prepareTrees } from "../../src/livepatch/build/source/trees.ts";

/** Builds the modules whose sources are in modules/ for a stock kernel; their bytes by name. */
export async function buildModules<Name extends string>(
  release: string,
  names: readonly Name[],
): Promise<Record<Name, Uint8Array>> {
  const { pristine, makeArgs } = await prepareTrees(await targetKernel(release));
  const modules: Partial<Record<Name, Uint8Array>> = {};
  for (const name of names) {
    const folder = await mkdtemp(join(tmpdir(), "rekernel-test-module-"));
    try {
      const glue = await readFile(join(import.meta.dirname, "modules", `${name}.c`), "utf8");
      const module = await linkModule({ tree: pristine, makeArgs, name, glue, units: [], folder });
      modules[name] = module.bytes;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  return modules as Record<Name, Uint8Array>;
}
