import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { filesDefining, sourceName } from "../../../../src/livepatch/build/callers/definitions.ts";

const files: Record<string, string> = {
  "fs/a.c": "int foo(int x)\n{\n\treturn bar(x);\n}\n",
  "fs/b.c": "static noinline_for_stack struct list *\nfoo_two(struct x *y,\n\tint z)\n{\n}\n",
  "fs/c.c": "extern int foo(int x);\nint caller(void)\n{\n\tfoo(1);\n}\n",
  "fs/d.c": "static inline int one_line(void) { return 0; }\n",
  "fs/e.c": "SYSCALL_DEFINE2(umount, char __user *, name, int, flags)\n{\n}\n",
  "fs/f.h": "int foo(int x)\n{\n}\n",
  "fs/sub/g.c": "void foo (void)\n{\n}\n",
  "mm/h.c": "int notfoo(int x)\n{\n}\n",
};
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "rekernel-test-"));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
});
afterAll(() => rmSync(root, { recursive: true }));

describe("the files that define a function", () => {
  it("have it from the first column on, and declare more than its type", async () => {
    expect(await filesDefining(root, ["fs", "mm", "absent"], ["foo"])).toEqual(["fs/a.c", "fs/sub/g.c"]);
    expect(await filesDefining(root, ["fs"], ["foo_two", "one_line"])).toEqual(["fs/b.c", "fs/d.c"]);
  });

  it("are found by compilers' names of copies and parts, and by system calls", async () => {
    expect(sourceName("foo.isra.0.part.3.cold")).toBe("foo");
    expect(await filesDefining(root, ["fs"], ["foo_two.constprop.0"])).toEqual(["fs/b.c"]);
    expect(await filesDefining(root, ["fs"], ["__do_sys_umount"])).toEqual(["fs/e.c"]);
  });

  it("are none for what is no C name", async () => {
    expect(await filesDefining(root, ["fs"], ["$(x)", "a|b"])).toEqual([]);
  });
});
