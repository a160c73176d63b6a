import { type PciDevice, readPciDevices } from "../../host/pci.ts";
import { listNames } from "../../host/pseudo-files.ts";
import type { Check, Finding, Remedy } from "./finding.ts";

/** PCI base classes; Code and ID Assignment Specification. */
const classNames: Readonly<Record<number, string>> = {
  1: "storage",
  2: "network",
  3: "display",
  4: "multimedia",
  5: "memory",
  7: "communication",
  8: "system peripheral",
  9: "input",
  11: "processor",
  12: "serial bus",
  13: "wireless",
  16: "encryption",
  17: "signal processing",
  18: "accelerator",
};
const bridge = 6;

/** Drivers that hand a device to a program. */
const userSpaceDrivers = new Set(["vfio-pci", "uio_pci_generic", "igb_uio"]);

const baseClass = ({ classCode }: PciDevice) => (classCode ?? 0xff0000) >> 16;

/** Storage, network, USB, Fibre Channel, InfiniBand: what writes to memory because of the world outside. */
function actsByItself(device: PciDevice): boolean {
  const subclass = (device.classCode ?? 0) >> 8;
  return [1, 2, 13].includes(baseClass(device)) || [0x0c03, 0x0c04, 0x0c06].includes(subclass);
}

/**
 * At a kexec the kernel calls the driver's shutdown method, if it has one, then switches bus mastering off
 * (drivers/pci/pci-driver.c, pci_device_shutdown), but not in the states D3cold and unknown. The latter is that of
 * devices that no driver has ever enabled; before 5.11 the kernel does not tell the state.
 */
const keepsMastering = ({ driver, powerState }: PciDevice) =>
  driver === undefined && !/^(D[0-2]|D3hot|error)$/.test(powerState ?? "");

function name(device: PciDevice): string {
  const kind = classNames[baseClass(device)] ?? "other";
  return `${device.address} ${kind}${device.driver === undefined ? "" : ` (${device.driver})`}`;
}

/** Devices that read and write memory by themselves. */
export const devices: Check = {
  name: "devices",
  looksAt: "the PCI devices",
  async find({ host }) {
    const [all, iommus] = await Promise.all([readPciDevices(host), listNames(`${host.sys}/class/iommu`)]);
    return judgeDevices(all, iommus.length > 0);
  },
};

/** @param hasIommu an IOMMU is in use now */
export function judgeDevices(all: readonly PciDevice[], hasIommu: boolean): Omit<Finding, "check">[] {
  // Bridges pass on what devices behind them do; those are listed themselves.
  const known = all.filter((device) => baseClass(device) !== bridge);
  const masters = known.filter(({ busMaster }) => busMaster === true);
  const left = masters.filter(keepsMastering);
  const byPrograms = masters.filter(({ driver }) => driver !== undefined && userSpaceDrivers.has(driver));
  const ordered = masters.filter((device) => !left.includes(device) && !byPrograms.includes(device));
  const silent = known.filter(({ busMaster }) => busMaster === undefined);
  const findings: Omit<Finding, "check">[] = [];
  const quiet = (found: readonly PciDevice[]): Remedy[] =>
    found.map(({ address }) => ({ action: "bus-master-off", target: address }));
  const add = (found: readonly PciDevice[], finding: Omit<Finding, "check" | "items">) => {
    if (found.length > 0) findings.push({ ...finding, items: found.map(name) });
  };
  const untended = {
    why:
      "At the jump the kernel switches off bus mastering only where it knows the device's power state, so these may " +
      `write into the next kernel's memory${hasIommu ? "; the IOMMU, which may stop them now, is switched off before" : ", and there is no IOMMU"}.`,
    advice:
      "Load the driver, which takes them over; or switch their bus mastering off: setpci -s ADDRESS COMMAND=0:4",
  };
  const dangerous = left.filter(actsByItself);
  const passive = left.filter((device) => !actsByItself(device));
  add(dangerous, {
    severity: "blocks",
    subject: "Devices that may go on with DMA: bus mastering is on, and no driver is there to stop them",
    ...untended,
    remedies: quiet(dangerous),
  });
  add(passive, {
    severity: "warns",
    subject: "Devices without a driver have bus mastering on",
    ...untended,
    remedies: quiet(passive),
  });
  add(byPrograms, {
    severity: "warns",
    subject: "Programs drive devices from user space",
    why: "They end in the middle of what they do, and nobody resets their devices.",
    advice: "Stop these programs (virtual machines with devices of their own, DPDK) first.",
  });
  add(silent, {
    severity: "unknown",
    subject: "PCI devices whose configuration cannot be read",
    why: "Whether they do DMA is not known.",
    advice: "Run the command as root; a device that fell off its bus needs a reboot through the firmware.",
  });
  add(ordered, {
    severity: "notes",
    subject: "Devices that do DMA now",
    why:
      "The kernel asks their drivers to shut them down and then switches off bus mastering; a driver without a " +
      "shutdown method, which the kernel does not tell, leaves the rest of the device's state to the next one.",
    advice:
      "Where one does not come back, unload its driver before the next kexec, or reboot through the firmware.",
  });
  return findings;
}
