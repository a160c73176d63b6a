/** The systemd unit that watches over a kernel on trial. */
import { mkdir, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFileAtomic } from "../../core/files.ts";

const unitName = "rekernel-kexec-fallback.service";

/** A word of a unit's ExecStart= (systemd.service(5), systemd.syntax(7)). */
function unitWord(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%").replaceAll("$", "$$$$")}"`;
}

/**
 * It runs in every boot until it is removed: early, and also where the boot ends in emergency mode, since a kernel
 * that cannot mount all file systems is just what it is for.
 *
 * @param program how rekernel is started: its path, or an interpreter and its path
 */
export function fallbackUnit(program: readonly string[], oldRelease: string): string {
  return `# Written by rekernel kexec --fallback; rekernel kexec confirm removes it.
[Unit]
Description=Go back to kernel ${oldRelease} unless rekernel kexec confirm is run
DefaultDependencies=no
After=systemd-remount-fs.service local-fs.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
ExecStart=${[...program, "kexec", "fallback-watch"].map(unitWord).join(" ")}
SuccessExitStatus=3 143
`;
}

/** @returns the files that were made */
export async function installUnit(
  program: readonly string[],
  oldRelease: string,
  folder = "/etc/systemd/system",
): Promise<string[]> {
  const unit = join(folder, unitName);
  const wanted = join(folder, "sysinit.target.wants", unitName);
  await writeFileAtomic(unit, fallbackUnit(program, oldRelease));
  await mkdir(dirname(wanted), { recursive: true });
  await rm(wanted, { force: true });
  await symlink(`../${unitName}`, wanted);
  return [unit, wanted];
}
