import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { kexecListDocument } from "../../../src/documents/kexec.ts";
import type { KernelChoice } from "../../../src/kexec/choice/boot-kernel.ts";
import { chooseKernel } from "../../../src/kexec/choice/choose.ts";
import { comparePackages } from "../../../src/kexec/choice/grub.ts";
import { compareReleases } from "../../../src/kexec/choice/plain.ts";
import { requestOfChoice } from "../../../src/kexec/choice/request.ts";
import { rekernel } from "../cli/run.ts";
import { buildUki } from "../formats/build-pe.ts";
import { bootTree, debianEntries, efiVariable, grubEnvironment, grubHeader } from "./boot-tree.ts";

const newest = "6.1.0-28-amd64";
const older = "6.1.0-9-amd64";
/** What grub-mkconfig makes of GRUB_DEFAULT=saved. */
const savedEntry = "$" + "{saved_entry}";

/** The chosen one with paths below the tree's root. */
function chosenOf(choice: KernelChoice, root: string) {
  const { id, image, initrds, commandLine } = choice.kernels[choice.chosen]!;
  const inTree = (path: string) => path.replace(root, "");
  return { id, image: image && inTree(image), initrds: initrds.map(inTree), commandLine };
}

describe("Debian with GRUB", () => {
  const uuid = "3f6c1c1e-0d4b-4f0a-8d6e-5f6f7d1b2a3c";
  const line = `root=UUID=${uuid} ro quiet`;
  const advanced = (release: string) => `gnulinux-advanced-${uuid}>gnulinux-${release}-advanced-${uuid}`;
  const debian = (chosen: string, more: Record<string, string | Uint8Array> = {}) =>
    bootTree({
      "boot/grub/grub.cfg": grubHeader(chosen) + debianEntries([newest, older]),
      "boot/grub/grubenv": grubEnvironment({}),
      [`boot/vmlinuz-${newest}`]: "k",
      [`boot/initrd.img-${newest}`]: "i",
      [`boot/vmlinuz-${older}`]: "k",
      [`boot/initrd.img-${older}`]: "i",
      ...more,
    });

  test("takes the first entry by default, with its command line and initrd", async () => {
    const root = debian("0");
    const choice = await chooseKernel({ root });
    expect(choice.loader).toBe("grub");
    expect(choice.notes).toEqual([]);
    expect(choice.reason).toMatch(/^GRUB takes entry 0: \/.*grub\.cfg sets the default “0”\.$/);
    expect(chosenOf(choice, root)).toEqual({
      id: `gnulinux-simple-${uuid}`,
      image: `/boot/vmlinuz-${newest}`,
      initrds: [`/boot/initrd.img-${newest}`],
      commandLine: line,
    });
    expect(choice.kernels).toHaveLength(5);
    expect(choice.kernels[1]).toMatchObject({
      title: `Advanced options for Debian GNU/Linux > Debian GNU/Linux, with Linux ${newest}`,
      version: newest,
      problem: undefined,
    });
    kexecListDocument.parse(JSON.parse(JSON.stringify(choice)));
  });

  test.each([
    ["1>2", older],
    [advanced(older), older],
    [`gnulinux-advanced-${uuid}>2`, older],
    [`Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux ${older}`, older],
    ["1", newest],
  ])("GRUB_DEFAULT=%s names an entry of the submenu", async (name, release) => {
    const choice = await chooseKernel({ root: debian(name) });
    expect(choice.kernels[choice.chosen]).toMatchObject({ id: advanced(release), version: release });
  });

  test("a saved entry, and one for the next boot only", async () => {
    const saved = grubEnvironment({ saved_entry: advanced(older) });
    const bySaved = await chooseKernel({ root: debian(savedEntry, { "boot/grub/grubenv": saved }) });
    expect(bySaved.kernels[bySaved.chosen]!.version).toBe(older);
    expect(bySaved.reason).toContain("GRUB takes entry 1>2: grubenv's saved_entry names “gnulinux-advanced");
    const next = grubEnvironment({ saved_entry: advanced(older), next_entry: "0" });
    const byNext = await chooseKernel({ root: debian(savedEntry, { "boot/grub/grubenv": next }) });
    expect(byNext.chosen).toBe(0);
    expect(byNext.reason).toContain("grubenv's next_entry, for one boot, names “0”");
    const none = await chooseKernel({ root: debian(savedEntry) });
    expect(none.chosen).toBe(0);
    expect(none.reason).toContain("none is saved");
  });

  test("an entry that is gone means the first", async () => {
    const choice = await chooseKernel({ root: debian("gnulinux-5.10") });
    expect(choice.chosen).toBe(0);
    expect(choice.reason).toContain("“gnulinux-5.10”, which is not in its menu");
  });

  test("entries of custom.cfg, and kernels that no entry names", async () => {
    const root = debian("mine", {
      "boot/grub/custom.cfg":
        "menuentry 'Mine' --id mine {\n  linux ($root)/boot/vmlinuz-mine root=/dev/vda \\\n    quiet\n}\n",
      "boot/vmlinuz-mine": "k",
      "boot/vmlinuz-6.12.1": "k",
      "proc/cmdline": "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro\n",
    });
    const choice = await chooseKernel({ root });
    expect(chosenOf(choice, root)).toEqual({
      id: "mine",
      image: "/boot/vmlinuz-mine",
      initrds: [],
      commandLine: "root=/dev/vda quiet",
    });
    expect(choice.kernels.at(-1)).toMatchObject({
      source: "folder",
      version: "6.12.1",
      commandLine: "root=/dev/sda1 ro",
    });
  });

  test("a kernel that is not there, a path out of the partition and another system are told", async () => {
    const entries = [
      "menuentry 'Gone' { linux /boot/vmlinuz-gone ro }",
      "menuentry 'Escapes' { linux /boot/../../etc/shadow ro }",
      `menuentry 'Long' { linux /boot/${"x".repeat(300)} }`,
      "menuentry 'Win\u001bdows' { chainloader /EFI/Microsoft/Boot/bootmgfw.efi }",
    ];
    const root = bootTree({ "boot/grub/grub.cfg": `set default=3\n${entries.join("\n")}\n` });
    const choice = await chooseKernel({ root });
    expect(choice.kernels.map(({ problem }) => problem)).toEqual([
      `its kernel ${root}/boot/vmlinuz-gone is not there`,
      "its kernel /boot/../../etc/shadow is not there",
      `its kernel ${root}/boot/${"x".repeat(300)} is not there`,
      "it starts no Linux kernel",
    ]);
    expect(() => requestOfChoice(choice)).toThrow(
      /A reboot would start “Win\ufffddows”, but kexec cannot load it/,
    );
  });

  test("a separate /boot partition and a btrfs subvolume", async () => {
    const root = bootTree({
      "boot/grub/grub.cfg":
        "menuentry 'Boot' { linux /vmlinuz-1 ro\n initrd /ucode.img /initrd.img-1\n}\nmenuentry 'Subvolume' { linux /@/boot/vmlinuz-1 }\n",
      "boot/vmlinuz-1": "k",
      "boot/initrd.img-1": "i",
      "boot/ucode.img": "u",
    });
    const { kernels, reason } = await chooseKernel({ root });
    expect(reason).toBe(`GRUB takes entry 0: ${root}/boot/grub/grub.cfg sets no default.`);
    expect(kernels.map(({ image }) => image)).toEqual(Array(2).fill(`${root}/boot/vmlinuz-1`));
    expect(kernels[0]!.initrds).toEqual([`${root}/boot/ucode.img`, `${root}/boot/initrd.img-1`]);
  });

  test("a damaged configuration is told, and the newest kernel of /boot is taken", async () => {
    const root = debian("0", { "boot/grub/grub.cfg": "menuentry 'x' {\n linux 'y\n" });
    const choice = await chooseKernel({ root });
    expect(choice).toMatchObject({ loader: "none", chosen: 0 });
    expect(choice.notes[0]).toMatch(/grub\.cfg, line 2: a quote is not closed/);
    expect(choice.kernels[0]!.version).toBe(newest);
    const tooLarge = debian("0", { "boot/grub/grub.cfg": new Uint8Array(1024 * 1024 + 1) });
    expect((await chooseKernel({ root: tooLarge })).notes[0]).toMatch(/larger than 1 MiB/);
  });

  test("a damaged grubenv is told", async () => {
    const choice = await chooseKernel({ root: debian("0", { "boot/grub/grubenv": "random" }) });
    expect(choice.notes).toEqual([expect.stringContaining("is not an environment block")]);
    expect(choice.chosen).toBe(0);
  });
});

describe("Fedora with entry files read by GRUB", () => {
  const machine = "2f1b0a5c7e6d4f3a8b9c0d1e2f3a4b5c";
  const entry = (release: string, version = release) => `title Fedora Linux (${version}) 42 (Server Edition)
version ${version}
linux /vmlinuz-${release}
initrd /initramfs-${release}.img $tuned_initrd
options root=/dev/mapper/fedora-root ro $kernelopts $tuned_params
grub_users $grub_users
grub_arg --unrestricted
grub_class fedora
`;
  const fedora = (environment: Record<string, string>) =>
    bootTree({
      "boot/grub2/grub.cfg": `${grubHeader(savedEntry)}
insmod blscfg
blscfg
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
`,
      "boot/grub2/grubenv": grubEnvironment(environment),
      [`boot/loader/entries/${machine}-6.14.0-63.fc42.x86_64.conf`]: entry("6.14.0-63.fc42.x86_64"),
      [`boot/loader/entries/${machine}-6.14.11-300.fc42.x86_64.conf`]: entry("6.14.11-300.fc42.x86_64"),
      [`boot/loader/entries/${machine}-6.14.9-300.fc42.x86_64.conf`]: entry("6.14.9-300.fc42.x86_64"),
      [`boot/loader/entries/${machine}-0-rescue.conf`]: entry(`0-rescue-${machine}`),
      "boot/loader/entries/broken.conf": "title Broken\n",
      ...Object.fromEntries(
        [
          "6.14.0-63.fc42.x86_64",
          "6.14.11-300.fc42.x86_64",
          "6.14.9-300.fc42.x86_64",
          `0-rescue-${machine}`,
        ].flatMap((release) => [
          [`boot/vmlinuz-${release}`, "k"],
          [`boot/initramfs-${release}.img`, "i"],
        ]),
      ),
    });

  test("sorts the newest first and expands variables", async () => {
    const root = fedora({ kernelopts: "rhgb quiet" });
    const choice = await chooseKernel({ root });
    expect(choice.kernels.map(({ version }) => version)).toEqual([
      "6.14.11-300.fc42.x86_64",
      "6.14.9-300.fc42.x86_64",
      "6.14.0-63.fc42.x86_64",
      `0-rescue-${machine}`,
      undefined,
    ]);
    expect(chosenOf(choice, root)).toEqual({
      id: `${machine}-6.14.11-300.fc42.x86_64`,
      image: "/boot/vmlinuz-6.14.11-300.fc42.x86_64",
      initrds: ["/boot/initramfs-6.14.11-300.fc42.x86_64.img"],
      commandLine: "root=/dev/mapper/fedora-root ro rhgb quiet",
    });
    expect(choice.notes).toEqual([
      `${root}/boot/loader/entries/broken.conf is left out: it names no kernel.`,
    ]);
  });

  test("takes what grubby saved", async () => {
    const id = `${machine}-6.14.0-63.fc42.x86_64`;
    const choice = await chooseKernel({ root: fedora({ saved_entry: id }) });
    expect(choice.kernels[choice.chosen]!.id).toBe(id);
  });
});

describe("systemd-boot", () => {
  const entry = (version: string, more = "") => `title Arch Linux
sort-key arch
machine-id 309de666fd5044268a9a26541ac93176
version ${version}
linux /309de/${version}/linux
initrd /intel-ucode.img
initrd /309de/${version}/initrd
options root=PARTUUID=1
options rw
${more}`;
  const systemd = (files: Record<string, string | Uint8Array>) =>
    bootTree({
      "efi/loader/loader.conf": "timeout 3\n",
      "efi/intel-ucode.img": "u",
      ...Object.fromEntries(
        ["6.9.1", "6.10.1", "6.11.1"].flatMap((version) => [
          [`efi/309de/${version}/linux`, "k"],
          [`efi/309de/${version}/initrd`, "i"],
        ]),
      ),
      "efi/loader/entries/309de-6.9.1.conf": entry("6.9.1"),
      "efi/loader/entries/309de-6.10.1.conf": entry("6.10.1"),
      "efi/loader/entries/309de-6.11.1+0-3.conf": entry("6.11.1"),
      ...files,
    });
  const variable = (name: string, text: string) => ({
    [`sys/firmware/efi/efivars/${name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f`]: efiVariable(text),
  });

  test("takes the newest that is not bad, with all its initrds", async () => {
    const root = systemd({});
    const choice = await chooseKernel({ root });
    expect(choice).toMatchObject({ loader: "systemd-boot", notes: [] });
    expect(choice.kernels.map(({ id, triesLeft }) => [id, triesLeft])).toEqual([
      ["309de-6.10.1", undefined],
      ["309de-6.9.1", undefined],
      ["309de-6.11.1", 0],
    ]);
    expect(chosenOf(choice, root)).toEqual({
      id: "309de-6.10.1",
      image: "/efi/309de/6.10.1/linux",
      initrds: ["/efi/intel-ucode.img", "/efi/309de/6.10.1/initrd"],
      commandLine: "root=PARTUUID=1 rw",
    });
    kexecListDocument.parse(JSON.parse(JSON.stringify(choice)));
  });

  test.each([
    ["default *-6.9.1.conf", {}, "309de-6.9.1", "by “default” in"],
    ["default 309DE-6.9.?", {}, "309de-6.9.1", "by “default” in"],
    [
      "default @saved",
      variable("LoaderEntryLastBooted", "309de-6.9.1.conf"),
      "309de-6.9.1",
      "takes the last",
    ],
    [
      "default 309de-6.10*",
      variable("LoaderEntryDefault", "309de-6.9.1.conf"),
      "309de-6.9.1",
      "EntryDefault",
    ],
    [
      "default 309de-6.10*",
      variable("LoaderEntryOneShot", "309de-6.11.1+0-3.conf"),
      "309de-6.11.1",
      "for one boot",
    ],
    ["default auto-windows", {}, "309de-6.10.1", "“auto-windows”, which is wished"],
  ])("%s with %o", async (line, variables, id, reason) => {
    const root = systemd({ "efi/loader/loader.conf": `#default x\n${line}\n`, ...variables });
    const choice = await chooseKernel({ root });
    expect(choice.kernels[choice.chosen]!.id).toBe(id);
    expect(choice.reason).toContain(reason);
  });

  test("unified images are sorted among the others; what is none, or for another machine, is told", async () => {
    const root = systemd({
      "efi/EFI/Linux/arch-7.1+2.efi": buildUki([
        [".osrel", 'ID=arch\nPRETTY_NAME="Arch Linux"\nIMAGE_VERSION=7.1\n'],
        [".cmdline", "root=LABEL=x"],
        [".linux", "k"],
      ]),
      "efi/EFI/Linux/broken.efi": "MZ",
      "efi/loader/entries/arm.conf": entry("6.9.1", "architecture aa64\n"),
      "efi/loader/entries/shell.conf": "title Shell\nefi /shell.efi\n",
      "efi/loader/entries/nothing.conf": "",
      "efi/loader/entries/escape.conf": "linux /../../etc/shadow\n",
    });
    const choice = await chooseKernel({ root });
    // Without a machine id it stands above those that have one.
    expect(choice.chosen).toBe(0);
    expect(choice.kernels[0]).toMatchObject({
      source: "unified-image",
      id: "arch-7.1",
      title: "Arch Linux",
      version: "7.1",
      image: join(root, "efi/EFI/Linux/arch-7.1+2.efi"),
      triesLeft: 2,
      triesDone: 0,
      commandLine: undefined,
    });
    expect(choice.kernels.find(({ id }) => id === "shell")).toMatchObject({
      image: undefined,
      problem: "it starts an EFI program, not a kernel",
    });
    expect(choice.kernels.find(({ id }) => id === "escape")!.problem).toBe(
      "its kernel /../../etc/shadow is not there",
    );
    expect(choice.notes.join("\n")).toMatch(
      /arm\.conf.*aa64[\s\S]*nothing\.conf.*no kernel[\s\S]*broken\.efi is left out/,
    );
  });

  test("which of two boot loaders ran last decides", async () => {
    const both = {
      "boot/grub/grub.cfg": "menuentry 'Grub' { linux /boot/vmlinuz-1 }\n",
      "boot/vmlinuz-1": "k",
    };
    const load = (info: string) =>
      chooseKernel({ root: systemd({ ...both, ...variable("LoaderInfo", info) }) });
    expect((await load("systemd-boot 257.5")).loader).toBe("systemd-boot");
    expect((await load("GRUB 2.12")).loader).toBe("grub");
    const unknown = await chooseKernel({
      root: systemd({ ...both, "sys/firmware/efi/fw_platform_size": "64" }),
    });
    expect(unknown.loader).toBe("grub");
    expect(unknown.notes[0]).toMatch(/Both GRUB and systemd-boot/);
  });
});

describe("plain /boot", () => {
  test("takes the newest kernel with the running command line", async () => {
    const root = bootTree({
      "boot/vmlinuz-6.1.0-9-amd64": "k",
      "boot/vmlinuz-6.1.0-28-amd64": "k",
      "boot/vmlinuz-6.1.0-28-amd64.old": "k",
      "boot/initrd.img-6.1.0-28-amd64": "i",
      "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/vda ro\n",
    });
    symlinkSync("vmlinuz-6.1.0-28-amd64", join(root, "boot/vmlinuz"));
    const choice = await chooseKernel({ root });
    expect(choice.loader).toBe("none");
    expect(chosenOf(choice, root)).toEqual({
      id: "vmlinuz-6.1.0-28-amd64",
      image: "/boot/vmlinuz-6.1.0-28-amd64",
      initrds: ["/boot/initrd.img-6.1.0-28-amd64"],
      commandLine: "root=/dev/vda ro",
    });
    expect(choice.kernels.map(({ version }) => version)).toEqual([
      "6.1.0-28-amd64",
      "6.1.0-28-amd64.old",
      "6.1.0-9-amd64",
    ]);
  });

  test("release candidates come before their release", () => {
    const releases = [
      "6.13.0-rc3",
      "6.13.0",
      "6.9.1",
      "6.13.0-rc10",
      "6.12.117+deb12-amd64",
      "6.12.9+deb12-amd64",
    ];
    expect(releases.sort(compareReleases)).toEqual([
      "6.9.1",
      "6.12.9+deb12-amd64",
      "6.12.117+deb12-amd64",
      "6.13.0-rc3",
      "6.13.0-rc10",
      "6.13.0",
    ]);
  });

  test("no kernel at all, and no such root", async () => {
    await expect(chooseKernel({ root: bootTree({ "boot/x": "" }) })).rejects.toMatchObject({
      code: "RK-NO-KERNEL",
      exitCode: 1,
    });
    await expect(chooseKernel({ root: "/nonexistent" })).rejects.toMatchObject({ code: "RK-FILE" });
  });

  test("what may not be read is not passed over", async ({ skip }) => {
    if (process.getuid?.() === 0) skip("root may read everything");
    const root = bootTree({ "boot/vmlinuz-1": "k" });
    mkdirSync(join(root, "efi/loader"), { recursive: true });
    chmodSync(join(root, "efi"), 0);
    await expect(chooseKernel({ root })).rejects.toMatchObject({ code: "RK-PERMISSION", exitCode: 5 });
    chmodSync(join(root, "efi"), 0o755);
  });
});

test("what is asked for otherwise goes before what the boot loader says", async () => {
  const root = bootTree({
    "boot/grub/grub.cfg":
      "menuentry 'A' { linux /boot/vmlinuz-1 root=/dev/a\n initrd /boot/initrd.img-1\n}\n",
    "boot/vmlinuz-1": "k",
    "boot/initrd.img-1": "i",
  });
  const choice = await chooseKernel({ root });
  const [image, initrd] = [join(root, "boot/vmlinuz-1"), join(root, "boot/initrd.img-1")];
  expect(requestOfChoice(choice, { append: "x" })).toMatchObject({
    image,
    initrds: [initrd],
    commandLine: "root=/dev/a",
    writtenBy: "boot-loader",
    append: "x",
  });
  expect(requestOfChoice(choice, { commandLine: "mine" })).toEqual({
    image,
    initrds: [initrd],
    commandLine: "mine",
  });
  expect(requestOfChoice(choice, { reuse: true })).toEqual({ image, initrds: [initrd], reuse: true });
  expect(requestOfChoice(choice, { initrds: ["/other"] }).initrds).toEqual(["/other"]);
});

test("Fedora's file names are compared like packages", () => {
  const names = [
    "m-6.9.1-1.fc42",
    "m-6.10.1-1.fc42",
    "m-6.10.1-1.fc43",
    "m-0-rescue",
    "b",
    "m-6.10.1-1.fc43-x",
  ];
  expect(comparePackages("m-6.10.1-1.fc42", "m-6.9.1-1.fc42")).toBeGreaterThan(0);
  for (const a of names)
    for (const b of names) expect(comparePackages(a, b)).toBe(-comparePackages(b, a) || 0);
});

test("any grub.cfg and any entry end in a choice or an error of ours", async () => {
  const word = fc.constantFrom(
    ..."menuentry submenu if then else fi elif { } ' \" $x $default [ ] = ; \n # \\ set default=1 blscfg source linux initrd /boot/vmlinuz-1 function f f - > () $prefix/grub.cfg for do done while x".split(
      " ",
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 60 }), fc.string(), async (words, entry) => {
      const root = bootTree({
        "boot/grub/grub.cfg": words.join(" "),
        "boot/grub/grubenv": `# GRUB Environment Block\n${entry}`,
        "boot/loader/entries/a.conf": entry,
        "boot/loader/entries/b+1.conf": `linux /${entry}`,
        "boot/vmlinuz-1": "k",
      });
      const choice = await chooseKernel({ root });
      expect(choice.kernels[choice.chosen]).toBeDefined();
      for (const { image } of choice.kernels) expect(image ?? root).toContain(root);
    }),
    { numRuns: 150 },
  );
});

describe("the commands", () => {
  const root = () =>
    bootTree({
      "boot/grub/grub.cfg": "menuentry 'A \u001b[31mred' { linux /boot/vmlinuz-1 root=/dev/a }\n",
      "boot/vmlinuz-1": "no kernel",
    });

  test("kexec list shows the choice", async () => {
    const tree = root();
    const { exitCode, stdout } = await rekernel(["kexec", "list", "--root", tree]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("* A \ufffd[31mred");
    expect(stdout).toContain("A reboot would start: A \ufffd[31mred\n  GRUB takes entry 0:");
    const json = await rekernel(["kexec", "list", "--root", tree, "--json"]);
    expect(kexecListDocument.parse(JSON.parse(json.stdout))).toMatchObject({ loader: "grub", chosen: 0 });
  });

  test("kexec load without an image says what it takes before it loads", async () => {
    const tree = root();
    const { exitCode, stdout, stderr } = await rekernel(["kexec", "load", "--root", tree]);
    expect(stdout).toContain("A reboot would start: A");
    expect(stderr).toContain(`${tree}/boot/vmlinuz-1`);
    expect(stderr).toContain("[RK-BAD-IMAGE]");
    expect(exitCode).toBe(1);
    const both = await rekernel(["kexec", "load", "/boot/vmlinuz", "--root", tree]);
    expect(both.exitCode).toBe(2);
  });
});
