/**
 * Arming and feeding a watchdog through its device.
 *
 * Source: Documentation/watchdog/watchdog-api.rst; include/uapi/linux/watchdog.h; drivers/watchdog/watchdog_dev.c.
 */
import { type FileHandle, open } from "node:fs/promises";
import { syscallNumber } from "./arch/x86_64.ts";
import { type HostPaths, thisHost } from "./paths.ts";
import { SyscallError, syscall } from "./syscall.ts";

/** _IOWR('W', 6, int), _IOR('W', 7, int) */
const WDIOC_SETTIMEOUT = 0xc0045706;
const WDIOC_GETTIMEOUT = 0x80045707;

/** A watchdog that this process feeds. It runs from the moment it is opened. */
export class OpenWatchdog {
  readonly name: string;
  /** Seconds without food after which it resets the machine. */
  readonly timeoutSeconds: number;
  readonly #file: FileHandle;

  private constructor(name: string, timeoutSeconds: number, file: FileHandle) {
    this.name = name;
    this.timeoutSeconds = timeoutSeconds;
    this.#file = file;
  }

  /**
   * @param name `watchdog0`
   * @param seconds the wanted time; a driver that does not take so long gets the longest that it takes
   * @throws the system error: EBUSY while another program feeds it
   */
  static async open(name: string, seconds: number, host: HostPaths = thisHost): Promise<OpenWatchdog> {
    const file = await open(`${host.dev}/${name}`, "r+");
    try {
      for (let wanted = seconds; wanted >= 30; wanted = Math.floor(wanted / 2))
        if (await setTimeoutOf(file, wanted)) break;
      return new OpenWatchdog(name, await timeoutOf(file), file);
    } catch (error) {
      await file.write("V");
      await file.close();
      throw error;
    }
  }

  /** Another time; the old one stays where the driver does not take it. */
  async setTimeout(seconds: number): Promise<void> {
    await setTimeoutOf(this.#file, seconds);
  }

  async feed(): Promise<void> {
    await this.#file.write("f");
  }

  /** Lets go of it without stopping it: it resets the machine when its time is over, unless somebody feeds it. */
  async leaveArmed(): Promise<void> {
    await this.#file.close();
  }

  /** Stops it where the driver lets it be stopped (magic close); with nowayout it runs on. */
  async stop(): Promise<void> {
    await this.#file.write("V");
    await this.#file.close();
  }
}

async function setTimeoutOf(file: FileHandle, seconds: number): Promise<boolean> {
  const value = Buffer.alloc(4);
  value.writeInt32LE(seconds);
  try {
    await syscall("ioctl", syscallNumber.ioctl, file.fd, WDIOC_SETTIMEOUT, value);
    return true;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}

async function timeoutOf(file: FileHandle): Promise<number> {
  const value = Buffer.alloc(4);
  await syscall("ioctl", syscallNumber.ioctl, file.fd, WDIOC_GETTIMEOUT, value);
  return value.readInt32LE();
}
