import { expect, test } from "vitest";
import { errnoName, errnoText } from "../../../src/host/errno.ts";
import { parseKmsgRecord } from "../../../src/host/kernel-log.ts";
import { readKexecState } from "../../../src/host/kexec.ts";
import { parseLockdown } from "../../../src/host/lockdown.ts";
import { parseEffectiveCapabilities, requireCapability } from "../../../src/host/privilege.ts";
import { writableBlockMounts } from "../../../src/host/reboot.ts";
import { SyscallError, syscall } from "../../../src/host/syscall.ts";
import { fixtureHost } from "./fixture-host.ts";

test("makes system calls and tells their errors", async () => {
  const [getpid, close] = [39, 3];
  expect(await syscall("getpid", getpid)).toBe(BigInt(process.pid));
  const error = await syscall("close", close, -1).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(SyscallError);
  expect(error).toMatchObject({ call: "close", errno: 9, code: "EBADF" });
});

test("names the errors that kexec and module loading give", () => {
  expect([1, 8, 16, 22, 38, 99, 126, 129].map(errnoName)).toEqual([
    "EPERM",
    "ENOEXEC",
    "EBUSY",
    "EINVAL",
    "ENOSYS",
    "EADDRNOTAVAIL",
    "ENOKEY",
    "EKEYREJECTED",
  ]);
  expect(errnoText(126)).toBe("required key not available");
  expect(errnoName(4095)).toBe("errno 4095");
});

test("reads records of /dev/kmsg", () => {
  expect(parseKmsgRecord("5,393,3896189,-;livepatch: enabling patch 'livepatch_sample'\n")).toBe(
    "livepatch: enabling patch 'livepatch_sample'",
  );
  expect(parseKmsgRecord("6,1,2,-,caller=T1;a;b\n SUBSYSTEM=pci\n DEVICE=+pci:0000\n")).toBe("a;b");
  expect(parseKmsgRecord("")).toBeUndefined();
});

test("reads kexec's state from 6.12 and from the folder that 6.19 made", async () => {
  const sysctl = {
    "/proc/sys/kernel/kexec_load_disabled": "0\n",
    "/proc/sys/kernel/kexec_load_limit_reboot": "-1\n",
    "/proc/sys/kernel/kexec_load_limit_panic": "-1\n",
  };
  const before = fixtureHost({
    ...sysctl,
    "/sys/kernel/kexec_loaded": "1\n",
    "/sys/kernel/kexec_crash_loaded": "0\n",
    "/sys/kernel/kexec_crash_size": "268435456\n",
  });
  const expected = {
    supported: true,
    loaded: true,
    crashLoaded: false,
    crashSizeBytes: 268435456,
    loadDisabled: false,
    loadLimitReboot: -1,
    loadLimitPanic: -1,
  };
  expect(await readKexecState(before)).toEqual(expected);
  const since619 = fixtureHost({
    ...sysctl,
    "/sys/kernel/kexec/loaded": "1\n",
    "/sys/kernel/kexec/crash_loaded": "0\n",
    "/sys/kernel/kexec/crash_size": "268435456\n",
  });
  expect(await readKexecState(since619)).toEqual(expected);
  expect(await readKexecState(fixtureHost({}))).toMatchObject({ supported: false, loaded: undefined });
});

test("reads the lockdown mode", () => {
  expect(parseLockdown("[none] integrity confidentiality")).toBe("none");
  expect(parseLockdown("none [integrity] confidentiality")).toBe("integrity");
  expect(parseLockdown("")).toBe("unknown");
});

test("asks for the capability, not for the name root", async () => {
  const all = "Name:\tcat\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n";
  expect(parseEffectiveCapabilities(all)).toBe(0x1ffffffffffn);
  await requireCapability("CAP_SYS_BOOT", "This", fixtureHost({ "/proc/self/status": all }));
  const none = fixtureHost({ "/proc/self/status": "CapEff:\t00000000a80425fb\n" });
  await expect(requireCapability("CAP_SYS_BOOT", "This", none)).rejects.toMatchObject({ exitCode: 5 });
});

test("finds file systems on disks that can still be written", () => {
  const mounts = `overlay / overlay rw,relatime,uuid=on 0 0
/dev/vda1 /srv ext4 rw,relatime 0 0
/dev/vda2 /boot ext4 ro,relatime 0 0
devtmpfs /dev devtmpfs rw,relatime 0 0
`;
  expect(writableBlockMounts(mounts)).toEqual(["/srv"]);
});
