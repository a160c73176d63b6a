import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { preflightKexec } from "../../../src/kexec/preflight/preflight.ts";
import { quiesceMachine } from "../../../src/kexec/quiesce/quiesce.ts";
import { whatStops } from "../../../src/kexec/whole-way.ts";
import { fixtureHost } from "../host/fixture-host.ts";

const able = {
  "/proc/sys/kernel/osrelease": "6.12.115+deb12-amd64\n",
  "/proc/sys/kernel/kexec_load_disabled": "0\n",
  "/proc/self/mountinfo": "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n",
  "/proc/self/status": "CapEff:\t000001ffffffffff\n",
  "/sys/kernel/kexec_loaded": "0\n",
};

/** A network card with bus mastering on and without a driver, whose power state nobody knows. */
const card = {
  "/sys/bus/pci/devices/0000:00:05.0/class": "0x020000\n",
  "/sys/bus/pci/devices/0000:00:05.0/power_state": "unknown\n",
  "/sys/bus/pci/devices/0000:00:05.0/config": Uint8Array.of(0x86, 0x80, 0x0e, 0x10, 0x07, 0x01, 0x10, 0),
};

test("takes a device without a driver the right to write to memory, and leaves the rest of its register", async () => {
  const host = fixtureHost({ ...able, ...card });
  const { findings } = await preflightKexec(host);
  expect(findings[0]).toMatchObject({
    severity: "blocks",
    remedies: [{ action: "bus-master-off", target: "0000:00:05.0" }],
  });
  expect(await quiesceMachine(findings, {}, host)).toEqual([
    {
      action: "bus-master-off",
      target: "0000:00:05.0",
      done: true,
      before: "bus mastering on",
      after: "off",
    },
  ]);
  const config = readFileSync(join(host.sys, "bus/pci/devices/0000:00:05.0/config"));
  expect([...config]).toEqual([0x86, 0x80, 0x0e, 0x10, 0x03, 0x01, 0x10, 0]);
  expect((await preflightKexec(host)).blocked).toBe(false);
});

test("leaves a device alone that a driver has taken meanwhile, and one that is gone", async () => {
  const before = await preflightKexec(fixtureHost({ ...able, ...card }));
  const taken = fixtureHost({ ...able, ...card }, { "/sys/bus/pci/devices/0000:00:05.0/driver": "../e1000" });
  expect(await quiesceMachine(before.findings, {}, taken)).toMatchObject([
    { done: false, after: expect.stringContaining("driver e1000 has it") },
  ]);
  expect(await quiesceMachine(before.findings, {}, fixtureHost(able))).toMatchObject([
    { done: true, after: "gone" },
  ]);
});

test("does not touch what has no remedy, and needs root for the rest", async () => {
  const unprivileged = { ...able, "/proc/self/status": "CapEff:\t0000000000000000\n" };
  const host = fixtureHost({ ...unprivileged, ...card });
  const { findings } = await preflightKexec(host);
  await expect(quiesceMachine(findings, {}, host)).rejects.toMatchObject({ exitCode: 5 });
  expect(await quiesceMachine([], {}, host)).toEqual([]);
});

test("never unmounts the root, and tells what is no longer mounted", async () => {
  const host = fixtureHost({
    ...able,
    "/proc/self/mountinfo":
      "27 1 0:40 / / rw - nfs4 server:/root rw\n28 27 0:41 / /srv rw - nfs4 server:/srv rw\n29 28 0:42 / /srv/deep rw - cifs //server/x rw\n",
  });
  const { findings } = await preflightKexec(host);
  const remedies = findings.flatMap(({ remedies: some }) => some ?? []);
  expect(remedies.map(({ target }) => target)).toEqual(["/srv/deep", "/srv"]);
  const finding = { ...findings[0]!, remedies: [{ action: "unmount" as const, target: "/" }] };
  expect(await quiesceMachine([finding], {}, host)).toMatchObject([
    { done: false, after: expect.stringContaining("root") },
  ]);
  expect(await quiesceMachine(findings, {}, fixtureHost(able))).toMatchObject([
    { after: "gone" },
    { after: "gone" },
  ]);
});

test("an idle watchdog is told, with what becomes of it at the jump", async () => {
  const idle = { ...able, "/sys/class/watchdog/watchdog0/state": "inactive\n" };
  const parameter = "/sys/module/watchdog/parameters/stop_on_reboot";
  const about = async (files: Readonly<Record<string, string>>) =>
    (await preflightKexec(fixtureHost({ ...idle, ...files }))).findings.find(
      ({ check }) => check === "watchdog",
    );
  expect(await about({})).toMatchObject({
    severity: "notes",
    advice: expect.stringContaining("Most drivers stop theirs"),
    remedies: [{ action: "arm-watchdog", target: "watchdog0" }],
  });
  expect((await about({ [parameter]: "0\n" }))?.advice).toContain("runs on over the jump");
  expect(await about({ [parameter]: "1\n" })).not.toHaveProperty("remedies");
});

test("a watchdog that is not there fails by name, and the rest goes on", async () => {
  const host = fixtureHost({ ...able, ...card, "/sys/class/watchdog/watchdog0/state": "inactive\n" });
  const { findings } = await preflightKexec(host);
  expect(await quiesceMachine(findings, {}, host)).toMatchObject([
    { action: "bus-master-off", done: true },
    { action: "arm-watchdog", done: false, after: "failed: not there any more" },
  ]);
  expect(dirname(host.sys)).toBe(dirname(host.dev));
});

test("what blocks stops the whole way unless it is ignored by name, or will be quiesced", async () => {
  const { findings } = await preflightKexec(fixtureHost({ ...able, ...card }));
  expect(whatStops(findings, {})).toEqual({ stoppedBy: ["devices"], ignored: [] });
  expect(whatStops(findings, { ignore: ["devices"] })).toEqual({ stoppedBy: [], ignored: ["devices"] });
  expect(whatStops(findings, { ignore: ["watchdog"] })).toEqual({ stoppedBy: ["devices"], ignored: [] });
  expect(whatStops(findings, { quiesce: true })).toEqual({ stoppedBy: [], ignored: [] });
});

describe("a device by its address", () => {
  const disk = {
    ...able,
    "/sys/bus/pci/devices/0000:00:04.0/class": "0x010000\n",
    "/sys/bus/pci/devices/0000:00:04.0/config": Uint8Array.of(0xf4, 0x1a, 0x01, 0x10, 0x07, 0x01, 0x10, 0),
  };
  const links = (name: string) => ({
    "/sys/bus/pci/devices/0000:00:04.0/driver": "../../../bus/pci/drivers/ahci",
    [`/sys/class/block/${name}`]: `../../devices/pci0000:00/0000:00:04.0/ata1/block/${name}`,
  });
  const devicePath = (name: string) => `/sys/devices/pci0000:00/0000:00:04.0/ata1/block/${name}`;
  const unbind = (files: Readonly<Record<string, string | Uint8Array>>, name = "sda") => {
    const host = fixtureHost({ ...disk, [`${devicePath(name)}/dev`]: "8:0\n", ...files }, links(name));
    return quiesceMachine([], { unbind: ["0000:00:04.0"] }, host);
  };

  test("keeps its driver while anything needs its disks", async () => {
    const mounted = "27 1 8:0 / / rw - ext4 /dev/sda rw\n";
    const needed = async (files: Readonly<Record<string, string>>) => (await unbind(files))[0];
    expect(await needed({ "/proc/self/mountinfo": mounted })).toMatchObject({
      done: false,
      before: "driver ahci",
      after: "needed for / on sda: left as it is",
    });
    expect((await needed({ "/proc/swaps": "Filename Type\n/dev/sda partition 1 0 -2\n" }))?.after).toContain(
      "swap on sda",
    );
    expect((await needed({ [`${devicePath("sda")}/holders/dm-0`]: "" }))?.after).toContain("dm-0 on sda");
    expect((await needed({ "/sys/fs/btrfs/1-2/devices/sda": "" }))?.after).toContain("btrfs on sda");
    expect(
      (await needed({ "/proc/self/mountinfo": "27 1 0:9 / / rw - zfs pool/root rw\n" }))?.after,
    ).toContain("ZFS");
  });

  test("is told when it is not there, or has no driver", async () => {
    const nowhere = await quiesceMachine([], { unbind: ["0000:00:09.0"] }, fixtureHost(able));
    expect(nowhere).toMatchObject([{ action: "unbind", done: false, after: "there is no such PCI device" }]);
    const free = await quiesceMachine([], { unbind: ["0000:00:04.0"] }, fixtureHost(disk));
    expect(free).toMatchObject([{ done: true, after: "no driver" }]);
  });
});
