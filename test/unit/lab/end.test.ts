import { expect, test } from "vitest";
import { consoleSign, crashText } from "../../../src/lab/end.ts";

test.each([
  ["[    3.6] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---", "sysrq triggered crash"],
  ["<0>[    3.6] ---[ end Kernel panic - not syncing: Fatal exception ]---", "Fatal exception"],
  [
    "[    3.6][  T1] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ]---",
    "Attempted to kill init! exitcode=0x00000100",
  ],
  ["---[ end Kernel panic - not syncing: VFS ]---", "VFS"],
])("%s is the end of a panic", (line, message) => {
  expect(consoleSign(line)).toEqual({ kind: "panic", message });
});

test("the start of a panic is no end: a crash kernel may take over", () => {
  expect(consoleSign("[    3.6] Kernel panic - not syncing: Fatal exception")).toBeUndefined();
});

test("a halted system is told from a hung one", () => {
  expect(consoleSign("[    3.879649] reboot: System halted")).toEqual({ kind: "halt" });
});

test("text that a program prints is not the kernel's word", () => {
  expect(consoleSign("echo ---[ end Kernel panic - not syncing: no ]---")).toBeUndefined();
});

test("a crash report starts at its first line in the last boot", () => {
  const log = [
    "[    0.0] Linux version 6.1",
    "[    1.0] BUG: kernel NULL pointer dereference, address: 0",
    "[    0.0] Linux version 6.12",
    "[    1.0] fine",
    "[    2.0] BUG: unable to handle page fault for address: ffff",
    "[    2.0] Oops: 0000",
    "[    2.0] Call Trace:",
    "[    2.0] Kernel panic - not syncing: Fatal exception",
  ];
  expect(crashText(log.join("\n")).split("\n")).toEqual(log.slice(4));
  expect(crashText(log.slice(2, 4).join("\n"))).toBe("");
});
