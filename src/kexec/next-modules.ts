/** Whether the next kernel will find its modules in the system that runs now. */
import { access } from "node:fs/promises";
import { join } from "node:path";

/**
 * What to know about /lib/modules/RELEASE: without it the next kernel has the drivers that are built in and
 * those of its initrd, and many a machine is then without network.
 *
 * @param release `uname -r` of the next kernel
 * @param root of the system that it will run
 * @returns a full sentence; undefined where all is there
 */
export async function missingModules(release: string, root = "/"): Promise<string | undefined> {
  // A release comes out of a hostile file; no kernel names itself like a path.
  if (!/^[\w.+~-]+$/.test(release) || release.startsWith(".")) return undefined;
  const folder = join(root, "lib/modules", release);
  if (!(await exists(folder)))
    return `There are no modules for ${release} (${folder}): it has only the drivers that are built in or in the initrd. Install its package, or run make modules_install.`;
  if (!(await exists(join(folder, "modules.dep"))) && !(await exists(join(folder, "modules.dep.bin"))))
    return `The modules in ${folder} cannot be found by modprobe: run depmod ${release}.`;
  return undefined;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
