/**
 * Runs in a guest: loads a kernel through kexec_load with a memory map in which every other MiB of a part of
 * the RAM begins with a reserved page, and prints that map, ordered.
 */
import { mkdir, mkdtemp, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type MemoryRange, resolveMemoryMap } from "../../../src/formats/memory-map.ts";
import { kexecLoad } from "../../../src/host/kexec-load.ts";
import { readFirmwareMemmap } from "../../../src/host/memory-map.ts";
import { prepareKexec } from "../../../src/kexec/plan.ts";

const [image, initrd, commandLine] = process.argv.slice(2);
const MiB = 0x100000n;
const holes: MemoryRange[] = Array.from({ length: 150 }, (_, index) => {
  const start = (128n + BigInt(index) * 2n) * MiB;
  return { start, end: start + 4096n, kind: "reserved" };
});
const map = resolveMemoryMap([...((await readFirmwareMemmap()) ?? []), ...holes]);

// This machine, but for the firmware's map.
const root = await mkdtemp(join(tmpdir(), "machine-"));
const sys = join(root, "sys");
await mkdir(join(sys, "firmware/memmap"), { recursive: true });
for (const folder of ["kernel", "class", "devices", "bus", "firmware/efi"])
  await symlink(`/sys/${folder}`, join(sys, folder));
const names = { ram: "System RAM", acpi: "ACPI Tables", "acpi-nvs": "ACPI Non-volatile Storage" } as Record<
  string,
  string
>;
for (const [index, { start, end, kind }] of map.entries()) {
  const folder = join(sys, "firmware/memmap", String(index));
  await mkdir(folder);
  await writeFile(join(folder, "start"), `0x${start.toString(16)}\n`);
  await writeFile(join(folder, "end"), `0x${(end - 1n).toString(16)}\n`);
  await writeFile(join(folder, "type"), `${names[kind] ?? "Reserved"}\n`);
}

const { handover } = await prepareKexec(
  { image: image!, initrds: [initrd!], commandLine: commandLine!, syscall: "kexec_load" },
  "",
  { proc: "/proc", sys, dev: "/dev", run: "/run" },
);
if (handover.by !== "kexec_load") throw new Error("asked for kexec_load");
await kexecLoad(handover.layout.segments, handover.layout.entry);
process.stdout.write(JSON.stringify(map.map(({ start, end, kind }) => [`${start}`, `${end}`, kind])));
