import { expect, test } from "vitest";
import { writeBootParams } from "../../../src/formats/boot-params/write.ts";
import { type FirmwareFacts, noFirmwareFacts } from "../../../src/formats/firmware-facts.ts";
import { readFirmwareFacts } from "../../../src/host/firmware-facts.ts";
import { readFirmwareMemmap, readIomem } from "../../../src/host/memory-map.ts";
import { fixtureHost } from "./fixture-host.ts";

const efi = {
  systemTable: 0x3f5ec018n,
  firmwareVendor: 0x3f5eca98n,
  runtime: 0x3f5ecb98n,
  configurationTable: 0x3f5ecc98n,
  smbios: 0x3f5cb000n,
  runtimeMap: [
    {
      type: 5,
      physicalAddress: 0x3f4ed000n,
      virtualAddress: 0xfffffffefff00000n,
      pages: 256n,
      attribute: 0x800000000000000fn,
    },
    {
      type: 6,
      physicalAddress: 0x3f5ed000n,
      virtualAddress: 0xfffffffeffe00000n,
      pages: 128n,
      attribute: 0x800000000000000fn,
    },
  ],
};

/** The page of a kernel that was started with these facts. */
function pageOf(facts: Partial<FirmwareFacts>): Uint8Array {
  return writeBootParams(
    {
      setupHeader: undefined,
      code32Start: 0,
      commandLine: "",
      initrd: undefined,
      memory: [],
      firmware: { ...noFirmwareFacts, ...facts },
      takesEfi: true,
      kaslr: false,
      rngSeed: new Uint8Array(0),
      deviceTree: undefined,
    },
    0n,
  ).subarray(0, 4096);
}

const hex = (value: bigint | number) => `0x${value.toString(16)}\n`;
const efiFiles = {
  "/sys/firmware/efi/systab": `ACPI20=0x3f77e014\nACPI=0x3f77e000\nSMBIOS3=0x3f5c9000\nSMBIOS=${hex(efi.smbios)}`,
  "/sys/firmware/efi/fw_vendor": hex(efi.firmwareVendor),
  "/sys/firmware/efi/runtime": hex(efi.runtime),
  "/sys/firmware/efi/config_table": hex(efi.configurationTable),
};
const runtimeFiles = Object.fromEntries(
  efi.runtimeMap.flatMap((entry, index) =>
    Object.entries({
      type: entry.type,
      phys_addr: entry.physicalAddress,
      virt_addr: entry.virtualAddress,
      num_pages: entry.pages,
      attribute: entry.attribute,
    }).map(([file, value]) => [`/sys/firmware/efi/runtime-map/${index}/${file}`, hex(value)]),
  ),
);
const page = "/sys/kernel/boot_params/data";
const vgaScreen = { info: Buffer.alloc(64, 0x22), edid: Buffer.alloc(128, 3) };

test("a machine with EFI passes on what the next kernel needs for its services", async () => {
  const host = fixtureHost({ [page]: pageOf({ efi, secureBoot: 3 }), ...efiFiles, ...runtimeFiles });
  expect(await readFirmwareFacts(host)).toMatchObject({
    efi,
    acpiRsdp: 0x3f77e014n,
    secureBoot: 3,
    screen: undefined,
    edd: undefined,
    notes: [],
  });
});

test("more than nine run-time ranges keep their order", async () => {
  const many = Object.fromEntries(
    Array.from({ length: 12 }, (_, index) =>
      ["type", "phys_addr", "virt_addr", "num_pages", "attribute"].map((file) => [
        `/sys/firmware/efi/runtime-map/${index}/${file}`,
        hex(index),
      ]),
    ).flat(),
  );
  const facts = await readFirmwareFacts(fixtureHost({ [page]: pageOf({ efi }), ...efiFiles, ...many }));
  expect(facts.efi?.runtimeMap.map(({ type }) => type)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test.each([
  ["noefi", { [page]: pageOf({ efi }), ...efiFiles }, /does not use EFI's run-time services/],
  [
    "a runtime map that only root may read",
    { [page]: pageOf({ efi }), ...efiFiles, "/sys/firmware/efi/runtime-map/0/type": "" },
    /Only root may read/,
  ],
  ["EFI of 32 bits", { [page]: pageOf({}), ...efiFiles, ...runtimeFiles }, /EFI of 32 bits/],
])("with %s the next kernel hears nothing of EFI but ACPI's root pointer", async (_, files, note) => {
  const facts = await readFirmwareFacts(fixtureHost(files as Record<string, string | Uint8Array>));
  expect(facts).toMatchObject({ efi: undefined, acpiRsdp: 0x3f77e014n });
  expect(facts.notes.join(" ")).toMatch(note);
});

test("a BIOS machine passes on its disks and the address that it was told of ACPI", async () => {
  const edd = { entries: new Uint8Array(82).fill(4), mbrSignatures: [0x12345678] };
  const host = fixtureHost({ [page]: pageOf({ edd, acpiRsdp: 0xf5ad0n }) });
  expect(await readFirmwareFacts(host)).toMatchObject({ efi: undefined, acpiRsdp: 0xf5ad0n, edd, notes: [] });
});

test.each<[string, Record<string, string>, Record<string, string>, boolean, RegExp]>([
  ["EFI's frame buffer", { "/proc/fb": "0 EFI VGA\n" }, {}, true, /^$/],
  [
    "simpledrm",
    { "/proc/fb": "0 simpledrmdrmfb\n" },
    { "/sys/class/drm/card0/device/driver": "/x/simple-framebuffer" },
    true,
    /^$/,
  ],
  [
    "VGA's text mode",
    { "/sys/class/vtconsole/vtcon0/name": "(S) VGA+\n", "/sys/class/vtconsole/vtcon0/bind": "1\n" },
    {},
    true,
    /^$/,
  ],
  [
    "a driver of its own",
    { "/proc/fb": "0 i915drmfb\n" },
    { "/sys/class/drm/card0/device/driver": "/x/i915" },
    false,
    /set up anew by i915drmfb/,
  ],
  [
    "a driver without frame buffer",
    {},
    { "/sys/class/drm/card0/device/driver": "/x/amdgpu" },
    false,
    /set up anew by amdgpu/,
  ],
  ["nothing that draws", {}, {}, false, /^$/],
])("with %s on the screen", async (_, files, links, kept, note) => {
  const host = fixtureHost({ [page]: pageOf({ screen: vgaScreen }), ...files }, links);
  const { screen, notes } = await readFirmwareFacts(host);
  expect(screen !== undefined).toBe(kept);
  if (kept) expect(screen!.edid).toEqual(new Uint8Array(128).fill(3));
  expect(notes.join(" ")).toMatch(note);
});

test("a kernel that shows no boot_params is said so", async () => {
  const facts = await readFirmwareFacts(fixtureHost({ "/sys/firmware/efi/systab": "ACPI=0x3f77e000\n" }));
  expect(facts).toMatchObject({ efi: undefined, acpiRsdp: 0x3f77e000n });
  expect(facts.notes[0]).toMatch(/boot_params\/data cannot be read/);
  await expect(readFirmwareFacts(fixtureHost({ [page]: new Uint8Array(100) }))).rejects.toMatchObject({
    code: "RK-BAD-BOOT-PARAMS",
  });
});

test("the firmware's map, whole or not at all", async () => {
  const entry = (index: number, start: string, end: string, type: string) => ({
    [`/sys/firmware/memmap/${index}/start`]: `${start}\n`,
    [`/sys/firmware/memmap/${index}/end`]: `${end}\n`,
    [`/sys/firmware/memmap/${index}/type`]: `${type}\n`,
  });
  const files = {
    ...entry(0, "0x0", "0x9fbff", "System RAM"),
    ...entry(1, "0xfffc0000", "0xffffffff", "Reserved"),
  };
  expect(await readFirmwareMemmap(fixtureHost(files))).toEqual([
    { start: 0n, end: 0x9fc00n, kind: "ram" },
    { start: 0xfffc0000n, end: 0x100000000n, kind: "reserved" },
  ]);
  expect(
    await readFirmwareMemmap(fixtureHost({ ...files, ...entry(2, "oops", "0x1", "Reserved") })),
  ).toBeUndefined();
  expect(await readFirmwareMemmap(fixtureHost({}))).toBeUndefined();
});

test("/proc/iomem, unless its addresses are hidden", async () => {
  const shown = fixtureHost({
    "/proc/iomem": "00100000-3ffdffff : System RAM\n  01000000-01ffffff : Kernel code\n",
  });
  expect(await readIomem(shown)).toHaveLength(2);
  expect(await readIomem(fixtureHost({ "/proc/iomem": "00000000-00000000 : System RAM\n" }))).toBeUndefined();
  expect(await readIomem(fixtureHost({}))).toBeUndefined();
  await expect(readIomem(fixtureHost({ "/proc/iomem": "nonsense\n" }))).rejects.toMatchObject({
    code: "RK-BAD-MEMORY-MAP",
  });
});
