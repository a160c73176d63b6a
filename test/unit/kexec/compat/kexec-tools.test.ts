import { existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { root, run } from "../../cli/run.ts";

const theirs = "/usr/sbin/kexec";
const folder = mkdtempSync(join(tmpdir(), "rekernel-kexec-"));
const ours = join(folder, "kexec");
symlinkSync(join(root, "bin/rekernel"), ours);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Never a line that loads, unloads or jumps: these run on the machine itself. */
const lines = [
  "-S",
  "-lS",
  "-pS",
  "-S -p -u",
  "-d -S",
  "-S -- -Z",
  "-S -dxyi",
  "-St foo",
  "foo -S",
  "--status",
  "--stat --load",
  "--no-i -S",
  "--t=x -S",
  "--mem-min=0x10 -S",
  "--mem-min=-1 -S",
  "--mem-min=08 -S",
  "--mem-min=0x -S",
  "--entry=q -S",
  "--entry=0x10 -S",
  "--serial=0x3f8 -S",
  "--serial=0x -S",
  "--serial-baud=0x2580 -S",
  "-S --reset-vga",
  "-S --console-vga",
  "-S --elf64-core-headers",
  "-S --noefi",
  "-S --pass-memmap-cmdline",
  "-S --reuse-video-type",
  "-S --reuseinitrd",
  "-S --append=x",
  "-S --command-line x",
  "-S --reuse-cmdline",
  "-S --initrd x",
  "-S --module=a",
  "-S --args-elf",
  "-S --real",
  "-S --entry-32bit",
  "-S --load-jump-back-helper",
  "-S --load-live-update",
  "-S --exec-live-update",
  "-S --print-ckr",
  "--print-ckr-size",
  "-S --s",
  "-S --kexec",
  "-S --kexec-s",
  "-S --mem-m=1",
  "-S --args",
  "-S --l",
  "-S --reuse",
  "-S --zzz",
  "-S -Z",
  "-S -t",
  "-S --type",
  "-S --append",
  "-S --help=3",
  "-S -?",
  "-hS",
  "-S --he",
  "-vh",
  "--ver --zzz",
  "--mem-min= -l",
  "-l",
  "-s -l",
  "-c -l -x",
  "-l -c /nonexistent",
  "-l -c /etc/passwd",
  "-l -c -t foo /etc/passwd",
  "-c --load-preserve-context /nonexistent",
  "--load-live-update /nonexistent",
];

describe.skipIf(!existsSync(theirs))(`${theirs} and rekernel called as kexec`, () => {
  test.each(lines)("%s", async (line) => {
    const words = line.split(" ");
    const [real, own] = await Promise.all([run(theirs, words), run(ours, words)]);
    expect(own.exitCode).toBe(real.exitCode);
    // The same streams speak, and of a wrong option the same words.
    expect(own.stdout === "").toBe(real.stdout === "");
    expect(own.stderr === "").toBe(real.stderr === "");
    if (/option/.test(real.stderr)) expect(own.stderr).toBe(real.stderr.replaceAll(`${theirs}: `, "kexec: "));
  });
});

test("the version begins as that of kexec-tools", async () => {
  const { exitCode, stdout } = await run(ours, ["--version"]);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^kexec-tools 2\.\d+\.\d+ .*rekernel \d/);
});

test("rekernel kexec compat is the same, with a document for --json", async () => {
  const rekernel = join(root, "bin/rekernel");
  const plain = await run(rekernel, ["kexec", "compat", "-l"]);
  expect(plain).toMatchObject({ exitCode: 255, stderr: "No kernel specified\n" });
  const { exitCode, stdout, stderr } = await run(rekernel, [
    "kexec",
    "compat",
    "--json",
    "-l",
    "/nonexistent",
  ]);
  expect(exitCode).toBe(1);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual({
    exitCode: 1,
    said: ["Cannot open `/nonexistent': No such file or directory"],
  });
});
