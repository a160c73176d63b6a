/**
 * What the kernel's console is shown on.
 *
 * Source: drivers/video/fbdev/core/fb_procfs.c; Documentation/ABI/testing/sysfs-class-vtconsole (ABI/stable since
 * 5.x); Documentation/ABI/testing/sysfs-tty (active).
 */
import { type HostPaths, thisHost } from "./paths.ts";
import { linkName, listNames, readText } from "./pseudo-files.ts";

export interface Displays {
  /** Names of the frame buffers in /proc/fb: `EFI VGA`, `i915drmfb`. */
  frameBuffers: string[];
  /** Drivers of the graphics cards in /sys/class/drm, such as `i915`, by card. */
  cards: { name: string; driver: string | undefined }[];
  /** The text console is drawn into a frame buffer. */
  consoleOnFrameBuffer: boolean;
  /** The text console is VGA's text mode. */
  consoleOnVga: boolean;
  /** Where kernel messages go: `tty0`, `ttyS0`. */
  consoles: string[];
}

/** `0 EFI VGA` lines. */
export function parseFrameBuffers(text: string): string[] {
  return [...text.matchAll(/^\d{1,3} (.+)$/gm)].map(([, name]) => name!.trim());
}

export async function readDisplays(host: HostPaths = thisHost): Promise<Displays> {
  const { sys } = host;
  const [frameBuffers, cardNames, consoleNames, active] = await Promise.all([
    readText(`${host.proc}/fb`),
    listNames(`${sys}/class/drm`),
    listNames(`${sys}/class/vtconsole`),
    readText(`${sys}/class/tty/console/active`),
  ]);
  const cards = await Promise.all(
    cardNames
      .filter((name) => /^card\d+$/.test(name))
      .map(async (name) => ({ name, driver: await linkName(`${sys}/class/drm/${name}/device/driver`) })),
  );
  const bound = await Promise.all(
    consoleNames.map(async (name) => {
      const folder = `${sys}/class/vtconsole/${name}`;
      const [title, bind] = await Promise.all([readText(`${folder}/name`), readText(`${folder}/bind`)]);
      return bind === "1" ? (title ?? "") : "";
    }),
  );
  return {
    frameBuffers: parseFrameBuffers(frameBuffers ?? ""),
    cards,
    consoleOnFrameBuffer: bound.some((title) => title.includes("frame buffer")),
    consoleOnVga: bound.some((title) => title.includes("VGA")),
    consoles: (active ?? "").split(" ").filter((name) => name !== ""),
  };
}
