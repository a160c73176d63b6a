import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { loadedBuildId } from "../../../src/host/modules.ts";
import { thisHost } from "../../../src/host/paths.ts";

const sys = mkdtempSync(join(tmpdir(), "rekernel-test-"));
afterAll(() => rmSync(sys, { recursive: true }));

test("the build id of a loaded module, as the kernel shows its note", async () => {
  mkdirSync(join(sys, "module/fix/notes"), { recursive: true });
  const id = Buffer.from("f321bd2139d526a7cfe83fda49d7e780fc87f099", "hex");
  const header = Buffer.alloc(12);
  // ELF notes: sizes of name and content, NT_GNU_BUILD_ID.
  for (const [index, value] of [4, id.length, 3].entries()) header.writeUInt32LE(value, index * 4);
  writeFileSync(
    join(sys, "module/fix/notes/.note.gnu.build-id"),
    Buffer.concat([header, Buffer.from("GNU\0"), id]),
  );
  const host = { ...thisHost, sys };
  expect(await loadedBuildId("fix", host)).toBe(id.toString("hex"));
  expect(await loadedBuildId("other", host)).toBeUndefined();
});
