import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type BootableKernel, bootableKernel } from "../../src/kernel/target.ts";
import { bootVm, type VmOptions } from "../../src/lab/vm.ts";
import { rekernel, root } from "../unit/cli/run.ts";
import { testKernels } from "./kernels.ts";

let newest: BootableKernel;
let series61: BootableKernel;
let temporary: string;
const tmpdirBefore = process.env.TMPDIR;

beforeAll(async () => {
  const kernels = await testKernels();
  newest = await bootableKernel(kernels.newest);
  series61 = await bootableKernel(kernels.series61);
  // A folder for temporary files of our own shows whether any stay behind.
  temporary = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  mkdirSync(join(temporary, "tmp"));
  process.env.TMPDIR = join(temporary, "tmp");
});

afterEach(() => {
  expect(readdirSync(join(temporary, "tmp"))).toEqual([]);
  expect(ownEmulators()).toEqual([]);
});

afterAll(() => {
  if (tmpdirBefore === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = tmpdirBefore;
  rmSync(temporary, { recursive: true });
});

/** Emulators whose files are below this test's temporary folder. */
function ownEmulators(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return command.startsWith("qemu") && command.includes(temporary);
      } catch {
        return false;
      }
    });
}

const small = (options: Partial<VmOptions> = {}) =>
  bootVm({ kernel: newest, hostRoot: false, memoryMiB: 512, ...options });

test("over the host's root: commands, files, network, kexec and reset", async () => {
  const share = join(temporary, "share");
  mkdirSync(share);
  writeFileSync(join(share, "from-host"), "h");
  await using vm = await bootVm({
    kernel: newest,
    nextKernels: [series61],
    memoryMiB: 2048,
    share,
    forwards: [{ host: 0, guest: 80 }],
    files: { "/lib/rekernel-lab/hello": Buffer.from("hello"), "/srv/src": join(root, "src/lab") },
    // Node from the host's root, started by every kernel alike.
    onBoot: `exec ${process.execPath} -e 'require("http").createServer((q, r) => r.end(require("os").release())).listen(80)'`,
  });
  const service = async (): Promise<string> => {
    for (;;) {
      // The emulator repeats a connection's first packet ever more slowly while the guest is away.
      const signal = AbortSignal.timeout(1000);
      const response = await fetch(`http://127.0.0.1:${vm.forwardedPort(80)}/`, { signal }).catch(
        () => undefined,
      );
      if (response) return response.text();
      await sleep(100);
    }
  };

  expect(await vm.run("uname -r; echo no >&2; exit 3")).toEqual({
    exitCode: 3,
    stdout: `${newest.release}\n`,
    stderr: "no\n",
  });
  expect((await vm.run(["printf", "%s|", "a b", "$HOME", "it's"])).stdout).toBe("a b|$HOME|it's|");
  expect((await vm.run("pwd; echo $HOME", { cwd: root })).stdout).toBe(`${root}\n/root\n`);
  expect((await vm.run("cat /lib/rekernel-lab/hello; ls -l /srv/src/vm.ts")).stdout).toMatch(/^hello-rw/);
  expect((await vm.run(`[ -d /lib/modules/${newest.release}/kernel ]`)).exitCode).toBe(0);
  expect((await vm.run("echo g >/share/from-guest; cat /share/from-host")).stdout).toBe("h");
  expect(readFileSync(join(share, "from-guest"), "utf8")).toBe("g\n");
  expect((await vm.run(`touch ${root}/never-on-the-host && rm ${root}/never-on-the-host`)).exitCode).toBe(0);

  const big = randomBytes(5_000_001);
  await vm.writeFile("/tmp/deep/big", big);
  expect(Buffer.compare(await vm.readFile("/tmp/deep/big"), big)).toBe(0);
  expect((await vm.run("wc -c", { input: big })).stdout.trim()).toBe(String(big.length));

  // Each waits for the next one's file: they end only if all run at once.
  const chain = [0, 1, 2, 3].map((n) =>
    vm.run(`touch /tmp/c${n}; until [ -e /tmp/c${(n + 1) % 4} ]; do sleep 0.1; done; echo ${n}`),
  );
  expect((await Promise.all(chain)).map(({ stdout }) => stdout)).toEqual(["0\n", "1\n", "2\n", "3\n"]);

  const { pid } = await vm.start(["sleep", "1000"]);
  expect((await vm.run(`kill -0 ${pid} && kill ${pid}`)).exitCode).toBe(0);
  await expect(vm.run("sleep 1234", { timeoutMs: 500 })).rejects.toMatchObject({ code: "RK-LAB-TIMEOUT" });
  await vm.run(
    "while grep -qs 1234 /proc/[0-9]*/cmdline --exclude-dir=self -l | grep -v self; do sleep 0.1; done",
  );
  expect(await service()).toBe(newest.release);
  expect(await vm.dmesg()).toContain("Linux version");

  const firstBoot = vm.bootId();
  const to = `/lab/kernels/${series61.release}`;
  const load = await vm.run(
    `${root}/bin/rekernel kexec load ${to}/vmlinuz --initrd ${to}/initrd --command-line "$(cat ${to}/cmdline)"`,
  );
  expect(load).toMatchObject({ exitCode: 0 });
  // What runs when the kernel goes does not wait for ever, and the new kernel is noticed.
  const [jump] = await Promise.allSettled([vm.run(`${root}/bin/rekernel kexec exec`), vm.waitForBoot()]);
  expect(jump).toMatchObject({ status: "rejected", reason: { code: "RK-LAB-RESTARTED" } });
  expect(vm.release()).toBe(series61.release);
  expect(vm.bootId()).not.toBe(firstBoot);
  expect((await vm.run("uname -r; cat /lib/rekernel-lab/hello")).stdout).toBe(`${series61.release}\nhello`);
  expect(await service()).toBe(series61.release);

  await vm.reset();
  expect(vm.release()).toBe(newest.release);
  expect(await service()).toBe(newest.release);
});

test("without the host's root: busybox, files, reboot, power-off", async () => {
  await using vm = await small({
    kernel: series61,
    modules: ["loop"],
    commandLine: "rekernel.word=here",
    files: { "/opt/tool": Buffer.from("text"), "/opt/lab": join(root, "src/lab") },
  });
  expect((await vm.run("which node; ls /etc/passwd")).exitCode).not.toBe(0);
  expect((await vm.run("cat /opt/tool; ls /opt/lab | grep vm.ts")).stdout).toBe("textvm.ts\n");
  expect((await vm.run("grep -o rekernel.word=here /proc/cmdline; grep -c ^loop /proc/modules")).stdout).toBe(
    "rekernel.word=here\n1\n",
  );
  // /lab/kernels is there without hostRoot, too.
  expect((await vm.run("ls /lab/kernels/*")).stdout).toBe("cmdline\ninitrd\nvmlinuz\n");
  await vm.start("reboot -f");
  await vm.waitForBoot();
  await vm.start("poweroff -f");
  expect(await vm.waitForEnd()).toMatchObject({ kind: "poweroff" });
  await expect(vm.run("true")).rejects.toMatchObject({ code: "RK-LAB-ENDED" });
});

test("a crash is told from a hang, with the kernel's own words, and what was printed before is kept", async () => {
  const crashed = await small();
  let printed = "";
  const run = crashed.run("echo before; sleep 1; echo c >/proc/sysrq-trigger", {
    onStdout: (data) => (printed += Buffer.from(data).toString()),
  });
  await expect(run).rejects.toMatchObject({ code: "RK-LAB-PANIC" });
  expect(printed).toBe("before\n");
  const end = await crashed.waitForEnd();
  expect(end).toMatchObject({ kind: "panic", message: "sysrq triggered crash" });
  expect(end.log).toContain("Call Trace:");

  const hung = await small({ hangAfterMs: 20_000 });
  // User space stops as a whole, the kernel goes on.
  await expect(hung.run("kill -STOP -1")).rejects.toMatchObject({ code: "RK-LAB-HANG" });
  expect(await hung.waitForEnd()).toMatchObject({ kind: "hang" });
});

test("a kernel that does not get to user space: why, and its last words", async () => {
  const boot = small({ commandLine: "rdinit=/none root=none" });
  await expect(boot).rejects.toMatchObject({
    code: "RK-LAB-BOOT",
    message: expect.stringContaining("panicked"),
    details: expect.stringContaining("Kernel panic"),
  });
  const damaged = join(temporary, "vmlinuz");
  writeFileSync(damaged, readFileSync(newest.image).subarray(0, 1 << 20));
  await expect(small({ kernel: { ...newest, image: damaged } })).rejects.toMatchObject({
    code: "RK-BAD-IMAGE",
  });
  writeFileSync(damaged, randomBytes(1 << 20));
  await expect(small({ kernel: { ...newest, image: damaged } })).rejects.toMatchObject({
    code: "RK-BAD-IMAGE",
  });
});

test("an aborted machine is gone, at any time", async () => {
  const early = new AbortController();
  const boot = small({ signal: early.signal, onConsole: () => early.abort(new Error("enough")) });
  await expect(boot).rejects.toThrow("enough");
  expect(ownEmulators()).toEqual([]);

  const late = new AbortController();
  const vm = await small({ signal: late.signal });
  const run = vm.run("sleep 1000");
  late.abort(new Error("enough"));
  await expect(run).rejects.toThrow("enough");
  await vm.stop();
});

test("rekernel lab run", async () => {
  const lab = (...args: string[]) => rekernel(["lab", "run", "--kernel", newest.release, ...args]);
  const passed = await lab("--json", "--dmesg", "--", "sh", "-c", "uname -r; exit 4");
  expect(passed.exitCode).toBe(1);
  expect(JSON.parse(passed.stdout)).toMatchObject({
    exitCode: 4,
    stdout: `${newest.release}\n`,
    dmesg: expect.stringContaining("Linux version"),
  });
  const crash = await lab("--no-host-root", "--", "sh", "-c", "echo c >/proc/sysrq-trigger");
  expect(crash.exitCode).toBe(1);
  expect(crash.stderr).toContain("sysrq triggered crash");
  expect(crash.stderr).toContain("Call Trace:");
});
