import { glob, stat } from "node:fs/promises";
import { join } from "node:path";
import { withLock } from "../../src/core/lock.ts";
import { runToolOk } from "../../src/core/tools.ts";

const root = join(import.meta.dirname, "../..");
const executable = join(root, "dist/rekernel");
const inputs = ["src/**/*.ts", "scripts/**/*", "package.json", "package-lock.json"];

/**
 * The single executable, built when it is older than its sources. Tests run it in guests because it starts
 * several times faster there than the sources do, and because it is what users deploy.
 */
export function builtExecutable(): Promise<string> {
  return withLock(join(root, "dist/.build.lock"), {}, async () => {
    if (!(await isCurrent())) await runToolOk(process.execPath, [join(root, "scripts/build-executable.ts")]);
    return executable;
  });
}

async function isCurrent(): Promise<boolean> {
  const built = await stat(executable).catch(() => undefined);
  if (built === undefined) return false;
  for await (const path of glob(inputs, { cwd: root }))
    if ((await stat(join(root, path))).mtimeMs > built.mtimeMs) return false;
  return true;
}
