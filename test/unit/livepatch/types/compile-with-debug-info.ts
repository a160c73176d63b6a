import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** Compiles `unit.c` of some files as a unit of the kernel is compiled, in a folder that stands for the tree. */
export function compileFiles(
  files: Readonly<Record<string, string>>,
  flags: readonly string[] = ["-g"],
  compiler = "gcc",
): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const common = [
      "-O2",
      "-ffunction-sections",
      "-fdata-sections",
      "-fno-PIE",
      "-mcmodel=kernel",
      "-w",
      "-Iinclude",
    ];
    execFileSync(compiler, [...common, ...flags, "-c", "fs/unit.c", "-o", "unit.o"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
    });
    return readFileSync(join(folder, "unit.o"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function compileUnit(source: string, flags: readonly string[] = ["-g"], compiler = "gcc"): Uint8Array {
  return compileFiles({ "fs/unit.c": source }, flags, compiler);
}

/** Whether a compiler that not every machine has is installed. */
export function isInstalled(compiler: string): boolean {
  try {
    execFileSync(compiler, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
