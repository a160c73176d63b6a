import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { makeSigner, signerFromPem, signPe } from "../unit/formats/sign-pe.ts";
import { bundle } from "./bundle.ts";
import { builtExecutable } from "./executable.ts";
import { testKernels } from "./kernels.ts";
import type { Outcome } from "./signatures/outcome.ts";

const shipped = "/usr/share/ovmf/PkKek-1-snakeoil";

test("under Secure Boot the kernel does what was predicted, and EFI is still there after the jump", async () => {
  const { newest } = await testKernels();
  const rekernel = await builtExecutable();
  const script = await bundle(join(import.meta.dirname, "signatures/outcomes-in-guest.ts"));
  const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(share, { recursive: true }));
  const kernel = await bootableKernel(newest);

  const enrolled = signerFromPem(
    await readFile(`${shipped}.key`, "latin1"),
    "snakeoil",
    await readFile(`${shipped}.pem`, "latin1"),
  );
  const stranger = makeSigner({ name: "A stranger", by: makeSigner({ name: "A stranger's CA" }) });
  const unsigned = await readFile(kernel.image);
  const signed = signPe(unsigned, enrolled);
  const changed = Buffer.from(signed);
  changed[1_000_000]! ^= 1;
  const images: Readonly<Record<string, Uint8Array>> = {
    unsigned,
    signed,
    changed,
    issued: signPe(unsigned, makeSigner({ name: "Issued by the enrolled one", by: enrolled })),
    stranger: signPe(unsigned, stranger),
    strangerFirst: signPe(signPe(unsigned, stranger), enrolled),
    strangerLast: signPe(signed, stranger),
  };
  for (const [name, image] of Object.entries(images)) await writeFile(join(share, name), image);

  // As its package installs it: what the kernel insists on stands there.
  const config = join(dirname(kernel.image), `config-${newest}`);
  const files = { [`/boot/config-${newest}`]: config };
  await using vm = await bootVm({ kernel, firmware: "uefi-secure-boot", share, files });
  const paths = Object.keys(images).map((name) => `/share/${name}`);
  // What sbsign made of the kernel, which the firmware has started.
  const folder = `/lab/kernels/${newest}`;
  const { stdout, stderr } = await vm.run([process.execPath, script, `${folder}/vmlinuz`, ...paths]);
  expect(stdout, stderr).not.toBe("");
  const outcomes: Record<string, Outcome> = JSON.parse(stdout);
  const byErrno = Object.fromEntries(
    Object.entries(outcomes).map(([path, { errno }]) => [path.split("/").at(-1), errno ?? "taken"]),
  );
  expect(byErrno).toEqual({
    vmlinuz: "taken",
    unsigned: "ENODATA",
    signed: "taken",
    changed: "EKEYREJECTED",
    issued: "taken",
    stranger: "ENOKEY",
    strangerFirst: "ENOKEY",
    strangerLast: "taken",
    kexec_load: "EACCES",
  });
  for (const [path, { predicted, errno }] of Object.entries(outcomes))
    expect(predicted, path).toMatchObject(
      errno === undefined ? { outcome: "accepted" } : { outcome: "refused", errno },
    );
  expect(outcomes["/share/strangerFirst"]?.message).toContain(
    "it is signed by “A stranger”, which is not among this kernel's keys; of its 2 signatures the kernel looks at the first only (ENOKEY)",
  );
  expect(outcomes["/share/changed"]?.message).toContain("it was changed after it was signed (EKEYREJECTED)");
  expect(outcomes["/share/signed"]?.signature?.trustedKey).toEqual({
    description: "SnakeOil: 63b8d5ee5df87b9a2f08dde4dba1e606c854dadb",
    origin: ".platform",
  });

  const firstBoot = vm.bootId();
  const load = [rekernel, "kexec", "load", `${folder}/vmlinuz`, "--initrd", `${folder}/initrd`, "--json"];
  const loaded = await vm.run([...load, "--reuse-cmdline"]);
  expect(loaded.exitCode, loaded.stderr).toBe(0);
  await vm.start([rekernel, "kexec", "exec"]);
  await vm.waitForBoot();
  expect(vm.bootId()).not.toBe(firstBoot);
  const after = await vm.run(
    "cat /sys/firmware/efi/runtime /sys/kernel/security/lockdown; od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-*",
  );
  expect(after.stdout).toMatch(/^0x[0-9a-f]+\nnone \[integrity\] confidentiality\n +6 +0 +0 +0 +1\n$/);
});
