import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseGrubEnvironment, setGrubVariable } from "../../../src/formats/grub/environment.ts";
import type { RunningKernel } from "../../../src/host/running-kernel.ts";
import { chooseKernel } from "../../../src/kexec/choice/choose.ts";
import { reusableCommandLine } from "../../../src/kexec/command-line.ts";
import { clearBootOnce, setBootOnce } from "../../../src/kexec/fallback/boot-once.ts";
import { findOldKernel } from "../../../src/kexec/fallback/old-kernel.ts";
import {
  type FallbackRecord,
  isOnTrial,
  readFallback,
  removeFallback,
  trialWords,
  writeFallback,
} from "../../../src/kexec/fallback/record.ts";
import { fallbackUnit, installUnit } from "../../../src/kexec/fallback/unit.ts";
import { planKexec } from "../../../src/kexec/plan.ts";
import { buildBzImage, buildVmlinux } from "../kernel/build-image.ts";
import { bootTree, grubEnvironment, grubHeader } from "./boot-tree.ts";

const image = buildBzImage(buildVmlinux());

/** A machine whose GRUB starts `new`, and has `old` as its second entry. */
function machine(environment = grubEnvironment({}), header = grubHeader("0")): string {
  return bootTree({
    "boot/grub/grubenv": environment,
    "boot/grub/grub.cfg": `${header}
menuentry 'New' $menuentry_id_option 'new' { linux /boot/vmlinuz-2 root=/dev/a ro
  initrd /boot/initrd.img-2 }
menuentry 'Old' $menuentry_id_option 'old' { linux /boot/vmlinuz-1 root=/dev/a ro
  initrd /boot/initrd.img-1 }
`,
    // The release in the header decides: this one is no kernel.
    "boot/vmlinuz-2": "no kernel",
    "boot/initrd.img-2": "i",
    "boot/vmlinuz-1": image,
    "boot/initrd.img-1": "i",
  });
}

async function running(root: string, commandLine: string): Promise<RunningKernel> {
  const { release } = await planKexec({ image: join(root, "boot/vmlinuz-1") }, "");
  return { release: release!, version: "", bootId: "a", commandLine };
}

describe("the old kernel", () => {
  test("is found by the release in its image, and comes back with the line that is known to work", async () => {
    const root = machine();
    const kernel = await running(root, "BOOT_IMAGE=/boot/vmlinuz-1 root=/dev/b ro rekernel.trial=00 quiet");
    const { old, entry } = await findOldKernel(await chooseKernel({ root }), kernel);
    expect(entry.id).toBe("old");
    expect(old).toEqual({
      release: kernel.release,
      image: join(root, "boot/vmlinuz-1"),
      initrds: [join(root, "boot/initrd.img-1")],
      commandLine: "root=/dev/b ro quiet",
    });
  });

  test("that was removed is no way back", async () => {
    const root = machine();
    const kernel = { ...(await running(root, "")), release: "6.0.0-gone" };
    await expect(findOldKernel(await chooseKernel({ root }), kernel)).rejects.toMatchObject({
      code: "RK-KEXEC-FALLBACK",
      exitCode: 4,
      message: expect.stringContaining("6.0.0-gone"),
    });
  });
});

describe("GRUB's entry for one boot", () => {
  const oldEntry = async (root: string) => {
    const choice = await chooseKernel({ root });
    return { choice, entry: choice.kernels.find(({ id }) => id === "old")! };
  };

  test("is the old kernel's until it is cleared, in place", async () => {
    const root = machine();
    const file = join(root, "boot/grub/grubenv");
    const inode = statSync(file).ino;
    const { choice, entry } = await oldEntry(root);
    expect(choice.kernels[choice.chosen]?.id).toBe("new");
    const { change, problem } = await setBootOnce(choice, entry, root);
    expect(problem).toBeUndefined();
    expect(change).toEqual({ kind: "grub", file, entry: "old" });
    const then = await chooseKernel({ root });
    expect(then.kernels[then.chosen]?.id).toBe("old");
    await clearBootOnce(change!);
    expect(readFileSync(file, "latin1")).toBe(grubEnvironment({}));
    expect(statSync(file)).toMatchObject({ ino: inode, size: 1024 });
  });

  test("gives way to what stood there before, and to what was set meanwhile", async () => {
    const root = machine(grubEnvironment({ saved_entry: "x", next_entry: "new" }));
    const file = join(root, "boot/grub/grubenv");
    const { choice, entry } = await oldEntry(root);
    const { change } = await setBootOnce(choice, entry, root);
    await clearBootOnce(change!);
    expect(parseGrubEnvironment(readFileSync(file, "latin1"), file)).toEqual(
      new Map([
        ["saved_entry", "x"],
        ["next_entry", "new"],
      ]),
    );
    // Set by somebody else since: not ours to clear.
    await clearBootOnce({ ...change!, previous: "older" });
    expect(readFileSync(file, "latin1")).toContain("next_entry=new\n");
  });

  test("is taken back where GRUB's configuration does not look at it", async () => {
    const root = machine(grubEnvironment({}), "set default=0\nmenuentry_id_option=--id\n");
    const { choice, entry } = await oldEntry(root);
    const once = await setBootOnce(choice, entry, root);
    expect(once).toEqual({ change: undefined, problem: expect.stringContaining("next_entry") });
    expect(readFileSync(join(root, "boot/grub/grubenv"), "latin1")).toBe(grubEnvironment({}));
  });

  test("cannot be set without an environment block, or for a kernel that no menu has", async () => {
    const root = machine("damaged");
    const { choice, entry } = await oldEntry(root);
    expect((await setBootOnce(choice, entry, root)).problem).toContain("not an environment block");
    expect((await setBootOnce(choice, { ...entry, source: "folder" }, root)).problem).toContain("menu");
    expect((await setBootOnce({ ...choice, loader: "none" }, entry, root)).change).toBeUndefined();
  });
});

describe("a variable of an environment block", () => {
  const block = grubEnvironment({ saved_entry: "a>b", kernelopts: "root=/dev/a quiet" });

  test("is set and taken out, and all else stays", () => {
    const set = setGrubVariable(block, "grubenv", "next_entry", "1>2");
    expect(set).toHaveLength(1024);
    expect(parseGrubEnvironment(set, "grubenv").get("next_entry")).toBe("1>2");
    expect(setGrubVariable(set, "grubenv", "next_entry", undefined)).toBe(block);
    expect(
      parseGrubEnvironment(setGrubVariable(set, "grubenv", "next_entry", "3"), "g").get("next_entry"),
    ).toBe("3");
  });

  test("finds no room for what does not fit", () => {
    expect(() => setGrubVariable(block, "grubenv", "x", "y".repeat(1024))).toThrow("no room");
    expect(() => setGrubVariable("random", "grubenv", "x", "y")).toThrow("not an environment block");
  });

  test("comes back as it was written, whatever it holds", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme-ascii", maxLength: 200 }), (value) => {
        const set = setGrubVariable(block, "grubenv", "next_entry", value);
        expect(set).toHaveLength(1024);
        const read = parseGrubEnvironment(set, "grubenv");
        expect(read.get("next_entry")).toBe(value);
        expect(read.get("saved_entry")).toBe("a>b");
      }),
    );
  });
});

describe("the record", () => {
  const record: FallbackRecord = {
    version: 1,
    trial: "0123456789abcdef",
    minutes: 5,
    armedAt: "2026-11-22T05:00:00.000Z",
    armedBoot: "a",
    next: { image: "/boot/vmlinuz-2" },
    old: { release: "1", image: "/boot/vmlinuz-1", initrds: [], commandLine: "ro" },
    files: [],
    panicSeconds: 0,
  };

  test("is read as it was written, by root alone, and gone when it is removed", async () => {
    const file = join(bootTree({}), "var/lib/rekernel/fallback.json");
    expect(await readFallback(file)).toBeUndefined();
    await writeFallback(record, file);
    expect(await readFallback(file)).toEqual(record);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await removeFallback(file);
    expect(await readFallback(file)).toBeUndefined();
  });

  test("that is damaged is refused", async () => {
    for (const text of [
      "",
      "{}",
      JSON.stringify({ ...record, trial: "x" }),
      JSON.stringify({ ...record, minutes: -1 }),
    ])
      await expect(readFallback(join(bootTree({ record: text }), "record"))).rejects.toMatchObject({
        code: "RK-KEXEC-FALLBACK",
      });
  });

  test("knows the kernel on trial by the word on its command line alone", () => {
    expect(isOnTrial(record, "ro rekernel.trial=0123456789abcdef panic=15")).toBe(true);
    expect(isOnTrial(record, "ro rekernel.trial=0123456789abcdef0")).toBe(false);
    expect(isOnTrial(record, "ro")).toBe(false);
  });
});

test("a kernel on trial reboots after a panic, unless its line says when already", () => {
  expect(trialWords("ab", "ro quiet")).toBe("rekernel.trial=ab panic=15");
  expect(trialWords("ab", "panic=30 ro panic=0")).toBe("rekernel.trial=ab panic=15");
  expect(trialWords("ab", "ro panic=-1")).toBe("rekernel.trial=ab");
  expect(reusableCommandLine("ro rekernel.trial=ab panic=15")).toBe("ro panic=15");
});

test("the unit runs this program early in every boot", async () => {
  const folder = join(bootTree({}), "etc/systemd/system");
  const files = await installUnit(["/opt/re kernel/re%k$l"], "6.1.0-1", folder);
  expect(readFileSync(files[0]!, "utf8")).toBe(fallbackUnit(["/opt/re kernel/re%k$l"], "6.1.0-1"));
  expect(readFileSync(files[1]!, "utf8")).toContain(
    'ExecStart="/opt/re kernel/re%%k$$l" "kexec" "fallback-watch"\n',
  );
  expect(files[1]).toContain("/sysinit.target.wants/");
  expect(await installUnit(["/x"], "6.1.0-1", folder)).toEqual(files);
});
