/**
 * What the firmware left for every kernel, read from where the running kernel shows it.
 *
 * Source: arch/x86/kernel/ksysfs.c (boot_params); drivers/firmware/efi/efi.c, runtime-map.c;
 * Documentation/ABI/testing/sysfs-firmware-efi, sysfs-firmware-efi-runtime-map.
 */
import { hasErrno } from "../core/errors.ts";
import { bootParamsBytes } from "../formats/boot-params/fields.ts";
import { type BootParamsPage, readBootParams } from "../formats/boot-params/read.ts";
import type { EfiFacts, EfiMemoryDescriptor, FirmwareFacts } from "../formats/firmware-facts.ts";
import { readRsdp } from "./acpi-rsdp.ts";
import { type Displays, readDisplays } from "./displays.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { listFolders, listNames, readHead, readText } from "./pseudo-files.ts";

/** Drivers that only draw into what the firmware set up (/proc/fb). */
const firmwareFrameBuffer = /^(EFI VGA|VESA VGA|simple|(simple|efi|vesa)drmdrmfb)$/;

/**
 * Complete for root; for others what only root may read is missing, with a note.
 *
 * @throws RekernelError RK-BAD-BOOT-PARAMS (1)
 */
export async function readFirmwareFacts(host: HostPaths = thisHost): Promise<FirmwareFacts> {
  const [page, displays, tables] = await Promise.all([
    readPage(host),
    readDisplays(host),
    readEfiTables(host),
  ]);
  if (page === undefined)
    return {
      efi: undefined,
      acpiRsdp: tables.rsdp,
      acpiRsdpTable: tables.rsdp ? await readRsdp(tables.rsdp, host) : undefined,
      secureBoot: 0,
      hardwareSubarch: 0,
      screen: undefined,
      edd: undefined,
      notes: [
        `${host.sys}/kernel/boot_params/data cannot be read: the next kernel hears nothing of EFI, the screen and the BIOS's disks.`,
      ],
    };
  const efi = await readEfi(page, tables, host);
  const screen = screenOf(page, displays);
  const rsdp = page.acpiRsdp === 0n ? tables.rsdp : page.acpiRsdp;
  return {
    efi: efi.facts,
    acpiRsdp: rsdp,
    acpiRsdpTable: rsdp ? await readRsdp(rsdp, host) : undefined,
    secureBoot: page.secureBoot,
    hardwareSubarch: page.hardwareSubarch,
    screen: screen.kept ? page.screen : undefined,
    edd: page.edd.entries.length > 0 || page.edd.mbrSignatures.length > 0 ? page.edd : undefined,
    notes: [...efi.notes, ...screen.notes],
  };
}

async function readPage(host: HostPaths): Promise<BootParamsPage | undefined> {
  const path = `${host.sys}/kernel/boot_params/data`;
  const bytes = await readHead(path, bootParamsBytes).catch((error: unknown) => {
    if (hasErrno(error)) return undefined;
    throw error;
  });
  return bytes && readBootParams(bytes);
}

interface EfiTables {
  rsdp: bigint | undefined;
  smbios: bigint;
}

/** `ACPI20=0x7f9fe014` lines of /sys/firmware/efi/systab. */
async function readEfiTables(host: HostPaths): Promise<EfiTables> {
  const text = (await readText(`${host.sys}/firmware/efi/systab`)) ?? "";
  const table = (name: string) => hex(new RegExp(`^${name}=(0x[0-9a-f]+)$`, "m").exec(text)?.[1]);
  return { rsdp: table("ACPI20") ?? table("ACPI"), smbios: table("SMBIOS") ?? 0n };
}

async function readEfi(
  page: BootParamsPage,
  tables: EfiTables,
  host: HostPaths,
): Promise<{ facts: EfiFacts | undefined; notes: string[] }> {
  const folder = `${host.sys}/firmware/efi`;
  const without = (note: string) => ({ facts: undefined, notes: [note] });
  if ((await listNames(folder).catch(() => [])).length === 0) return { facts: undefined, notes: [] };
  if (page.efi === undefined)
    return without("The firmware is EFI of 32 bits, of which a kernel started by kexec_load does not hear.");
  const [firmwareVendor, runtime, configurationTable, runtimeMap] = await Promise.all([
    readAddress(`${folder}/fw_vendor`),
    readAddress(`${folder}/runtime`),
    readAddress(`${folder}/config_table`),
    readRuntimeMap(`${folder}/runtime-map`),
  ]);
  if (runtimeMap === "none")
    return without(
      "The running kernel does not use EFI's run-time services, so the next one cannot either (efibootmgr, Secure Boot's state).",
    );
  if (runtimeMap === "forbidden" || configurationTable === undefined)
    return without("Only root may read what EFI left for the next kernel: this plan is without it.");
  return {
    facts: {
      systemTable: page.efi.systemTable,
      firmwareVendor: firmwareVendor ?? 0n,
      runtime: runtime ?? 0n,
      configurationTable,
      smbios: tables.smbios,
      runtimeMap,
    },
    notes: [],
  };
}

async function readRuntimeMap(folder: string): Promise<EfiMemoryDescriptor[] | "none" | "forbidden"> {
  const names = (await listFolders(folder)) ?? [];
  if (names.length === 0) return "none";
  const entries = await Promise.all(
    names
      .sort((a, b) => Number(a) - Number(b))
      .map(async (name) => {
        const [type, physicalAddress, virtualAddress, pages, attribute] = await Promise.all(
          ["type", "phys_addr", "virt_addr", "num_pages", "attribute"].map((file) =>
            readAddress(`${folder}/${name}/${file}`),
          ),
        );
        if (
          type === undefined ||
          physicalAddress === undefined ||
          virtualAddress === undefined ||
          pages === undefined ||
          attribute === undefined
        )
          return undefined;
        return { type: Number(type & 0xffffffffn), physicalAddress, virtualAddress, pages, attribute };
      }),
  );
  return entries.every((entry) => entry !== undefined) ? entries : "forbidden";
}

/** Kept where the console is still what the firmware set up: any other driver left the hardware in its own mode. */
function screenOf(page: BootParamsPage, displays: Displays): { kept: boolean; notes: string[] } {
  const isVga = page.screen.info[0x0f] !== 0;
  if (!isVga) return { kept: false, notes: [] };
  const { frameBuffers, cards, consoleOnVga } = displays;
  const others = frameBuffers.filter((name) => !firmwareFrameBuffer.test(name));
  const drivers = cards.flatMap(({ driver }) =>
    driver === undefined || firmwareFrameBuffer.test(driver) || driver.endsWith("-framebuffer")
      ? []
      : [driver],
  );
  const [changedBy] = [...others, ...(frameBuffers.length === 0 ? drivers : [])];
  if (changedBy === undefined && (frameBuffers.length > 0 || consoleOnVga)) return { kept: true, notes: [] };
  if (changedBy === undefined) return { kept: false, notes: [] };
  return {
    kept: false,
    notes: [
      `The screen has been set up anew by ${changedBy}: it stays black until the next kernel's own driver takes it over.`,
    ],
  };
}

async function readAddress(path: string): Promise<bigint | undefined> {
  return hex(await readText(path));
}

function hex(text: string | undefined): bigint | undefined {
  const trimmed = text?.trim();
  return trimmed !== undefined && /^0x[0-9a-f]{1,16}$/.test(trimmed) ? BigInt(trimmed) : undefined;
}
