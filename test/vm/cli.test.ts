import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { documents, progressLine } from "../../src/documents/documents.ts";
import { bootableKernel, targetKernel } from "../../src/kernel/target.ts";
import { rekernel, root } from "../unit/cli/run.ts";
import { testKernels } from "./kernels.ts";

const share = mkdtempSync(join(tmpdir(), "rekernel-cli-"));
afterAll(() => rmSync(share, { recursive: true, force: true }));

const program = join(root, "bin/rekernel");

/** Commands that need a kernel of their own, each with its JSON into a file of its name. */
const inGuest = `
cd /share
${program} patch load livepatch_demo.ko --json >patch-load.json || exit 11
${program} patch load livepatch_demo.ko --json >again.json; echo $? >again.code
${program} patch list --json >patch-list.json || exit 12
${program} patch status --json >patch-status.json || exit 13
${program} patch unload livepatch_demo --json >patch-unload.json || exit 14
folder=/lab/kernels/$(uname -r)
${program} kexec load $folder/vmlinuz --initrd $folder/initrd --command-line "$(cat $folder/cmdline)" --json >kexec-load.json || exit 15
${program} kexec status --json >kexec-status.json || exit 16
${program} kexec unload --json >kexec-unload.json || exit 17
${program} kexec unload --json >no-kexec.json; echo $? >no-kexec.code
${program} doctor livepatch kexec --json >doctor.json || exit 18
`;

const shared = (name: string) => readFileSync(join(share, name), "utf8");

test("from a patch to a loaded module and a loaded kernel, by the command line alone, with documented JSON", async () => {
  const { previous } = await testKernels();
  const parse = (command: string, text: string) => documents[`rekernel ${command}`]!.parse(JSON.parse(text));

  const module = join(share, "livepatch_demo.ko");
  const patch = join(root, "demo/cgroup-kill.patch");
  const options = [
    "--kernel",
    previous,
    "--name",
    "livepatch_demo",
    "--output",
    module,
    "--verify",
    "--json",
  ];
  const build = await rekernel(["patch", "build", patch, ...options]);
  expect(build.exitCode, build.stdout).toBe(0);
  const report = parse("patch build", build.stdout);
  expect(report).toMatchObject({
    functions: [{ name: "__cgroup_kill", sizeBytes: expect.any(Number), reason: expect.any(String) }],
    trial: { verdict: "clean", warnings: [] },
  });
  const { image: path, config, symvers, source } = await targetKernel(previous);
  const inputs = await Promise.all(
    [patch, path, config, symvers, source.path].map(async (name) => ({
      name,
      sha256: createHash("sha256")
        .update(await readFile(name))
        .digest("hex"),
    })),
  );
  expect(report).toMatchObject({ inputs });
  for (const line of build.stderr.trimEnd().split("\n")) progressLine.parse(JSON.parse(line));

  const inspected = await rekernel(["patch", "inspect", module, "--json"]);
  expect(parse("patch inspect", inspected.stdout)).toMatchObject({ release: previous });
  const image = await rekernel(["image", "info", (await bootableKernel(previous)).image, "--json"]);
  expect(parse("image info (a kernel)", image.stdout)).toMatchObject({ release: previous });
  parse("image info (a module)", (await rekernel(["image", "info", module, "--json"])).stdout);

  const lab = await rekernel([
    "lab",
    "run",
    "--kernel",
    previous,
    "--share",
    share,
    "--json",
    "--",
    "sh",
    "-c",
    inGuest,
  ]);
  expect(parse("lab run", lab.stdout), lab.stdout).toMatchObject({ exitCode: 0, kernel: previous });
  for (const command of [
    "patch load",
    "patch list",
    "patch status",
    "patch unload",
    "kexec load",
    "kexec status",
    "kexec unload",
  ])
    parse(command, shared(`${command.replace(" ", "-")}.json`));
  parse("doctor", shared("doctor.json"));
  expect(JSON.parse(shared("patch-list.json"))).toMatchObject({
    patches: [{ enabled: true, transition: false }],
  });
  expect(JSON.parse(shared("kexec-status.json"))).toMatchObject({ loaded: true });

  expect(shared("again.code").trim(), "what is loaded already is nothing to do").toBe("3");
  expect(JSON.parse(shared("again.json"))).toMatchObject({
    error: { code: "RK-ALREADY-LOADED", exitCode: 3 },
  });
  expect(shared("no-kexec.code").trim()).toBe("3");
});

test("the command's exit code and output come out of the lab, with clear words for a kernel that is not there", async () => {
  const { newest } = await testKernels();
  const run = await rekernel([
    "lab",
    "run",
    "--kernel",
    newest,
    "--no-host-root",
    "--",
    "sh",
    "-c",
    "uname -r; exit 9",
  ]);
  expect(run.exitCode).toBe(1);
  expect(run.stdout).toBe(`${newest}\n`);
  expect(run.stderr).toContain("exit code 9");

  const unknown = await rekernel(["lab", "run", "--kernel", "6.12.1+deb12-amd64", "--json", "--", "true"]);
  expect(unknown.exitCode).toBe(1);
  expect(JSON.parse(unknown.stdout)).toMatchObject({ error: { code: "RK-TARGET-UNKNOWN" } });
});
