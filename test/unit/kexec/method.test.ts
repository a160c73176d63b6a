import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { readBzImage } from "../../../src/formats/bzimage.ts";
import { carriedState } from "../../../src/kexec/carried-state.ts";
import { chooseMethod, type MethodNeeds } from "../../../src/kexec/method.ts";
import type { SignatureRules } from "../../../src/kexec/signature/rules.ts";
import { fixtureHost } from "../host/fixture-host.ts";
import { buildBzImage } from "../kernel/build-image.ts";

const headerOf = (change?: (header: Buffer) => void) =>
  readBzImage(buildBzImage(Buffer.alloc(100), change)).header;
const needs: MethodNeeds = {
  wish: "auto",
  name: "vmlinuz",
  kind: "bzimage",
  header: headerOf(),
  entry32Bit: false,
  givenMap: false,
  modules: false,
  fiveLevelPaging: false,
  commandLineBytes: 100,
  memoryRanges: 20,
  carried: undefined,
  unpackObstacle: "that was asked for",
};
const rules: SignatureRules = {
  state: {
    supported: true,
    loaded: false,
    crashLoaded: false,
    crashSizeBytes: 0,
    loadDisabled: false,
    loadLimitReboot: -1,
    loadLimitPanic: -1,
  },
  lockdown: "none",
  secureBoot: false,
  hasKexecLoad: true,
  hasKexecFileLoad: true,
  verifies: true,
  verifiesBzImages: true,
  enforced: false,
  imaWantsFiles: false,
  imaAppraisal: "none",
};
const old = headerOf((header) => header.writeUInt16LE(0x020b, 0x206));

test.each<[string, Partial<MethodNeeds>, Partial<SignatureRules>, string, RegExp]>([
  [
    "a vmlinux",
    { kind: "vmlinux", header: undefined },
    {},
    "kexec_load",
    /vmlinuz is a vmlinux \(ELF\) image/,
  ],
  ["a multiboot kernel", { kind: "multiboot" }, {}, "kexec_load", /nothing but bzImages/],
  ["an old bzImage", { header: old }, {}, "kexec_load", /no 64-bit entry .* protocol 2\.11/],
  ["the 32-bit entry", { entry32Bit: true }, {}, "kexec_load", /64-bit entry only/],
  [
    "5 levels",
    { fiveLevelPaging: true, header: headerOf((header) => header.writeUInt16LE(0x1f, 0x236)) },
    {},
    "kexec_load",
    /cannot be entered in 5-level paging/,
  ],
  ["5 levels for whom that is nothing new", { fiveLevelPaging: true }, {}, "kexec_file_load", /verifies/],
  ["modules", { modules: true }, {}, "kexec_load", /no modules/],
  ["a given map", { givenMap: true }, {}, "kexec_load", /given memory map/],
  ["lockdown", {}, { lockdown: "integrity" }, "kexec_file_load", /locked down \(integrity\)/],
  ["Secure Boot with IMA", {}, { imaWantsFiles: true }, "kexec_file_load", /Under Secure Boot/],
  ["forced signatures", {}, { enforced: true }, "kexec_file_load", /signed kernels only/],
  ["a kernel with kexec_load only", {}, { hasKexecFileLoad: false }, "kexec_load", /no kexec_file_load/],
  [
    "a kernel without either",
    {},
    { hasKexecFileLoad: false, hasKexecLoad: false },
    "kexec_file_load",
    /verifies and places/,
  ],
  [
    "a vmlinux under lockdown",
    { kind: "vmlinux", header: undefined },
    { lockdown: "confidentiality" },
    "kexec_load",
    /vmlinux/,
  ],
  [
    "a command line that is a little too long",
    { commandLineBytes: 2018 },
    {},
    "kexec_load",
    /accepts 2017 at most/,
  ],
  ["one that just fits", { commandLineBytes: 2017 }, {}, "kexec_file_load", /verifies and places/],
  ["129 ranges of memory", { memoryRanges: 129 }, {}, "kexec_load", /has 129 ranges, of which .* 128/],
  [
    "129 ranges under lockdown",
    { memoryRanges: 129 },
    { lockdown: "integrity" },
    "kexec_file_load",
    /locked down/,
  ],
  ["129 ranges, one call", { memoryRanges: 129 }, { hasKexecLoad: false }, "kexec_file_load", /verifies/],
  ["a wish under lockdown", { wish: "kexec_load" }, { lockdown: "integrity" }, "kexec_load", /asked for/],
  ["a wish for what is missing", { wish: "kexec_load" }, { hasKexecLoad: false }, "kexec_load", /asked/],
  [
    "nothing in the way",
    { unpackObstacle: undefined },
    {},
    "kexec_load",
    /Unpacked and verified before the jump/,
  ],
  [
    "a kernel that unpacks itself",
    { unpackObstacle: "it cannot be moved" },
    {},
    "kexec_file_load",
    /not unpacked before the jump: it cannot be moved\./,
  ],
  ["nothing known", { unpackObstacle: undefined }, { hasKexecLoad: undefined }, "kexec_load", /Unpacked/],
  [
    "no kexec_load",
    { unpackObstacle: undefined },
    { hasKexecLoad: false },
    "kexec_file_load",
    /no kexec_load/,
  ],
  ["a wish", { wish: "kexec_file_load" }, {}, "kexec_file_load", /asked for/],
])("%s", (_, need, rule, method, reason) => {
  const chosen = chooseMethod({ ...needs, ...need }, { ...rules, ...rule });
  expect(chosen.method).toBe(method);
  expect(chosen.reason).toMatch(reason);
});

test.each<[Partial<MethodNeeds>, string, number]>([
  [{ kind: "vmlinux", header: undefined }, "RK-KEXEC-VMLINUX", 4],
  [{ header: old }, "RK-IMAGE-TOO-OLD", 4],
  [{ entry32Bit: true }, "RK-USAGE", 2],
  [{ commandLineBytes: 2018 }, "RK-COMMAND-LINE-TOO-LONG", 4],
  [{ givenMap: true }, "RK-USAGE", 2],
])("kexec_file_load for what it cannot do is refused: %o", (need, code, exitCode) => {
  expect(() => chooseMethod({ ...needs, ...need, wish: "kexec_file_load" }, rules)).toThrow(
    expect.objectContaining({ code, exitCode }),
  );
});

test.each<[string, Record<string, string>, RegExp | undefined]>([
  ["quiet", {}, undefined],
  ["quiet kho=on", {}, /preserve \(kho=on\)/],
  ["kho=off liveupdate=1", {}, /\(liveupdate=1\)/],
  ["quiet", { count: "1200\n", config: "CONFIG_IMA_KEXEC=y\n" }, /measured 1200 files/],
  ["quiet", { count: "1\n", config: "CONFIG_IMA_KEXEC=y\n" }, undefined],
  ["quiet", { count: "1200\n", config: "# CONFIG_IMA_KEXEC is not set\n" }, undefined],
])("state that only kexec_file_load hands on: %j, %o", async (line, { count, config }, expected) => {
  const host = fixtureHost({
    "/proc/sys/kernel/osrelease": "0.0.0-nowhere\n",
    ...(count === undefined ? {} : { "/sys/kernel/security/ima/runtime_measurements_count": count }),
    ...(config === undefined ? {} : { "/proc/config.gz": gzipSync(config) }),
  });
  const carried = await carriedState(line, host);
  if (expected === undefined) expect(carried).toBeUndefined();
  else expect(carried).toMatch(expected);
});
