/** Virtual machines that run on KVM here, found by the descriptors that their processes hold. */
import { lstat, readlink } from "node:fs/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { isForbidden, listNames, readHead, readInteger, readText } from "./pseudo-files.ts";

export interface VirtualMachine {
  pid: number;
  /** The name of its process, at most 15 bytes: `qemu-system-x86`. */
  command: string;
}

export interface VirtualMachines {
  machines: VirtualMachine[];
  /** Programs whose descriptors this user may not see. */
  hiddenProcesses: number;
  /** KVM has users, whether they can be seen or not; undefined where it is not a module. */
  inUse: boolean | undefined;
}

/** More descriptors than this are looked at in no process; a VM's is among the first hundreds. */
const maxDescriptors = 65_536;

/**
 * Source: virt/kvm/kvm_main.c: a VM is an anonymous inode `kvm-vm`, and every VM and every open /dev/kvm holds
 * a reference of the module that runs them.
 */
export async function readVirtualMachines(host: HostPaths = thisHost): Promise<VirtualMachines> {
  const references = await Promise.all(
    ["kvm_intel", "kvm_amd"].map((name) => readInteger(`${host.sys}/module/${name}/refcnt`)),
  );
  const known = references.filter((count) => count !== undefined);
  const inUse = known.length === 0 ? undefined : known.some((count) => count !== 0);
  const none = { machines: [], hiddenProcesses: 0, inUse };
  if (inUse === false) return none;
  if (inUse === undefined && (await lstat(`${host.dev}/kvm`).catch(() => undefined)) === undefined)
    return none;

  const machines: VirtualMachine[] = [];
  let hiddenProcesses = 0;
  for (const name of await listNames(host.proc)) {
    if (!/^\d{1,10}$/.test(name)) continue;
    const folder = `${host.proc}/${name}`;
    try {
      if (await holdsMachine(`${folder}/fd`))
        machines.push({ pid: Number(name), command: (await readText(`${folder}/comm`)) ?? "?" });
    } catch (error) {
      if (!isForbidden(error)) throw error;
      // Kernel threads have no command line.
      if ((await readHead(`${folder}/cmdline`, 1).catch(() => undefined))?.length !== 0) hiddenProcesses += 1;
    }
  }
  return { machines, hiddenProcesses, inUse };
}

async function holdsMachine(folder: string): Promise<boolean> {
  for (const name of (await listNames(folder)).slice(0, maxDescriptors)) {
    const target = await readlink(`${folder}/${name}`).catch(() => "");
    if (target === "anon_inode:kvm-vm") return true;
  }
  return false;
}
