import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { KexecState } from "../../../src/host/kexec.ts";
import { SyscallError } from "../../../src/host/syscall.ts";
import { nextCommandLine, reusableCommandLine, splitCommandLine } from "../../../src/kexec/command-line.ts";
import { explainKexecFailure } from "../../../src/kexec/explain.ts";
import { planKexec, releaseOf } from "../../../src/kexec/plan.ts";

describe("the next command line", () => {
  test("reuses the running one without what the boot loader added", () => {
    const running =
      'BOOT_IMAGE=/boot/vmlinuz-6.12 root=UUID=1-2 ro dyndbg="file a +p; file b +p" initrd=/i quiet';
    expect(reusableCommandLine(running)).toBe('root=UUID=1-2 ro dyndbg="file a +p; file b +p" quiet');
    expect(nextCommandLine({ reuse: true, append: " panic=5 " }, "BOOT_IMAGE=/v ro")).toBe("ro panic=5");
  });

  test("is what was given, and nothing without a choice", () => {
    expect(nextCommandLine({ commandLine: "a b" }, "running")).toBe("a b");
    expect(nextCommandLine({ append: "c" }, "running")).toBe("c");
    expect(nextCommandLine({}, "running")).toBe("");
  });

  test("splitting loses no word", () => {
    fc.assert(
      fc.property(fc.string(), (line) => {
        const words = splitCommandLine(line);
        expect(words.join("").replace(/\s/g, "")).toBe(line.replace(/\s/g, ""));
      }),
    );
  });
});

describe("why the kernel refused", () => {
  const state: KexecState = {
    supported: true,
    loaded: false,
    crashLoaded: false,
    crashSizeBytes: 0,
    loadDisabled: false,
    loadLimitReboot: -1,
    loadLimitPanic: -1,
  };
  const explain = (
    errno: number,
    circumstances: Partial<KexecState> = {},
    lockdown: "none" | "integrity" = "none",
  ) =>
    explainKexecFailure("load vmlinuz", new SyscallError("kexec_file_load", errno), {
      state: { ...state, ...circumstances },
      lockdown,
    });

  test.each([
    [8, "RK-BAD-IMAGE", 1],
    [16, "RK-BUSY", 1],
    [22, "RK-KEXEC-REJECTED", 1],
    [38, "RK-NO-KEXEC", 5],
    [99, "RK-KEXEC-NO-ROOM", 1],
    [126, "RK-KEXEC-SIGNATURE", 4],
    [129, "RK-KEXEC-SIGNATURE", 4],
    [4095, "RK-KEXEC-REJECTED", 1],
  ])("error number %i is %s", (errno, code, exitCode) => {
    const error = explain(errno);
    expect(error).toMatchObject({ code, exitCode });
    expect(error.hint).not.toBe("");
  });

  test("EPERM has four causes", () => {
    expect(explain(1, { loadDisabled: true })).toMatchObject({ code: "RK-KEXEC-DISABLED", exitCode: 5 });
    expect(explain(1, { loadLimitReboot: 0 })).toMatchObject({ code: "RK-KEXEC-DISABLED", exitCode: 5 });
    expect(explain(1, {}, "integrity")).toMatchObject({ code: "RK-KEXEC-SIGNATURE", exitCode: 4 });
    expect(explain(1)).toMatchObject({ code: "RK-NOT-ROOT", exitCode: 5 });
  });
});

test("a plan needs a kernel image", async () => {
  await expect(planKexec({ image: "/nonexistent" }, "")).rejects.toMatchObject({ code: "RK-FILE" });
  await expect(planKexec({ image: import.meta.filename }, "")).rejects.toMatchObject({
    code: "RK-BAD-IMAGE",
  });
});

test("the boot header's text begins with the release", () => {
  expect(releaseOf("6.12.117+deb12-amd64 (debian-kernel@lists.debian.org) #1 SMP")).toBe(
    "6.12.117+deb12-amd64",
  );
  expect(releaseOf("")).toBeUndefined();
});
