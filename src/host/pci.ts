/**
 * PCI devices as /sys/bus/pci/devices shows them.
 *
 * Source: Documentation/ABI/testing/sysfs-bus-pci; drivers/pci/pci-sysfs.c; PCI Local Bus Specification 3.0,
 * section 6.2.2 (command register) and appendix D (class codes).
 */
import { type HostPaths, thisHost } from "./paths.ts";
import { linkName, listNames, readHead, readText } from "./pseudo-files.ts";

/** One function of a PCI device. */
export interface PciDevice {
  /** `0000:00:1f.2` */
  address: string;
  /** Base class, sub-class and programming interface, as in 0x010802 for NVMe; undefined when unreadable. */
  classCode: number | undefined;
  /** Name of the driver that is bound to it. */
  driver: string | undefined;
  /** `D0` to `D3hot`, `D3cold`, `unknown` or `error`; undefined before 5.11. */
  powerState: string | undefined;
  /** Whether it may read and write memory by itself; undefined when it does not answer or may not be asked. */
  busMaster: boolean | undefined;
}

const addressPattern = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;

/** The bus master bit of the command register; undefined for what is no configuration header. */
export function parseBusMaster(header: Uint8Array): boolean | undefined {
  if (header.length < 6) return undefined;
  const command = header[4]! | (header[5]! << 8);
  // All ones is what the bus answers for a device that is gone.
  return command === 0xffff ? undefined : (command & 0x4) !== 0;
}

/** `0x010802` as a number. */
export function parseClass(text: string): number | undefined {
  return /^0x[0-9a-f]{1,6}$/.test(text) ? Number(text) : undefined;
}

/** All devices by address; empty on a machine without PCI. Needs no root: everybody may read the first 64 bytes. */
export async function readPciDevices(host: HostPaths = thisHost): Promise<PciDevice[]> {
  const folder = `${host.sys}/bus/pci/devices`;
  const addresses = (await listNames(folder)).filter((name) => addressPattern.test(name));
  return Promise.all(addresses.map((address) => readPciDevice(address, `${folder}/${address}`)));
}

async function readPciDevice(address: string, folder: string): Promise<PciDevice> {
  const [classText, driver, powerState] = await Promise.all([
    readText(`${folder}/class`),
    linkName(`${folder}/driver`),
    readText(`${folder}/power_state`),
  ]);
  // Reading its configuration would wake a device from D3cold (pci_config_pm_runtime_get), to no use.
  const asleep = powerState === "D3cold";
  const header = asleep ? undefined : await readHead(`${folder}/config`, 6).catch(() => undefined);
  return {
    address,
    classCode: parseClass(classText ?? ""),
    driver,
    powerState,
    busMaster: asleep ? false : parseBusMaster(header ?? new Uint8Array()),
  };
}
