import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { withoutLibatomic } from "../../../scripts/executable/without-libatomic.ts";
import { readElf } from "../../../src/formats/elf/read.ts";

const assembly = join(import.meta.dirname, "../../../scripts/executable/compare-exchange.S");

/** Tries every size, both outcomes, and an object that lies across a cache line. */
const program = `
#include <stdio.h>
#include <string.h>
_Bool exchange(unsigned long, void *, void *, void *, int, int) __asm__("__atomic_compare_exchange");
int main(void)
{
	static char memory[128] __attribute__((aligned(64)));
	for (int size = 1; size <= 8; size *= 2) {
		char *object = memory + 61;
		unsigned long old = 0x1122334455667788, new = 0x99aabbccddeeff00, wrong = 0, now = 0;
		memcpy(object, &old, 8);
		int refused = exchange(size, object, &wrong, &new, 5, 5);
		int done = exchange(size, object, &old, &new, 5, 5);
		memcpy(&now, object, 8);
		printf("%d %d %d %lx %lx\\n", size, refused, done, wrong, now);
	}
}
`;

function build(source: string, ...libraries: string[]): { path: string; run(path: string): string } {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-libatomic-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [file, path] = [join(folder, "program.c"), join(folder, "program")];
  writeFileSync(file, source);
  execFileSync("gcc", ["-O1", "-no-pie", "-Wl,-z,now", "-o", path, file, ...libraries]);
  return { path, run: (executable) => execFileSync(executable, { encoding: "utf8" }) };
}

function machineCode(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "rekernel-libatomic-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const object = join(folder, "code.o");
  execFileSync("gcc", ["-c", "-o", object, assembly]);
  return readElf(readFileSync(object), object).section(".text")!.data;
}

test("a program works the same without libatomic", () => {
  const { path, run } = build(program, "-latomic");
  const freed = `${path}-freed`;
  writeFileSync(freed, withoutLibatomic(readFileSync(path), machineCode()), { mode: 0o755 });
  const needed = (file: string) => execFileSync("readelf", ["-dV", file], { encoding: "utf8" });
  expect(needed(path)).toContain("libatomic.so.1");
  expect(needed(freed)).not.toMatch(/NEEDED.*libatomic|File: libatomic/);
  expect(run(freed)).toBe(run(path));
  expect(run(freed).split("\n")[3]).toBe("8 0 1 1122334455667788 99aabbccddeeff00");
});

test("a program that does not need libatomic stays as it is", () => {
  const { path } = build("int main(void) { return 0; }");
  const bytes = readFileSync(path);
  expect(Buffer.from(withoutLibatomic(bytes, machineCode())).equals(bytes)).toBe(true);
});

test("a program that takes more from libatomic is refused", () => {
  const { path } = build(
    `${program.replace("int main(void)", 'void load(unsigned long, void *, void *, int) __asm__("__atomic_load");\nint main(int n, char **v)')}
    void *keep = load;`,
    "-latomic",
  );
  expect(() => withoutLibatomic(readFileSync(path), machineCode())).toThrow(/__atomic_load/);
});
