import { access, constants, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheFolder } from "../core/cache.ts";
import { writeFileAtomic } from "../core/files.ts";
import { cpioArchive } from "../formats/cpio.ts";
import { startSupervised } from "./process.ts";
import { type Accelerator, qemuCommand } from "./qemu.ts";

/** A guest under KVM says so in about a second; one that does not run would never. */
const probeLimitMs = 15_000;
const sign = "rekernel: user space reached";

let known: Promise<Accelerator> | undefined;

/**
 * KVM if a stock kernel demonstrably reaches user space with it, else TCG: machines show a KVM device
 * that cannot run a guest. The answer is kept for this boot of the machine.
 *
 * @param kernel a bootable image to try
 * @param busybox a static busybox
 */
export function chooseAccelerator(kernel: string, busybox: string): Promise<Accelerator> {
  known ??= choose(kernel, busybox).catch((error) => {
    known = undefined;
    throw error;
  });
  return known;
}

async function choose(kernel: string, busybox: string): Promise<Accelerator> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch {
    return "tcg";
  }
  const bootId = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  const file = join(await cacheFolder("lab"), "accelerator.json");
  const kept = await readFile(file, "utf8")
    .then(JSON.parse)
    .catch(() => undefined);
  if (kept?.bootId === bootId && (kept.accelerator === "kvm" || kept.accelerator === "tcg"))
    return kept.accelerator;
  const accelerator = (await runsUnderKvm(kernel, busybox)) ? "kvm" : "tcg";
  await writeFileAtomic(file, `${JSON.stringify({ bootId, accelerator })}\n`);
  return accelerator;
}

async function runsUnderKvm(kernel: string, busybox: string): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "rekernel-kvm-"));
  try {
    const initramfs = join(folder, "initramfs");
    const init = `#!/bin/busybox sh\necho "${sign}"\npoweroff -f\n`;
    await writeFile(
      initramfs,
      cpioArchive([
        { kind: "directory", path: "bin" },
        { kind: "directory", path: "dev" },
        { kind: "device", path: "dev/console", type: "char", major: 5, minor: 1 },
        { kind: "file", path: "bin/busybox", mode: 0o755, data: await readFile(busybox) },
        { kind: "file", path: "init", mode: 0o755, data: Buffer.from(init) },
      ]),
    );
    const machine = startSupervised(
      qemuCommand({
        accelerator: "kvm",
        kernel,
        initramfs,
        commandLine: "console=ttyS0 panic=0 rdinit=/init",
        memoryMiB: 512,
        cpus: 1,
        shares: [],
        network: false,
        forwards: [],
      }),
      folder,
    );
    machine.start();
    let output = "";
    const reached = new Promise<boolean>((resolve) => {
      machine.console.on("data", (data: Buffer) => {
        output += data.toString("latin1");
        if (output.includes(sign)) resolve(true);
      });
    });
    const limit = AbortSignal.timeout(probeLimitMs);
    const silent = new Promise<boolean>((resolve) => limit.addEventListener("abort", () => resolve(false)));
    const result = await Promise.race([reached, silent, machine.ended.then(() => output.includes(sign))]);
    machine.kill();
    await machine.ended;
    return result;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
