import { expect, test } from "vitest";
import { RekernelError } from "../../../src/core/errors.ts";
import { dependencies } from "../../../src/livepatch/build/units/gcc.ts";
import { mayBe, roleOfFile } from "../../../src/livepatch/build/units/reach.ts";
import { parseAnswer } from "../../../src/livepatch/build/units/units.ts";

const flags = `gcc-12 -Wp,-MMD,net/ipv4/.x.o.d -O2 -g -gdwarf-5 -Wundef -DKBUILD_MODNAME='"x"'`;

test("an answer of kbuild tells owner, state and command", () => {
  expect(parseAnswer(`net/ipv4/x.c|net/ipv4|built-in||net/ipv4/x|${flags}`)[0]).toEqual({
    source: "net/ipv4/x.c",
    input: "net/ipv4/x.c",
    enabled: true,
    owner: { kind: "vmlinux" },
    modfile: "net/ipv4/x",
    command: ["gcc-12", "-O2", "-Wundef", '-DKBUILD_MODNAME="x"'],
  });
  const [kvm] = parseAnswer(
    `arch/x86/kvm/../../../virt/kvm/kvm_main.c|arch/x86/kvm||module|arch/x86/kvm/snd-kvm|${flags} -DMODULE`,
  );
  expect(kvm).toMatchObject({
    source: "virt/kvm/kvm_main.c",
    input: "arch/x86/kvm/../../../virt/kvm/kvm_main.c",
    enabled: true,
    owner: { kind: "module", name: "snd_kvm" },
  });
  expect(parseAnswer(`a/b.c|a|||a/b|${flags}`)[0]!.enabled).toBe(false);
});

test("a unit of several modules is one for each of them", () => {
  const units = parseAnswer(`a/b.c|a||module|a/one a/two-2|${flags} -DMODULE`);
  expect(units.map(({ owner, enabled }) => ({ owner, enabled }))).toEqual([
    { owner: { kind: "module", name: "one" }, enabled: true },
    { owner: { kind: "module", name: "two_2" }, enabled: true },
  ]);
});

test("a command that a shell would have to expand is refused", () => {
  expect(() => parseAnswer("a/b.c|a|built-in||a/b|gcc $(rm -r x)")).toThrow(RekernelError);
});

test("dependency files", () => {
  expect(dependencies("x.o: a/x.c \\\n include/y.h include/z.h\n")).toEqual([
    "a/x.c",
    "include/y.h",
    "include/z.h",
  ]);
});

test.each([
  ["net/ipv4/tcp_input.c", "unit"],
  ["include/net/tcp.h", "included"],
  ["Documentation/process/howto.rst", "ignored"],
  ["MAINTAINERS", "ignored"],
  ["tools/testing/selftests/net/x.c", "ignored"],
  ["arch/arm64/kernel/setup.c", "ignored"],
  ["net/ipv4/Kconfig", "RK-BUILD-SYSTEM-CHANGE"],
  ["arch/x86/entry/entry_64.S", "RK-ASSEMBLY-CHANGE"],
  ["arch/x86/entry/vdso/vclock_gettime.c", "RK-VDSO-CHANGE"],
  ["lib/vdso/gettimeofday.c", "RK-VDSO-CHANGE"],
  ["arch/x86/boot/compressed/misc.c", "RK-BOOT-CODE-CHANGE"],
  ["tools/objtool/check.c", "RK-UNSUPPORTED-FILE"],
  ["rust/kernel/lib.rs", "RK-UNSUPPORTED-FILE"],
])("%s: %s", (path, expected) => {
  const role = roleOfFile(path);
  expect(role.role === "refused" ? role.code : role.role).toBe(expected);
});

test("an include means the file beside it, where there is one", () => {
  const there = new Set(["fs/bcachefs/journal.h", "fs/ocfs2/journal.h", "include/linux/journal.h"]);
  const means = (by: string, as: string, quoted: boolean) =>
    mayBe({ by, as, quoted }, "fs/ocfs2/journal.h", (path) => there.has(path));
  expect(means("fs/ocfs2/inode.c", "journal.h", true)).toBe(true);
  expect(means("fs/bcachefs/inode.c", "journal.h", true)).toBe(false);
  expect(means("fs/bcachefs/inode.c", "../ocfs2/journal.h", true)).toBe(true);
  // Through a folder given with -I, whichever that is.
  expect(means("fs/ocfs2/dlm/dlm.c", "journal.h", true)).toBe(true);
  expect(means("fs/bcachefs/inode.c", "journal.h", false)).toBe(true);
  expect(means("fs/bcachefs/inode.c", "linux/journal.h", false)).toBe(false);
});
