/** An initrd of the size and make-up that distributions use: the lab's user space, with drivers, packed with zstd. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { decompress } from "../src/formats/compression.ts";
import { type CpioEntry, cpioArchive } from "../src/formats/cpio.ts";

/** For machines that it does not know: what disks, networks, keyboards and file systems may need. */
const driverFolders = [
  ...["ata", "block", "firewire", "hid", "hv", "i2c", "input", "md", "message", "mmc", "mtd", "nvme", "pci"],
  ...[
    "net/ethernet",
    "net/hyperv",
    "net/phy",
    "net/usb",
    "net/vmxnet3",
    "phy",
    "scsi",
    "ufs",
    "usb",
    "virtio",
  ],
  "xen",
]
  .map((name) => `drivers/${name}`)
  .concat("fs", "crypto", "lib");

/** What the first program of the user space prints before anything else. */
export const firstLine = "bench: the first line of the new user space";
/** The program, for rdinit=. */
export const firstProgram = "/bench-first";

const script = `#!/bin/busybox sh\necho "${firstLine}" >/dev/console\nexec /init\n`;

/**
 * Laid over an initrd of the lab.
 *
 * @param modules lib/modules/RELEASE
 */
export async function benchInitrd(modules: string): Promise<{ packed: Uint8Array; unpackedBytes: number }> {
  const entries: CpioEntry[] = [
    { kind: "file", path: firstProgram.slice(1), mode: 0o755, data: Buffer.from(script) },
    { kind: "directory", path: "bench-drivers" },
  ];
  // Not every kernel has modules of each kind.
  for (const folder of driverFolders)
    for (const file of await readdir(join(modules, "kernel", folder), { recursive: true }).catch(() => [])) {
      const name = /([^/]+\.ko)(\.xz)?$/.exec(file)?.[1];
      if (name === undefined) continue;
      const data = decompress(await readFile(join(modules, "kernel", folder, file)), { name: file });
      entries.push({ kind: "file", path: `bench-drivers/${name}`, data });
    }
  const archive = cpioArchive(entries);
  return { packed: zstdCompressSync(archive), unpackedBytes: archive.length };
}
