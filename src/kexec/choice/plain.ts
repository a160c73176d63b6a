/** Kernels that lie in /boot, whoever boots them. */
import { join } from "node:path";
import { readBzImage } from "../../formats/bzimage.ts";
import { compareDebianVersions } from "../../formats/debian.ts";
import { readInputFile } from "../../kernel/input-file.ts";
import { reusableCommandLine } from "../command-line.ts";
import { releaseOf } from "../plan.ts";
import type { BootFiles } from "./boot-files.ts";
import type { BootKernel } from "./boot-kernel.ts";

/** All `vmlinuz-*` of /boot with their initrds, newest first. */
export async function plainKernels(files: BootFiles): Promise<BootKernel[]> {
  const boot = join(files.root, "boot");
  const running = files.read(join(files.root, "proc/cmdline"));
  const kernels: (BootKernel & { version: string })[] = [];
  for (const name of files.list(boot)) {
    const [, suffix] = /^vmlinuz-(.+)$/.exec(name) ?? [];
    const image = join(boot, name);
    if (suffix === undefined || !files.isFile(image)) continue;
    const initrd = initrdNames(suffix).find((candidate) => files.isFile(join(boot, candidate)));
    const version = /^\d/.test(suffix) ? suffix : ((await releaseInside(image)) ?? suffix);
    kernels.push({
      source: "folder",
      id: name,
      title: `Linux ${version}`,
      version,
      image,
      initrds: initrd === undefined ? [] : [join(boot, initrd)],
      commandLine: running === undefined ? undefined : reusableCommandLine(running.trim()),
      file: image,
      triesLeft: undefined,
      triesDone: undefined,
      problem: undefined,
    });
  }
  return kernels.sort((a, b) => compareReleases(b.version, a.version));
}

/**
 * Kernel releases in Debian's order, but a release candidate comes before its release, and what was set aside
 * (`.old`) before what replaced it.
 */
export function compareReleases(a: string, b: string): number {
  const key = (release: string) => release.replace(/-rc(?=\d)/, "~rc").replace(/\.old$/, "~old");
  return compareDebianVersions(key(a), key(b));
}

/** As grub-mkconfig looks for them (10_linux). */
function initrdNames(version: string): string[] {
  return [version, version.replace(/\.old$/, "")].flatMap((name) => [
    `initrd.img-${name}`,
    `initrd-${name}.img`,
    `initrd-${name}`,
    `initramfs-${name}.img`,
  ]);
}

/** Where the file's name has no version (`vmlinuz-linux-lts`), the boot header has. */
async function releaseInside(image: string): Promise<string | undefined> {
  try {
    const { header } = readBzImage(await readInputFile(image, "kernel image"), image);
    return releaseOf(header.kernelVersion);
  } catch {
    return undefined;
  }
}
