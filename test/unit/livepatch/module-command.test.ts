import { expect, test } from "vitest";
import { buildFolderIn, relocatedUnit } from "../../../src/livepatch/build/source/module-command.ts";
import type { Unit } from "../../../src/livepatch/build/units/units.ts";

const places = { copy: "/cache/m/gadget-1.0", kernel: "/cache/k", name: "gadget-1.0", identity: "1234" };

function unit(input: string, command: readonly string[]): Unit {
  return {
    source: input,
    input,
    enabled: true,
    owner: { kind: "module", name: "gadget" },
    modfile: "gadget",
    command,
  };
}

test("until Linux 6.12 kbuild runs in the kernel's tree and names the module by its whole path", () => {
  const relocated = relocatedUnit(
    unit("/cache/m/gadget-1.0/sub/a.c", [
      "gcc-12",
      "-I./include",
      "-include",
      "./include/linux/kconfig.h",
      "-I/cache/m/gadget-1.0",
      "-I/cache/m/gadget-1.0/include",
      "-I",
      "/cache/m/gadget-1.0/sub/../other",
      "-I/cache/m/gadget-1.0-other",
      '-DFROM="/cache/m/gadget-1.0"',
    ]),
    places,
  );
  expect(relocated).toMatchObject({
    source: "gadget-1.0/sub/a.c",
    input: "gadget-1.0/sub/a.c",
    identity: "1234",
    command: [
      "gcc-12",
      "-I./include",
      "-include",
      "./include/linux/kconfig.h",
      "-Igadget-1.0",
      "-Igadget-1.0/include",
      "-I",
      "gadget-1.0/sub/../other",
      "-I/cache/m/gadget-1.0-other",
      '-DFROM="gadget-1.0"',
    ],
  });
});

test("since Linux 6.13 kbuild runs in the module's folder and names the kernel's tree by its whole path", () => {
  const relocated = relocatedUnit(
    unit("sub/a.c", [
      "gcc-12",
      "-I/cache/k/arch/x86/include",
      "-include",
      "/cache/k/include/linux/kconfig.h",
      "-Iinclude",
      "-I.",
      "-fmacro-prefix-map=/cache/k/=",
    ]),
    places,
  );
  expect(relocated).toMatchObject({
    source: "gadget-1.0/sub/a.c",
    command: [
      "gcc-12",
      "-I./arch/x86/include",
      "-include",
      "./include/linux/kconfig.h",
      "-Igadget-1.0/include",
      "-Igadget-1.0",
      "-fmacro-prefix-map=./=",
    ],
  });
});

test("the folder of the build is what stands before a unit's path", () => {
  const strings = (...texts: string[]) => Buffer.from(`\0${texts.join("\0")}\0`);
  expect(
    buildFolderIn([strings("main.c", "/var/lib/dkms/gadget/1.0/build/main.c", "more")], ["main.c"]),
  ).toBe("/var/lib/dkms/gadget/1.0/build");
  expect(buildFolderIn([strings("x"), strings("/b/sub/a.c")], ["main.c", "sub/a.c"])).toBe("/b");
  expect(buildFolderIn([strings("sub/main.c", "kernel/main.c", "/b/main.cpp")], ["main.c"])).toBeUndefined();
  expect(buildFolderIn([], ["main.c"])).toBeUndefined();
});
