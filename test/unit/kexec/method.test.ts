import { expect, test } from "vitest";
import { readBzImage } from "../../../src/formats/bzimage.ts";
import {
  chooseMethod,
  type MethodFacts,
  type MethodNeeds,
  readMethodFacts,
} from "../../../src/kexec/method.ts";
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
};
const facts: MethodFacts = {
  lockdown: "none",
  hasKexecLoad: true,
  hasKexecFileLoad: true,
  signatureForced: false,
};
const old = headerOf((header) => header.writeUInt16LE(0x020b, 0x206));

test.each<[string, Partial<MethodNeeds>, Partial<MethodFacts>, string, RegExp, RegExp | undefined]>([
  [
    "a vmlinux",
    { kind: "vmlinux", header: undefined },
    {},
    "kexec_load",
    /vmlinuz is a vmlinux \(ELF\) image/,
    undefined,
  ],
  ["a multiboot kernel", { kind: "multiboot" }, {}, "kexec_load", /nothing but bzImages/, undefined],
  ["an old bzImage", { header: old }, {}, "kexec_load", /no 64-bit entry .* protocol 2\.11/, undefined],
  ["the 32-bit entry", { entry32Bit: true }, {}, "kexec_load", /64-bit entry only/, undefined],
  ["modules", { modules: true }, {}, "kexec_load", /no modules/, undefined],
  ["a given map", { givenMap: true }, {}, "kexec_load", /given memory map/, undefined],
  ["lockdown", {}, { lockdown: "integrity" }, "kexec_file_load", /locked down \(integrity\)/, undefined],
  ["forced signatures", {}, { signatureForced: true }, "kexec_file_load", /signed kernels only/, undefined],
  [
    "a kernel with kexec_load only",
    {},
    { hasKexecFileLoad: false },
    "kexec_load",
    /no kexec_file_load/,
    undefined,
  ],
  [
    "a vmlinux under lockdown",
    { kind: "vmlinux", header: undefined },
    { lockdown: "confidentiality" },
    "kexec_load",
    /vmlinux/,
    /locked down \(confidentiality\) and will refuse kexec_load/,
  ],
  [
    "a wish under lockdown",
    { wish: "kexec_load" },
    { lockdown: "integrity" },
    "kexec_load",
    /asked for/,
    /will refuse kexec_load/,
  ],
  [
    "a wish for what is missing",
    { wish: "kexec_load" },
    { hasKexecLoad: false },
    "kexec_load",
    /asked/,
    /no kexec_load \(CONFIG_KEXEC\)/,
  ],
  ["a wish", { wish: "kexec_file_load" }, {}, "kexec_file_load", /asked for/, undefined],
  [
    "a wish for what is missing",
    { wish: "kexec_file_load" },
    { hasKexecFileLoad: false },
    "kexec_file_load",
    /asked for/,
    /no kexec_file_load \(CONFIG_KEXEC_FILE\)/,
  ],
])("%s", (_, need, fact, method, reason, forbidden) => {
  const chosen = chooseMethod({ ...needs, ...need }, { ...facts, ...fact });
  expect(chosen.method).toBe(method);
  expect(chosen.reason).toMatch(reason);
  if (forbidden === undefined) expect(chosen.forbidden).toBeUndefined();
  else expect(chosen.forbidden).toMatch(forbidden);
});

test.each<[Partial<MethodNeeds>, string, number]>([
  [{ kind: "vmlinux", header: undefined }, "RK-KEXEC-VMLINUX", 4],
  [{ header: old }, "RK-IMAGE-TOO-OLD", 4],
  [{ entry32Bit: true }, "RK-USAGE", 2],
  [{ givenMap: true }, "RK-USAGE", 2],
])("kexec_file_load for what it cannot do is refused: %o", (need, code, exitCode) => {
  expect(() => chooseMethod({ ...needs, ...need, wish: "kexec_file_load" }, facts)).toThrow(
    expect.objectContaining({ code, exitCode }),
  );
});

test("what the running kernel allows", async () => {
  const host = fixtureHost({
    "/proc/sys/kernel/osrelease": "0.0.0-nowhere\n",
    "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
  });
  expect(await readMethodFacts(host)).toEqual({
    lockdown: "integrity",
    hasKexecLoad: undefined,
    hasKexecFileLoad: undefined,
    signatureForced: undefined,
  });
});
