import { createHash } from "node:crypto";
import { chmod, mkdtemp, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheFolder } from "../../src/core/cache.ts";
import { withLock } from "../../src/core/lock.ts";
import { runToolOk } from "../../src/core/tools.ts";

const packages = ["systemd-sysv", "udev", "kmod", "dbus"];
const release = "bookworm";
/** Work of these is not for a guest that lives for a minute. */
const masked = [
  ...[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
  ],
  ...["e2scrub_reap.service", "systemd-update-utmp.service", "systemd-pcrphase.service", "getty.target"],
];
const sizeMiB = 768;
/** Part of the name in the cache: another recipe is another image. */
const recipe = createHash("sha256")
  .update(JSON.stringify([packages, release, masked, sizeMiB, 2]))
  .digest("hex")
  .slice(0, 12);

/**
 * A disk image with a small Debian 12 under systemd, made once and kept in the cache. Needs root (debootstrap makes
 * devices and enters the new root), debootstrap, e2fsprogs, and Debian's archive.
 */
export async function debianSystem(): Promise<string> {
  const folder = await cacheFolder("systems");
  const image = join(folder, `debian12-${recipe}.ext4`);
  return withLock(join(folder, ".lock"), {}, async () => {
    if ((await stat(image).catch(() => undefined)) !== undefined) return image;
    const work = await mkdtemp(join(tmpdir(), "rekernel-system-"));
    try {
      const root = join(work, "root");
      await runToolOk("debootstrap", [
        ...["--variant=minbase", `--include=${packages.join(",")}`],
        ...[release, root, ...(await mirror())],
      ]);
      await furnish(root);
      const unfinished = `${image}.tmp`;
      await rm(unfinished, { force: true });
      await runToolOk("mke2fs", ["-q", "-t", "ext4", "-d", root, unfinished, `${sizeMiB}M`]);
      await rename(unfinished, image);
      return image;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
}

/** The archive that this machine's apt uses; debootstrap knows one where apt has none of that release. */
async function mirror(): Promise<string[]> {
  const { stdout } = await runToolOk("apt-get", [
    ...["indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
  ]);
  const found = new RegExp(`^${release} main (\\S+)$`, "m").exec(stdout);
  return found === null ? [] : [found[1]!];
}

async function furnish(root: string): Promise<void> {
  await writeFile(join(root, "etc/hostname"), "guest\n");
  // Or every boot would be the first one.
  await writeFile(join(root, "etc/machine-id"), "0123456789abcdef0123456789abcdef\n");
  await writeFile(join(root, "etc/fstab"), "");
  await chmod(join(root, "etc/machine-id"), 0o444);
  for (const unit of masked)
    await symlink("/dev/null", join(root, "etc/systemd/system", unit)).catch(() => {});
  for (const path of ["var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"])
    await rm(join(root, path), { recursive: true, force: true });
}
