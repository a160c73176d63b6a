/**
 * A hibernation image that waits in swap.
 *
 * Source: kernel/power/swap.c, struct swsusp_header: the last ten bytes of the first page of swap; swsusp_check()
 * compares them with S1SUSPEND. Documentation/ABI/testing/sysfs-power (resume, resume_offset).
 */
import { type HostPaths, thisHost } from "./paths.ts";
import { readHead, readInteger, readText } from "./pseudo-files.ts";

const pageSize = 4096;
const signatureLength = 10;
const signature = "S1SUSPEND\0";

/** True when the first page of swap ends in the mark of a hibernation image. */
export function isHibernationImage(page: Uint8Array): boolean {
  if (page.length < signatureLength) return false;
  return Buffer.from(page.subarray(page.length - signatureLength)).toString("latin1") === signature;
}

/** Where the kernel would look for an image: a device's number and the offset of swap's first page. */
export async function resumeDevice(
  host: HostPaths = thisHost,
): Promise<{ path: string; offsetBytes: number } | undefined> {
  const number = await readText(`${host.sys}/power/resume`);
  if (number === undefined || !/^\d{1,10}:\d{1,10}$/.test(number) || number === "0:0") return undefined;
  const uevent = (await readText(`${host.sys}/dev/block/${number}/uevent`)) ?? "";
  const name = /^DEVNAME=([\w!.+-]+(?:\/[\w!.+-]+)*)$/m.exec(uevent)?.[1];
  if (name === undefined || name.split("/").includes("..")) return undefined;
  const pages = (await readInteger(`${host.sys}/power/resume_offset`)) ?? 0;
  return { path: `${host.dev}/${name}`, offsetBytes: Math.max(0, pages) * pageSize };
}

/**
 * @returns undefined when the kernel knows no resume device
 * @throws EACCES for users who may not read the device
 */
export async function hibernationImage(
  host: HostPaths = thisHost,
): Promise<{ path: string; waiting: boolean } | undefined> {
  const device = await resumeDevice(host);
  if (device === undefined) return undefined;
  const from = device.offsetBytes + pageSize - signatureLength;
  const end = await readHead(device.path, signatureLength, from);
  return { path: device.path, waiting: end !== undefined && isHibernationImage(end) };
}
