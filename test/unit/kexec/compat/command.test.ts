import { describe, expect, test } from "vitest";
import { type CompatCommand, compatCommand, parseUnsigned } from "../../../../src/kexec/compat/command.ts";
import { imageOptions, longOptions } from "../../../../src/kexec/compat/options.ts";

const command = (line: string) => compatCommand(line === "" ? [] : line.split(" "));

/** The deeds that a line asks for, in their order. */
function deeds(line: string): string {
  const asked: CompatCommand = command(line);
  if (asked.kind !== "work") return asked.kind;
  const { unload, load, shutdown, sync, interfacesDown, exec } = asked.work;
  return [
    ...(unload === undefined ? [] : [`unload ${unload}`]),
    ...(load === undefined ? [] : [`load ${load.kernel}${load.crash ? " for a panic" : ""} by ${load.call}`]),
    ...(shutdown ? ["shutdown"] : []),
    ...(sync ? ["sync"] : []),
    ...(interfacesDown ? ["down"] : []),
    ...(exec ? ["jump"] : []),
  ].join(", ");
}

describe("what is done, and in which order", () => {
  test.each([
    ["k", "load k by auto, shutdown, sync"],
    ["-x k", "load k by auto, shutdown, sync"],
    ["-l k", "load k by auto, sync"],
    ["-ly k", "load k by auto"],
    ["k -l", "load k by auto, sync"],
    ["--load k -s", "load k by kexec_file_load, sync"],
    ["-l -s -c k", "load k by kexec_load, sync"],
    ["-l -c -a k", "load k by auto, sync"],
    ["-e", "sync, down, jump"],
    ["-e -x -y", "jump"],
    ["-exy", "jump"],
    ["-f k", "load k by auto, sync, down, jump"],
    ["-f -x k", "load k by auto, sync, jump"],
    ["-l k -f", "load k by auto, sync, down, jump"],
    ["-f k -l", "load k by auto, sync, down"],
    ["-l k -e", "sync, down, jump"],
    ["-e -l k", "load k by auto, sync, down"],
    ["-u", "unload next"],
    ["-p -u", "unload crash"],
    ["-u -e", "unload next, sync, down, jump"],
    ["-u -l k", "unload next, load k by auto"],
    ["-p k", "load k for a panic by auto"],
    ["-l -p -s k", "load k for a panic by kexec_file_load"],
    ["-u -p -s", "unload crash, load undefined for a panic by kexec_file_load"],
    ["-v --nonsense", "version"],
    ["-h", "help"],
    ["-l k --help", "help"],
    ["--print-ckr-size -e", "crash-size"],
    ["-e -S", "status"],
  ])("%s", (line, expected) => {
    expect(deeds(line)).toBe(expected);
  });
});

test.each([
  ["-S", "crash"],
  ["-S -l", "next"],
  ["-lS", "next"],
  ["-S -p", "crash"],
  ["-p -S -l", "crash"],
  ["--status --load", "next"],
])("%s asks for the %s kernel", (line, of) => {
  expect(command(line)).toEqual({ kind: "status", of });
});

describe("refusals with the exit codes of kexec-tools", () => {
  test.each([
    ["", 255, true, "No kernel specified"],
    ["-l", 255, true, "No kernel specified"],
    ["-Z", 1, true, "kexec: invalid option -- 'Z'"],
    ["-?", 1, true, ""],
    ["-e --append=x", 1, true, ""],
    ["-u --noefi", 1, true, ""],
    ["-S --initrd=x", 1, true, ""],
    ["--mem-min=zz -l k", 1, true, "Bad option value in --mem-min=zz"],
    ["--entry=q k", 1, true, "Bad option value in --entry=q"],
    ["--serial=ttyS2 -l k", 255, true, "Bad serial port base 'ttyS2'"],
    ["--serial=0x10000 -e", 255, true, "Bad serial port base '0x10000'"],
    ["--serial-baud=7 -e", 255, true, "Bad serial port baud rate '7'"],
    ["--serial-baud=0 -e", 255, true, "Bad serial port baud rate '0'"],
    ["-l -t zImage k", 255, false, "Unsupported kernel type zImage"],
    ["-l -t nbi-x86 k", 255, false, expect.stringContaining("--type=nbi-x86")],
    ["-l --real-mode k", 255, false, expect.stringContaining("--real-mode")],
    ["-l --dtb=x k", 255, false, expect.stringContaining("--dtb")],
    ["-l --entry=0x100 k", 255, false, expect.stringContaining("--entry")],
    ["--load-preserve-context k", 1, false, expect.stringContaining("--mem-max")],
    ["--load-preserve-context --mem-max=0x1000 k", 1, false, expect.stringContaining("preserve")],
    ["--load-jump-back-helper", 255, false, expect.stringContaining("jump back")],
    ["--load-live-update k", 1, false, "--load-live-update can only be used with xen"],
    ["--exec-live-update", 1, false, "--exec-live-update only works under xen."],
  ])("%s", (line, exitCode, usage, message) => {
    expect(command(line)).toEqual({ kind: "refused", exitCode, usage, message });
  });
});

test("what is loaded: the last of each counts, and both names of one option", () => {
  const line =
    "-l k --initrd=a --ramdisk=b --append one --command-line=two --module=m1 --module=m2 " +
    "--console-serial --serial=ttyS1 --mem-max=0x10000000 --entry=0 -i more";
  expect(command(line)).toMatchObject({
    kind: "work",
    work: {
      load: {
        kernel: "k",
        initrd: "b",
        append: "two",
        modules: ["m1", "m2"],
        serialPort: 0x2f8,
        within: { start: 0n, end: 0x10000001n },
        noChecks: true,
        reuseCommandLine: false,
      },
      notes: [
        "Of several --initrd the last counts.",
        "Of several --append or --command-line the last counts.",
        "--mem-max counts with kexec_load only (-c).",
        "--console-serial counts with kexec_load only (-c).",
        "Ignored: more. Only one kernel can be loaded.",
      ],
    },
  });
});

test("every option that takes effect nowhere says so when it is given", () => {
  const harmless = ["reset-vga", "console-vga", "hotplug", "no-cma", "force-dtb", "reuse-video-type"];
  for (const name of harmless)
    expect(command(`-l k --${name}`)).toMatchObject({
      kind: "work",
      work: { notes: [expect.stringContaining(`--${name} does nothing`)] },
    });
});

test("every image option is an option", () => {
  const keys = longOptions.map(({ key }) => key);
  for (const key of imageOptions) expect(keys).toContain(key);
});

test.each<[string, bigint | undefined]>([
  ["", 0n],
  ["0", 0n],
  ["017", 15n],
  ["08", undefined],
  ["0x1F", 31n],
  ["0x", undefined],
  ["  12", 12n],
  ["12 ", undefined],
  ["1e3", undefined],
  ["-1", (1n << 64n) - 1n],
  ["99999999999999999999999", (1n << 64n) - 1n],
])("strtoul of %j", (text, value) => {
  expect(parseUnsigned(text)).toBe(value);
});
