import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ElfFile, readElf } from "../../../../src/formats/elf/read.ts";

/** Links objects: into one object, as a module is, or at the kernel's addresses. */
export function link(objects: readonly Uint8Array[], how: "module" | "kernel"): ElfFile {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    const names = objects.map((object, i) => {
      writeFileSync(join(folder, `${i}.o`), object);
      return `${i}.o`;
    });
    const kernel = ["-Ttext=0xffffffff81000000", "-Tdata=0xffffffff82000000", "-e", "0", "--no-warnings"];
    execFileSync("ld", [...(how === "module" ? ["-r"] : kernel), ...names, "-o", "linked"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
    });
    return readElf(readFileSync(join(folder, "linked")), "linked");
  } finally {
    rmSync(folder, { recursive: true });
  }
}
