/**
 * PCI devices as /sys/bus/pci/devices shows them.
 *
 * Source: Documentation/ABI/testing/sysfs-bus-pci; drivers/pci/pci-sysfs.c; PCI Local Bus Specification 3.0,
 * section 6.2.2 (command register) and appendix D (class codes).
 */
import { open, writeFile } from "node:fs/promises";
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

/** Of the command register in the configuration header. */
const commandOffset = 4;
const busMasterBit = 0x4;

/** The bus master bit of the command register; undefined for what is no configuration header. */
export function parseBusMaster(header: Uint8Array): boolean | undefined {
  if (header.length < 6) return undefined;
  const command = header[4]! | (header[5]! << 8);
  // All ones is what the bus answers for a device that is gone.
  return command === 0xffff ? undefined : (command & busMasterBit) !== 0;
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

/**
 * Takes from a device that no driver has the right to read and write memory by itself.
 *
 * @returns whether it has it now; undefined when it does not answer
 * @throws the system error: EPERM where the kernel is locked down
 */
export async function switchOffBusMaster(
  address: string,
  host: HostPaths = thisHost,
): Promise<boolean | undefined> {
  if (!addressPattern.test(address)) throw new RangeError(`no PCI address: ${address}`);
  await using config = await open(`${host.sys}/bus/pci/devices/${address}/config`, "r+");
  const command = Buffer.alloc(2);
  await config.read(command, 0, 2, commandOffset);
  const value = command.readUInt16LE();
  if (value !== 0xffff) {
    command.writeUInt16LE(value & ~busMasterBit);
    await config.write(command, 0, 2, commandOffset);
  }
  return parseBusMaster(
    (await readHead(`${host.sys}/bus/pci/devices/${address}/config`, 6)) ?? new Uint8Array(),
  );
}

/**
 * Takes a device from its driver, which then shuts it down.
 *
 * @throws the system error
 */
export async function unbindPciDriver(address: string, host: HostPaths = thisHost): Promise<void> {
  if (!addressPattern.test(address)) throw new RangeError(`no PCI address: ${address}`);
  await writeFile(`${host.sys}/bus/pci/devices/${address}/driver/unbind`, address);
}
