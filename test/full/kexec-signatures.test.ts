import { createPrivateKey } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runToolOk } from "../../src/core/tools.ts";
import { authenticodeDigest } from "../../src/formats/authenticode.ts";
import { readPe } from "../../src/formats/pe.ts";
import { bootableKernel } from "../../src/kernel/target.ts";
import { bootVm } from "../../src/lab/vm.ts";
import { signerFromPem, signPe } from "../unit/formats/sign-pe.ts";
import { bundle } from "../vm/bundle.ts";
import { testKernels } from "../vm/kernels.ts";
import type { Outcome } from "../vm/signatures/outcome.ts";

const shipped = "/usr/share/ovmf/PkKek-1-snakeoil";
const passphrase = "snakeoil";

/** The package with Debian's own signature, which is not the one that the other tests use. */
async function signedByDebian(release: string, folder: string): Promise<Uint8Array> {
  const name = `linux-image-${release}`;
  await runToolOk("apt-get", ["-o", "APT::Sandbox::User=root", "-q", "download", name], { cwd: folder });
  const [deb] = (await runToolOk("sh", ["-c", "ls *.deb"], { cwd: folder })).stdout.trim().split("\n");
  await runToolOk("dpkg-deb", ["-x", deb!, "package"], { cwd: folder });
  return readFile(join(folder, `package/boot/vmlinuz-${release}`));
}

/** What has to be written into efivarfs so that the firmware revokes an image. */
async function revocationOf(image: Uint8Array, folder: string): Promise<string> {
  const digest = authenticodeDigest(image, readPe(image), "sha256")!;
  const at = (name: string) => join(folder, name);
  const key = createPrivateKey({ key: await readFile(`${shipped}.key`), passphrase });
  await writeFile(at("key"), key.export({ type: "pkcs8", format: "pem" }));
  await writeFile(at("digest"), Buffer.from(digest, "hex"));
  const owner = "00000000-1111-2222-3333-444444444444";
  await runToolOk("sbsiglist", ["--owner", owner, "--type", "sha256", "--output", at("list"), at("digest")]);
  await runToolOk("sbvarsign", [
    ...["--key", at("key"), "--cert", `${shipped}.pem`, "--include-attrs", "--attr"],
    "NON_VOLATILE,BOOTSERVICE_ACCESS,RUNTIME_ACCESS,TIME_BASED_AUTHENTICATED_WRITE_ACCESS",
    ...["--output", at("dbx"), "dbx", at("list")],
  ]);
  return at("dbx");
}

test("Debian's signature is a stranger's there, and what the firmware's dbx revokes kexec still takes", async () => {
  const { newest, series61 } = await testKernels();
  const share = await mkdtemp(join(tmpdir(), "rekernel-test-"));
  onTestFinished(() => rm(share, { recursive: true }));
  const at = (name: string) => join(share, name);
  const kernel = await bootableKernel(newest);
  const [key, certificate] = await Promise.all([
    readFile(`${shipped}.key`, "latin1"),
    readFile(`${shipped}.pem`, "latin1"),
  ]);
  const other = await readFile((await bootableKernel(series61)).image);
  const revoked = signPe(other, signerFromPem(key, passphrase, certificate));
  await writeFile(at("debian"), await signedByDebian(newest, share));
  await writeFile(at("revoked"), revoked);
  await revocationOf(revoked, share);

  const config = { [`/boot/config-${newest}`]: join(dirname(kernel.image), `config-${newest}`) };
  await using vm = await bootVm({ kernel, firmware: "uefi-secure-boot", share, files: config });
  const script = await bundle(join(import.meta.dirname, "../vm/signatures/outcomes-in-guest.ts"));
  const outcomesOf = async (...names: string[]): Promise<Record<string, Outcome>> => {
    const paths = names.map((name) => `/share/${name}`);
    const { stdout, stderr } = await vm.run([process.execPath, script, ...paths]);
    expect(stdout, stderr).not.toBe("");
    return JSON.parse(stdout);
  };

  const before = await outcomesOf("debian", "revoked");
  expect(before["/share/debian"]).toMatchObject({
    errno: "ENOKEY",
    predicted: { outcome: "refused", errno: "ENOKEY" },
    signature: { signer: expect.stringMatching(/^Debian Secure Boot Signer/) },
    message: expect.stringMatching(
      /it is signed by “Debian Secure Boot Signer.*not among this kernel's keys/,
    ),
  });
  expect(before["/share/revoked"]).toMatchObject({ predicted: { outcome: "accepted" } });
  expect(before["/share/revoked"]?.notes.join(" ")).not.toContain("(dbx)");

  const dbx = "/sys/firmware/efi/efivars/dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
  const written = await vm.run(`chattr -i ${dbx}; dd if=/share/dbx of=${dbx} bs=64K`);
  expect(written.exitCode, written.stderr).toBe(0);
  await vm.reset();
  const digest = authenticodeDigest(revoked, readPe(revoked), "sha256");
  expect((await vm.run("cat /proc/keys")).stdout).toContain(`bin:${digest}`);
  const after = (await outcomesOf("revoked"))["/share/revoked"];
  expect(after).toMatchObject({ predicted: { outcome: "accepted" } });
  expect(after?.notes.join(" ")).toContain("The firmware's list of revoked images (dbx) names this one");
  expect(after?.errno).toBeUndefined();
});
