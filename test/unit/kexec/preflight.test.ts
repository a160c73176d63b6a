import { chmodSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { kexecPreflightDocument } from "../../../src/documents/kexec.ts";
import type { HostPaths } from "../../../src/host/paths.ts";
import { judgeDevices } from "../../../src/kexec/preflight/devices.ts";
import { preflightKexec } from "../../../src/kexec/preflight/preflight.ts";
import { rekernel } from "../cli/run.ts";
import { fixtureHost, samplePatch } from "../host/fixture-host.ts";

/** A quiet machine that can kexec. */
const able = {
  "/proc/sys/kernel/osrelease": "6.12.115+deb12-amd64\n",
  "/proc/sys/kernel/kexec_load_disabled": "0\n",
  "/proc/sys/kernel/kexec_load_limit_reboot": "-1\n",
  "/proc/sys/kernel/tainted": "0\n",
  "/proc/self/mountinfo": "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n",
  "/sys/kernel/kexec_loaded": "0\n",
  "/sys/kernel/kexec_crash_loaded": "0\n",
  "/sys/kernel/kexec_crash_size": "0\n",
};

type Files = Readonly<Record<string, string | Uint8Array>>;

/** What the checks say about a machine, by their names: `watchdog warns`. */
async function verdicts(files: Files, links: Readonly<Record<string, string>> = {}) {
  const report = await preflightKexec(fixtureHost({ ...able, ...files }, links));
  kexecPreflightDocument.parse(report);
  expect(report.blocked).toBe(report.findings.some(({ severity }) => severity === "blocks"));
  return report.findings.map(({ check, severity }) => `${check} ${severity}`);
}

async function only(files: Files, links: Readonly<Record<string, string>> = {}) {
  const { findings } = await preflightKexec(fixtureHost({ ...able, ...files }, links));
  expect(findings).toHaveLength(1);
  return findings[0]!;
}

test("a quiet machine has nothing to say", async () => {
  expect(await verdicts({})).toEqual([]);
});

test("a machine that shows nothing at all cannot kexec, and that is all that is known", async () => {
  const report = await preflightKexec(fixtureHost({}));
  expect(report).toMatchObject({ running: "unknown", blocked: true });
  expect(report.findings.map(({ check }) => check)).toEqual(["loading"]);
});

test("the most serious comes first", async () => {
  const files = {
    "/sys/kernel/kexec_loaded": "1\n",
    "/proc/sys/kernel/kexec_load_disabled": "1\n",
    "/sys/module/kvm_intel/refcnt": "1\n",
    "/sys/class/watchdog/watchdog0/state": "active\n",
  };
  expect(await verdicts(files)).toEqual(["watchdog warns", "virtual-machines unknown", "loading notes"]);
});

describe("loading", () => {
  test("is switched off", async () => {
    const off = { "/proc/sys/kernel/kexec_load_disabled": "1\n" };
    expect(await only(off)).toMatchObject({
      severity: "blocks",
      subject: expect.stringContaining("switched off"),
    });
    expect(await verdicts({ ...off, "/sys/kernel/kexec_loaded": "1\n" })).toEqual(["loading notes"]);
    expect(await verdicts({ "/proc/sys/kernel/kexec_load_limit_reboot": "0\n" })).toEqual(["loading blocks"]);
  });

  test("needs signatures", async () => {
    const lockdown = { "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n" };
    expect((await only(lockdown)).subject).toContain("locked down (integrity)");
    const variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    expect((await only({ [variable]: Uint8Array.of(6, 0, 0, 0, 1) })).subject).toBe("Secure Boot is on");
    expect(await verdicts({ [variable]: Uint8Array.of(6, 0, 0, 0, 0) })).toEqual([]);
    expect(await verdicts({ [variable]: Uint8Array.of(6) })).toEqual([]);
  });
});

describe("devices", () => {
  const device = { address: "0000:00:03.0", classCode: 0x020000, driver: undefined, busMaster: true };
  const judged = (...devices: Parameters<typeof judgeDevices>[0]) =>
    judgeDevices(devices, false).map(({ severity, items }) => [severity, ...items]);

  test("without a driver go on where the kernel does not know their power state", () => {
    expect(judged({ ...device, powerState: "unknown" })).toEqual([["blocks", "0000:00:03.0 network"]]);
    expect(judged({ ...device, classCode: 0x0c0330, powerState: "unknown" })[0]?.[0]).toBe("blocks");
    expect(judged({ ...device, classCode: 0x040300, powerState: "unknown" })[0]?.[0]).toBe("warns");
    expect(judged({ ...device, powerState: "D0" })[0]?.[0]).toBe("notes");
    expect(judged({ ...device, powerState: "unknown", busMaster: false })).toEqual([]);
  });

  test("with a driver are told, those of programs apart, bridges not at all", () => {
    expect(
      judged(
        { ...device, driver: "e1000e", powerState: "D0" },
        { ...device, address: "0000:01:00.0", driver: "vfio-pci", powerState: "D0" },
        { ...device, address: "0000:00:1f.0", classCode: 0x060100, powerState: "unknown" },
      ),
    ).toEqual([
      ["warns", "0000:01:00.0 network (vfio-pci)"],
      ["notes", "0000:00:03.0 network (e1000e)"],
    ]);
  });

  test("that do not answer are not known", () => {
    expect(judged({ ...device, busMaster: undefined, powerState: "D0" })[0]?.[0]).toBe("unknown");
  });

  test("an IOMMU is said to be no help", () => {
    const [finding] = judgeDevices([{ ...device, powerState: "unknown" }], true);
    expect(finding?.why).toContain("IOMMU, which may stop them now, is switched off");
  });
});

describe("watchdogs", () => {
  const watchdog = (timeout: string, nowayout: string, state = "active") => ({
    "/sys/class/watchdog/watchdog0/identity": "iTCO_wdt\n",
    "/sys/class/watchdog/watchdog0/state": `${state}\n`,
    "/sys/class/watchdog/watchdog0/timeout": `${timeout}\n`,
    "/sys/class/watchdog/watchdog0/nowayout": `${nowayout}\n`,
  });

  test("warn when they are armed with a short time", async () => {
    expect(await only(watchdog("30", "1"))).toMatchObject({
      severity: "warns",
      subject: "The watchdog watchdog0 (iTCO_wdt) is armed, with 30 seconds, and cannot be stopped",
      advice: expect.not.stringContaining("stop that program"),
    });
    expect(await verdicts(watchdog("600", "0"))).toEqual(["watchdog notes"]);
    expect(await verdicts(watchdog("30", "0", "inactive"))).toEqual(["watchdog notes"]);
    expect(await verdicts(watchdog("soon", "0"))).toEqual(["watchdog warns"]);
  });

  test("under systemd are a matter of its settings", async () => {
    const finding = await only({ ...watchdog("30", "0"), "/run/systemd/system/": "" });
    expect(finding.advice).toContain("KExecWatchdogSec=");
  });
});

describe("the display", () => {
  const card = { "/sys/class/drm/card0/device/driver": "../../../bus/pci/drivers/i915" };
  const screen = {
    "/proc/fb": "0 i915drmfb\n",
    "/sys/class/tty/console/active": "tty0\n",
    "/sys/class/vtconsole/vtcon0/name": "(S) dummy device\n",
    "/sys/class/vtconsole/vtcon0/bind": "0\n",
    "/sys/class/vtconsole/vtcon1/name": "(M) frame buffer device\n",
    "/sys/class/vtconsole/vtcon1/bind": "1\n",
    "/sys/class/drm/card0-eDP-1/status": "connected\n",
  };

  test("goes black with a driver of its own, which matters where it is the only console", async () => {
    expect(await only(screen, card)).toMatchObject({
      severity: "warns",
      items: ["card0 (i915; frame buffer i915drmfb)"],
    });
    const serial = { ...screen, "/sys/class/tty/console/active": "tty0 ttyS0\n" };
    expect(await verdicts(serial, card)).toEqual(["display notes"]);
  });

  test("stays on what the firmware set up", async () => {
    const simple = { "/sys/class/drm/card0/device/driver": "../../bus/platform/drivers/simple-framebuffer" };
    expect(await verdicts({ ...screen, "/proc/fb": "0 simpledrmdrmfb\n" }, simple)).toEqual([]);
  });
});

describe("mounts", () => {
  const mounts = (...lines: string[]) => ({ "/proc/self/mountinfo": `${lines.join("\n")}\n` });
  const ext4 = "27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw";

  test("over the network, the root more than others", async () => {
    const nfsRoot = "27 1 0:24 / / rw - nfs 192.0.2.1:/root rw,vers=3";
    expect(await verdicts(mounts("1 1 0:2 / / rw - rootfs rootfs rw", nfsRoot))).toEqual([
      "network-mounts warns",
    ]);
    const home = "60 27 0:45 / /home rw - nfs4 files:/home rw,vers=4.2";
    expect(await only(mounts(ext4, home))).toMatchObject({
      severity: "warns",
      items: ["/home (nfs4 from files:/home)"],
    });
    expect(await verdicts({ ...mounts(ext4, home), "/run/systemd/system/": "" })).toEqual([
      "network-mounts notes",
    ]);
    const sshfs = "61 27 0:46 / /far rw - fuse.sshfs me@far: rw";
    expect(await verdicts(mounts(ext4, sshfs))).toEqual(["network-mounts warns"]);
    expect(await verdicts(mounts(ext4, "61 27 0:46 / /m rw - 9p share rw,trans=virtio"))).toEqual([]);
  });

  test("a root on a disk that the network brings", async () => {
    const disk = "../../devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sdb";
    const root = mounts("27 1 8:17 / / rw - ext4 /dev/sdb1 rw");
    const device = (path: string) => ({
      ...root,
      // Where the link leads to from /sys/class/block.
      [`/sys/${path.replace("../../", "")}/sdb1/dev`]: "8:17\n",
    });
    expect(await only(device(disk), { "/sys/class/block/sdb1": `${disk}/sdb1` })).toMatchObject({
      check: "network-mounts",
      severity: "warns",
      items: ["/ (on sdb1, iSCSI)"],
    });
    const local = "../../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sdb";
    expect(await verdicts(device(local), { "/sys/class/block/sdb1": `${local}/sdb1` })).toEqual([]);
  });

  test("in memory", async () => {
    expect(await verdicts(mounts("1 1 0:2 / / rw - tmpfs none rw"))).toEqual(["memory-mounts warns"]);
    expect((await only(mounts(ext4, "60 27 251:0 / /fast rw - ext4 /dev/zram0 rw"))).items).toEqual([
      "/fast (/dev/zram0)",
    ]);
    const host = fixtureHost({
      ...able,
      // What stands behind these paths is the fixture's own file system, which is not empty.
      ...mounts(
        ext4,
        "61 27 0:50 / /tmp rw - tmpfs tmpfs rw",
        "61 27 0:51 / /run rw - tmpfs tmpfs rw",
        "61 27 0:52 / /gone rw - tmpfs tmpfs rw",
      ),
      "/proc/self/root/tmp/": "",
      "/proc/self/root/run/": "",
    });
    const { findings } = await preflightKexec(host);
    expect(findings).toMatchObject([
      { check: "memory-mounts", items: [expect.stringMatching(/^\/tmp \(.* [MG]iB\)$/)] },
    ]);
  });
});

test("an encrypted root asks again, found by number or by name", async () => {
  const devices = {
    "/sys/class/block/dm-0/dev": "253:0\n",
    "/sys/class/block/dm-0/dm/name": "vda3_crypt\n",
    "/sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-0123-vda3_crypt\n",
    "/sys/class/block/dm-1/dev": "253:1\n",
    "/sys/class/block/dm-1/dm/name": "vg-root\n",
    "/sys/class/block/dm-1/dm/uuid": "LVM-abc\n",
    "/sys/class/block/vda3/dev": "254:3\n",
  };
  const links = {
    "/sys/class/block/dm-0/slaves/vda3": "../../vda3",
    "/sys/class/block/dm-1/slaves/dm-0": "../../dm-0",
  };
  const root = (line: string) => ({ ...devices, "/proc/self/mountinfo": `${line}\n` });
  expect(await only(root("27 1 253:1 / / rw - ext4 /dev/mapper/vg-root rw"), links)).toMatchObject({
    severity: "warns",
    items: ["vda3_crypt (LUKS2 on vda3)"],
  });
  const btrfs = "27 1 0:25 /@ / rw - btrfs /dev/mapper/vda3_crypt rw,subvol=/@";
  expect(await verdicts(root(btrfs), links)).toEqual(["encrypted-root warns"]);
  expect(await verdicts(root("27 1 254:3 / / rw - ext4 /dev/vda3 rw"), links)).toEqual([]);
});

test("an array that is at work", async () => {
  const md = (action: string) => ({
    "/sys/class/block/md0/dev": "9:0\n",
    "/sys/class/block/md0/md/sync_action": `${action}\n`,
    "/sys/class/block/md0/md/sync_completed": "1024 / 8192\n",
  });
  expect((await only(md("recover"))).subject).toBe("The array md0 is at work: recover, 1024 / 8192 sectors");
  expect(await verdicts(md("check"))).toEqual(["raid notes"]);
  expect(await verdicts(md("idle"))).toEqual([]);
});

test("programs that inhibit the shutdown, and only that", async () => {
  const inhibitor = (what: string, mode: string) => ({
    "/run/systemd/inhibit/1": `WHAT=${what}\nMODE=${mode}\nPID=9\nWHO=apt\nWHY="Installing packages"\n`,
    "/proc/9/comm": "apt\n",
  });
  expect((await only(inhibitor("shutdown:idle", "block"))).items).toEqual([
    "apt (process 9): Installing packages",
  ]);
  expect(await verdicts(inhibitor("shutdown", "delay"))).toEqual([]);
  expect(await verdicts(inhibitor("sleep", "block"))).toEqual([]);
});

test("guests, a hibernated system, live patches, modules, a crash kernel, damage and unwritten data", async () => {
  const page = Buffer.alloc(4096);
  page.write("S1SUSPEND", 4096 - 10, "latin1");
  expect(
    await verdicts(
      {
        ...samplePatch,
        "/sys/module/kvm_intel/refcnt": "1\n",
        "/proc/77/comm": "qemu-system-x86\n",
        "/sys/power/resume": "254:2\n",
        "/sys/dev/block/254:2/uevent": "DEVNAME=vda2\n",
        "/dev/vda2": page,
        "/sys/module/nvidia/taint": "POE\n",
        "/sys/kernel/kexec_crash_loaded": "1\n",
        "/proc/sys/kernel/tainted": "128\n",
        "/proc/meminfo": "Dirty:  524288 kB\nWriteback:  0 kB\nHardwareCorrupted:     4 kB\n",
      },
      { "/proc/77/fd/3": "anon_inode:kvm-vm" },
    ),
  ).toEqual([
    "virtual-machines blocks",
    "hibernation blocks",
    "kernel-health warns",
    "kernel-health warns",
    "live-patches warns",
    "modules notes",
    "crash-kernel notes",
    "unwritten-data notes",
  ]);
  expect(await verdicts({ "/sys/module/kvm_amd/refcnt": "1\n" })).toEqual(["virtual-machines unknown"]);
});

describe("what cannot be looked at is said", () => {
  /** Root may read everything: its part is played by the user nobody. */
  async function asNobody<T>(host: HostPaths, work: () => Promise<T>): Promise<T> {
    if (process.geteuid?.() !== 0) return work();
    chmodSync(dirname(host.proc), 0o755);
    process.seteuid!(65534);
    try {
      return await work();
    } finally {
      process.seteuid!(0);
    }
  }

  test("for lack of permission", async () => {
    const host = fixtureHost({
      ...able,
      "/sys/power/resume": "254:2\n",
      "/sys/dev/block/254:2/uevent": "DEVNAME=vda2\n",
      "/dev/vda2": "",
      "/sys/module/kvm_amd/refcnt": "1\n",
      "/proc/77/fd/": "",
      "/proc/77/cmdline": "qemu\0",
      "/proc/2/fd/": "",
      "/proc/2/cmdline": "",
    });
    for (const path of [
      `${host.dev}/vda2`,
      `${host.proc}/77/fd`,
      `${host.proc}/2/fd`,
      `${host.proc}/self/mountinfo`,
    ])
      chmodSync(path, 0);
    const { findings, blocked } = await asNobody(host, () => preflightKexec(host));
    expect(blocked).toBe(false);
    expect(findings.map(({ check, severity, subject }) => [check, severity, subject])).toEqual([
      ["virtual-machines", "unknown", expect.stringContaining("(1 could not be looked at)")],
      ["hibernation", "unknown", expect.stringContaining("could not be looked at (EACCES)")],
      ["encrypted-root", "unknown", expect.stringContaining("EACCES")],
      ["network-mounts", "unknown", expect.stringContaining("EACCES")],
      ["memory-mounts", "unknown", expect.stringContaining("EACCES")],
    ]);
    expect(findings[1]).toMatchObject({ items: [`${host.dev}/vda2`], advice: "Run the command as root." });
    chmodSync(`${host.proc}/77/fd`, 0o700);
    chmodSync(`${host.proc}/2/fd`, 0o700);
  });

  test("for any other reason", async () => {
    const host = fixtureHost({
      ...able,
      "/sys/power/resume": "254:2\n",
      "/sys/dev/block/254:2/uevent": "DEVNAME=vda2\n",
    });
    // A socket cannot be opened: ENXIO.
    const server = createServer().listen(`${host.dev}/vda2`);
    await new Promise((resolve) => server.once("listening", resolve));
    onTestFinished(() => void server.close());
    const { findings } = await preflightKexec(host);
    expect(findings.map(({ check, severity }) => `${check} ${severity}`)).toEqual(["hibernation unknown"]);
  });
});

test("hostile files of any content give findings that fit the document", async () => {
  const paths = [
    "/proc/self/mountinfo",
    "/proc/meminfo",
    "/proc/fb",
    "/proc/sys/kernel/tainted",
    "/sys/bus/pci/devices/0000:00:01.0/config",
    "/sys/bus/pci/devices/0000:00:01.0/class",
    "/sys/bus/pci/devices/0000:00:01.0/power_state",
    "/sys/class/watchdog/watchdog0/state",
    "/sys/class/watchdog/watchdog0/timeout",
    "/sys/class/block/dm-0/dev",
    "/sys/class/block/dm-0/dm/uuid",
    "/sys/class/block/md0/md/sync_action",
    "/sys/class/vtconsole/vtcon0/name",
    "/sys/class/tty/console/active",
    "/sys/module/odd/taint",
    "/sys/power/resume",
    "/sys/power/resume_offset",
    "/sys/dev/block/254:2/uevent",
    "/sys/kernel/security/lockdown",
    "/run/systemd/inhibit/1",
  ];
  const telling = [
    "active\n",
    "254:2\n",
    "DEVNAME=a\n",
    "CRYPT-",
    "POK",
    "resync",
    "-1",
    "9".repeat(400),
    "",
  ];
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.constantFrom(...telling).map((text) => new Uint8Array(Buffer.from(text))),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(content, { minLength: paths.length, maxLength: paths.length }),
      async (contents) => {
        await verdicts(Object.fromEntries(paths.map((path, index) => [path, contents[index]!])));
      },
    ),
    { numRuns: 30 },
  );
});

test("the command tells this machine's state, and exits 4 exactly when something blocks", async () => {
  const json = await rekernel(["kexec", "preflight", "--json"]);
  const report = kexecPreflightDocument.parse(JSON.parse(json.stdout));
  expect(json.exitCode).toBe(report.blocked ? 4 : 0);
  const text = await rekernel(["kexec", "preflight"]);
  expect(text.stdout).toContain(`This machine runs kernel ${report.running}.`);
  expect(text.stdout).toMatch(
    report.blocked ? /See to what blocks first\.\n$/ : /Nothing (blocks; see the warnings|serious)\.\n$/,
  );
});
