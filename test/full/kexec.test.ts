import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { cpioArchive } from "../../src/formats/cpio.ts";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { builtExecutable } from "../vm/executable.ts";
import { testKernels } from "../vm/kernels.ts";
import { type Arrival, type Call, calls, kexecInto, seconds } from "./kexec-guest.ts";

let rekernel: string;
beforeAll(async () => {
  rekernel = await builtExecutable();
});

test("twenty kexecs in a row: 6.1 and 6.12 in turns, through both system calls", async () => {
  const { series61, newest } = await testKernels();
  await using vm = await bootVm({
    kernel: await bootableKernel(series61),
    nextKernels: [await bootableKernel(newest)],
  });
  const arrivals: (Arrival & { call: Call })[] = [];
  for (let jump = 0; jump < 20; jump++) {
    const release = jump % 2 === 0 ? newest : series61;
    const call = calls[Math.floor(jump / 2) % calls.length]!;
    const arrival = await kexecInto(vm, rekernel, release, call);
    arrivals.push({ ...arrival, call });
    console.log(
      `${jump + 1}. ${release} through ${call}: ${seconds(arrival.elapsedMs)}, _text ${arrival.text}, ` +
        `MemTotal ${arrival.memTotalKib} KiB, MemAvailable ${arrival.memAvailableKib} KiB`,
    );
  }
  for (const release of [series61, newest])
    for (const call of calls) {
      const same = arrivals.filter((arrival) => arrival.release === release && arrival.call === call);
      const [first, last] = [same[0]!, same.at(-1)!];
      // Where KASLR puts the kernel decides over a few pages; a kernel that stayed behind would be tens of MiB.
      expect(first.memTotalKib - last.memTotalKib, `MemTotal of ${release}`).toBeLessThan(1024);
      expect(first.memAvailableKib - last.memAvailableKib, `MemAvailable of ${release}`).toBeLessThan(8192);
      expect(new Set(same.map(({ text }) => text)).size, `KASLR of ${release}`).toBeGreaterThan(1);
    }
});

test("two processors and 4 GiB: the next kernel finds all of both", async () => {
  const { newest } = await testKernels();
  await using vm = await bootVm({ kernel: await bootableKernel(newest), cpus: 2, memoryMiB: 4096 });
  const memTotal = Number((await vm.run("awk '/^MemTotal/ {print $2}' /proc/meminfo")).stdout);
  for (const call of calls) {
    const arrival = await kexecInto(vm, rekernel, newest, call);
    console.log(`2 processors, 4 GiB, ${call}: ${seconds(arrival.elapsedMs)}`);
    expect((await vm.run("nproc")).stdout).toBe("2\n");
    expect(Math.abs(arrival.memTotalKib - memTotal)).toBeLessThan(4096);
  }
});

test("512 MiB; and a power cut between load and jump leaves nothing", async () => {
  const { previous, newest } = await testKernels();
  await using vm = await bootVm({
    kernel: await bootableKernel(previous),
    nextKernels: [await bootableKernel(newest)],
    memoryMiB: 512,
  });
  const { stdout: commandLine } = await vm.run("cat /proc/cmdline");
  for (const call of calls) {
    const arrival = await kexecInto(vm, rekernel, newest, call);
    console.log(`512 MiB, ${call}: ${seconds(arrival.elapsedMs)}`);
  }
  const folder = `/lab/kernels/${newest}`;
  const words = ["-l", `${folder}/vmlinuz`, `--initrd=${folder}/initrd`, "--reuse-cmdline"];
  expect((await vm.run([rekernel, "kexec", "compat", ...words, "--append=rekernel.lost=1"])).exitCode).toBe(
    0,
  );
  expect((await vm.run([rekernel, "kexec", "compat", "-S", "-l"])).exitCode).toBe(1);
  await vm.reset();
  expect(vm.release()).toBe(previous);
  expect((await vm.run("cat /proc/cmdline")).stdout).toBe(commandLine);
  expect((await vm.run([rekernel, "kexec", "compat", "-S", "-l"])).exitCode).toBe(0);
});

test("an initrd of more than 200 MB arrives whole", async () => {
  const { newest } = await testKernels();
  const share = await mkdtemp(join(tmpdir(), "rekernel-full-"));
  onTestFinished(() => rm(share, { recursive: true }));
  // Random bytes, so that no hole and no page of zeros can stand in for another.
  const data = randomBytes(210_000_000);
  await writeFile(join(share, "large.cpio"), cpioArchive([{ kind: "file", path: "large", data }]));
  await using vm = await bootVm({
    kernel: await bootableKernel(newest),
    memoryMiB: 2048,
    share,
    hangAfterMs: 300_000,
  });
  for (const call of calls) {
    await vm.run(`cat /lab/kernels/${newest}/initrd /share/large.cpio >/share/initrd`);
    const arrival = await kexecInto(vm, rekernel, newest, call, "/share/initrd");
    console.log(`initrd of 210 MB, ${call}: ${seconds(arrival.elapsedMs)}`);
    const sum = (await vm.run("sha256sum </proc/1/root/large")).stdout.split(" ")[0];
    expect(sum).toBe(createHash("sha256").update(data).digest("hex"));
  }
});
