import { mkdirSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { networkOf, readBlockDevices, stackOf } from "../../../src/host/block-devices.ts";
import { parseFrameBuffers } from "../../../src/host/displays.ts";
import { hibernationImage, isHibernationImage, resumeDevice } from "../../../src/host/hibernation.ts";
import { parseInhibitor, readInhibitors } from "../../../src/host/inhibitors.ts";
import { parseMemoryInfo } from "../../../src/host/memory.ts";
import { parseMountInfo } from "../../../src/host/mounts.ts";
import { parseBusMaster, parseClass, readPciDevices } from "../../../src/host/pci.ts";
import { readHead } from "../../../src/host/pseudo-files.ts";
import { damageOf } from "../../../src/host/taint.ts";
import { readVirtualMachines } from "../../../src/host/virtual-machines.ts";
import { fixtureHost } from "./fixture-host.ts";

/** Text of any kind, and lines that look a little like the right ones. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc
    .array(
      fc.constantFrom(...'0123456789:/- \n\\=abk"AWHTMODE'.split(""), "WHAT=", "MODE=", " - ", " kB\n"),
      {
        maxLength: 120,
      },
    )
    .map((parts) => parts.join("")),
);

describe("mounts", () => {
  test("are read with optional fields, octal blanks and options of the file system", () => {
    const text = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
60 27 0:45 / /srv/a\\040b rw shared:30 - nfs4 files:/export/a\\134b rw,vers=4.2,addr=192.0.2.1
61 27 0:46 / /mnt ro - 9p root ro,trans=virtio
damaged line
`;
    expect(parseMountInfo(text).slice(1)).toEqual([
      { device: "254:0", mountPoint: "/", type: "ext4", source: "/dev/vda", options: ["rw", "discard"] },
      {
        device: "0:45",
        mountPoint: "/srv/a b",
        type: "nfs4",
        source: "files:/export/a\\b",
        options: ["rw", "vers=4.2", "addr=192.0.2.1"],
      },
      { device: "0:46", mountPoint: "/mnt", type: "9p", source: "root", options: ["ro", "trans=virtio"] },
    ]);
  });

  test("of any text are as many as lines at most", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const mounts = parseMountInfo(text);
        expect(mounts.length).toBeLessThanOrEqual(text.split("\n").length);
        for (const { device, type, source } of mounts) {
          expect(device).toMatch(/^\d+:\d+$/);
          expect([typeof type, typeof source]).toEqual(["string", "string"]);
        }
      }),
    );
  });
});

describe("PCI devices", () => {
  // The first bytes of an e1000 and of an ISA bridge, as qemu has them.
  const header = (command: number) =>
    Uint8Array.of(0x86, 0x80, 0x0e, 0x10, command & 0xff, command >> 8, 0x10, 0);

  test("are bus masters by bit 2 of the command register", () => {
    expect(parseBusMaster(header(0x0107))).toBe(true);
    expect(parseBusMaster(header(0x0103))).toBe(false);
    expect(parseBusMaster(header(0xffff))).toBeUndefined();
    expect(parseBusMaster(header(7).subarray(0, 5))).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect([true, false, undefined]).toContain(parseBusMaster(bytes));
      }),
    );
  });

  test("have a class of 24 bits", () => {
    expect(parseClass("0x010802")).toBe(0x010802);
    for (const text of ["", "010802", "0x", "0x1010802", "0x01\n"]) expect(parseClass(text)).toBeUndefined();
  });

  test("are read with their drivers, and one in D3cold is not woken", async () => {
    const folder = (address: string) => `/sys/bus/pci/devices/${address}`;
    const host = fixtureHost(
      {
        [`${folder("0000:00:02.0")}/class`]: "0x018000\n",
        [`${folder("0000:00:02.0")}/power_state`]: "D0\n",
        [`${folder("0000:00:02.0")}/config`]: header(0x0604),
        [`${folder("0000:01:00.0")}/class`]: "0x030200\n",
        [`${folder("0000:01:00.0")}/power_state`]: "D3cold\n",
        // Reading a folder would fail.
        [`${folder("0000:01:00.0")}/config/`]: "",
        [`${folder("..evil")}/class`]: "0x030200\n",
      },
      { [`${folder("0000:00:02.0")}/driver`]: "../../../bus/pci/drivers/virtio-pci" },
    );
    expect(await readPciDevices(host)).toEqual([
      {
        address: "0000:00:02.0",
        classCode: 0x018000,
        driver: "virtio-pci",
        powerState: "D0",
        busMaster: true,
      },
      {
        address: "0000:01:00.0",
        classCode: 0x030200,
        driver: undefined,
        powerState: "D3cold",
        busMaster: false,
      },
    ]);
    expect(await readPciDevices(fixtureHost({}))).toEqual([]);
  });
});

describe("block devices", () => {
  test("are stacked, and a circle of them ends", async () => {
    const host = fixtureHost(
      {
        "/sys/class/block/dm-1/dev": "254:1\n",
        "/sys/class/block/dm-1/dm/name": "vg-root\n",
        "/sys/class/block/dm-1/dm/uuid": "LVM-abc\n",
        "/sys/class/block/dm-0/dm/name": "vda3_crypt\n",
        "/sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-0123-vda3_crypt\n",
        "/sys/class/block/vda3/dev": "253:3\n",
      },
      {
        "/sys/class/block/dm-1/slaves/dm-0": "../../dm-0",
        "/sys/class/block/dm-0/slaves/vda3": "../../vda3",
        "/sys/class/block/dm-0/slaves/dm-1": "../../dm-1",
      },
    );
    const all = await readBlockDevices(host);
    expect(stackOf(all.get("dm-1")!, all).map(({ name }) => name)).toEqual(["dm-1", "dm-0", "vda3"]);
  });
});

test("block devices that the network brings are known by their path or name", () => {
  const fabrics = "../../devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1";
  const local = "../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0/nvme0n1";
  expect(networkOf("nvme0n1", fabrics)).toBe("NVMe over Fabrics");
  expect(networkOf("nvme0n1", local)).toBeUndefined();
  expect(networkOf("nbd0p1", "../../devices/virtual/block/nbd0/nbd0p1")).toBe("NBD");
  expect(networkOf("rbd0", "../../devices/rbd/0/block/rbd0")).toBe("RBD");
});

describe("inhibitors", () => {
  const text = `# This is private data. Do not parse.
WHAT=shutdown:sleep
MODE=block
UID=0
PID=4242
WHO="Unattended Upgrades Shutdown"
WHY="Stop ongoing upgrades or \\"finish\\" them"
FIFO=/run/systemd/inhibit/1.ref
`;

  test("are read as logind writes them", () => {
    expect(parseInhibitor(text)).toEqual({
      what: ["shutdown", "sleep"],
      mode: "block",
      who: "Unattended Upgrades Shutdown",
      why: 'Stop ongoing upgrades or "finish" them',
      pid: 4242,
    });
    expect(parseInhibitor("WHAT=idle\n")).toBeUndefined();
    fc.assert(fc.property(anyText, (any) => void parseInhibitor(any)));
  });

  test("count while their process lives", async () => {
    const at = "/run/systemd/inhibit";
    const host = fixtureHost({
      [`${at}/1`]: text,
      [`${at}/1.ref`]: "",
      [`${at}/2`]: text.replace("4242", "4243"),
      [`${at}/3`]: "\0".repeat(100_000),
      [`${at}/4/`]: "",
      "/proc/4242/comm": "python3\n",
    });
    expect((await readInhibitors(host)).map(({ pid }) => pid)).toEqual([4242]);
  });
});

describe("a hibernation image", () => {
  const swap = (mark: string) => {
    const page = Buffer.alloc(2 * 4096);
    page.write(mark, 4096 - 10, "latin1");
    return page;
  };
  const machine = (mark: string, more: Record<string, string> = {}) =>
    fixtureHost({
      "/sys/power/resume": "254:2\n",
      "/sys/dev/block/254:2/uevent": "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\n",
      "/dev/vda2": swap(mark),
      ...more,
    });

  test("is known by the end of swap's first page", async () => {
    expect(await hibernationImage(machine("S1SUSPEND\0"))).toMatchObject({ waiting: true });
    expect(await hibernationImage(machine("SWAPSPACE2"))).toMatchObject({ waiting: false });
    expect(
      await hibernationImage(machine("S1SUSPEND\0", { "/sys/power/resume_offset": "1\n" })),
    ).toMatchObject({ waiting: false });
    expect(await hibernationImage(machine("", { "/sys/power/resume": "0:0\n" }))).toBeUndefined();
    expect(await hibernationImage(fixtureHost({}))).toBeUndefined();
  });

  test("is looked for below /dev only", async () => {
    const uevent = { "/sys/dev/block/254:2/uevent": "DEVNAME=../../etc/shadow\n" };
    expect(await resumeDevice(machine("", uevent))).toBeUndefined();
    const mapped = { "/sys/dev/block/254:2/uevent": "DEVNAME=mapper/swap\n" };
    expect((await resumeDevice(machine("", mapped)))?.path).toMatch(/\/dev\/mapper\/swap$/);
  });

  test("needs a whole mark", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (page) => void isHibernationImage(page)));
    expect(isHibernationImage(Buffer.from("S1SUSPEND"))).toBe(false);
  });
});

describe("virtual machines", () => {
  const processes = {
    "/proc/77/comm": "qemu-system-x86\n",
    "/proc/77/cmdline": "qemu-system-x86_64\0",
    "/proc/78/comm": "libvirtd\n",
    "/proc/78/cmdline": "libvirtd\0",
  };
  const descriptors = {
    "/proc/77/fd/9": "/dev/kvm",
    "/proc/77/fd/11": "anon_inode:kvm-vm",
    "/proc/78/fd/9": "/dev/kvm",
  };

  test("are the processes that hold one, not those that hold /dev/kvm", async () => {
    const host = fixtureHost({ ...processes, "/sys/module/kvm_intel/refcnt": "3\n" }, descriptors);
    expect(await readVirtualMachines(host)).toEqual({
      machines: [{ pid: 77, command: "qemu-system-x86" }],
      hiddenProcesses: 0,
      inUse: true,
    });
  });

  test("are not looked for where KVM has no users, or is not there", async () => {
    const unused = fixtureHost({ ...processes, "/sys/module/kvm_amd/refcnt": "0\n" }, descriptors);
    expect(await readVirtualMachines(unused)).toMatchObject({ machines: [], inUse: false });
    const without = fixtureHost(processes, descriptors);
    expect(await readVirtualMachines(without)).toMatchObject({ machines: [], inUse: undefined });
    const builtIn = fixtureHost({ ...processes, "/dev/kvm": "" }, descriptors);
    expect((await readVirtualMachines(builtIn)).machines).toHaveLength(1);
  });
});

test("frame buffers, memory and taint are read", () => {
  expect(parseFrameBuffers("0 EFI VGA\n1 i915drmfb\n")).toEqual(["EFI VGA", "i915drmfb"]);
  const memory = parseMemoryInfo(
    "MemTotal:       24684084 kB\nDirty:             96916 kB\nHugePages_Total:       0\n",
  );
  expect([...memory]).toEqual([
    ["MemTotal", 24684084 * 1024],
    ["Dirty", 96916 * 1024],
  ]);
  expect(damageOf(0n)).toEqual([]);
  // Out-of-tree and unsigned modules, and an oops: 12288 + 128.
  expect(damageOf(12416n)).toEqual([expect.stringContaining("oops")]);
  fc.assert(
    fc.property(anyText, (text) => {
      for (const bytes of parseMemoryInfo(text).values()) expect(Number.isSafeInteger(bytes)).toBe(true);
      parseFrameBuffers(text);
    }),
  );
});

test("a file's head is never more than asked for", async () => {
  const host = fixtureHost({ "/proc/big": "x".repeat(300_000), "/proc/small": "abc" });
  expect(await readHead(`${host.proc}/big`, 200_000)).toHaveLength(200_000);
  expect((await readHead(`${host.proc}/small`, 10, 1))?.toString()).toBe("bc");
  expect(await readHead(`${host.proc}/none`, 10)).toBeUndefined();
  mkdirSync(`${host.proc}/folder`);
  await expect(readHead(`${host.proc}/folder`, 10)).rejects.toMatchObject({ code: "EISDIR" });
  // Endless, and a pipe without a writer would be, too.
  expect(await readHead("/dev/zero", 70_000)).toHaveLength(70_000);
});
