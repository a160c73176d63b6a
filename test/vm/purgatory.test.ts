import { describe, expect, test } from "vitest";
import { initrd, jump, nextKernel, screenAtReset } from "./purgatory/stand-ins.ts";

/** What the stand-in for the next kernel ends the machine with, as QEMU reports it. */
const entered = 0x21;
const reset = 0;

const verifying = "rekernel: verifying 2 segments";
const said = `${verifying}\r\nrekernel: all as loaded, entering the kernel\r\n`;

const flatSegments = { cs: 0x10, ds: 0x18, es: 0x18, ss: 0x18 };
const [paging, protection] = [2 ** 31, 1];
const interruptsOrBackwards = 0x600;

/** A number's bits, in numbers that bitwise operators would make negative. */
const has = (value: number | undefined, bits: number) => (BigInt(value ?? 0) & BigInt(bits)) === BigInt(bits);

describe("the purgatory", () => {
  test.each([
    { what: "sha256", digest: "sha256" as const },
    {
      what: "sums, above 4 GiB, with five levels of page tables",
      digest: "sum" as const,
      fiveLevels: true,
      target: 0x1_4567_8000n,
    },
  ])("enters Linux by its 64-bit protocol: $what", async ({ digest, fiveLevels, target }) => {
    const bootParams = 0x1_2345_6000n;
    const { exitCode, serial, found } = await jump({
      handover: { kind: "linux-64", entry: BigInt(nextKernel), bootParams },
      digest,
      fiveLevels,
      target,
      memoryMiB: target === undefined ? undefined : 6144,
    });
    expect({ exitCode, serial }).toEqual({ exitCode: entered, serial: said });
    expect(found).toMatchObject({ ...flatSegments, rsi: Number(bootParams) });
    expect(found).toMatchObject({ rax: 0, rbx: 0, rcx: 0, rdx: 0, rdi: 0, rbp: 0 });
    expect(has(found.cr0, paging + protection)).toBe(true);
    expect(found.flags! & interruptsOrBackwards).toBe(0);
    expect(has(found.cr4, 1 << 12)).toBe(fiveLevels === true);
  });

  test.each([
    { fiveLevels: false, digest: "sum" as const },
    { fiveLevels: true, digest: "sha256" as const },
  ])(
    "enters Linux by its 32-bit protocol: five levels of page tables $fiveLevels, $digest",
    async ({ fiveLevels, digest }) => {
      const { exitCode, serial, found } = await jump({
        handover: { kind: "linux-32", entry: nextKernel, bootParams: 0x90000 },
        digest,
        fiveLevels,
        target: 0xa123_4000n,
        memoryMiB: 3072,
      });
      expect({ exitCode, serial }).toEqual({ exitCode: entered, serial: said });
      expect(found).toMatchObject({ ...flatSegments, rsi: 0x90000, rbx: 0, rdi: 0, rbp: 0, cr4: 0, efer: 0 });
      expect(has(found.cr0, protection)).toBe(true);
      expect(has(found.cr0, paging)).toBe(false);
      expect(found.flags! & interruptsOrBackwards).toBe(0);
    },
  );

  test("enters a multiboot kernel", async () => {
    const [magic, information] = [0x36d76289, 0x91238];
    const { exitCode, found } = await jump({
      handover: { kind: "multiboot", entry: nextKernel, magic, information },
    });
    expect(exitCode).toBe(entered);
    expect(found).toMatchObject({ ...flatSegments, rax: magic, rbx: information, cr4: 0, efer: 0 });
    expect(has(found.cr0, paging)).toBe(false);
  });

  const damaged = Uint8Array.from(initrd);
  damaged[6996]! ^= 0x10;
  const handover = { kind: "linux-64" as const, entry: BigInt(nextKernel), bootParams: 0n };
  const resetting = "rekernel: resetting the machine";
  const message = "rekernel: initrd at 0x3000000 (6997 bytes) is not what was loaded";

  // isapc has no reset control register, microvm no keyboard controller either.
  test.each([
    { digest: "sha256" as const, machine: "pc" },
    { digest: "sum" as const, machine: "isapc" },
    { digest: "sum" as const, machine: "microvm" },
  ])("resets the machine when a single bit has changed, and says where: $digest, $machine", async (given) => {
    const { exitCode, serial, found } = await jump({ handover, expected: damaged, ...given });
    expect(found).toEqual({});
    expect(exitCode).toBe(reset);
    expect(serial).toBe([verifying, message, resetting, ""].join("\r\n"));
  });

  test("says it on the screen, too", async () => {
    const lines = await screenAtReset({ handover, expected: damaged, serialPort: undefined });
    expect(lines).toEqual([verifying, message, resetting]);
  });
});
