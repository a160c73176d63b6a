import { describe, expect, it } from "vitest";
import { declarationCautions } from "../../../../src/livepatch/build/cautions/declarations.ts";

const source = `// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

int foo(int x)
{
	return x;
}
EXPORT_SYMBOL(foo);

static int limit = 3;
module_param(limit, int, 0644);
/* EXPORT_SYMBOL(commented); */
static const char text[] = "EXPORT_SYMBOL(text)";

static int __init start(void)
{
	return 0;
}
module_init(start);
MODULE_DEVICE_TABLE(pci, ids);
MODULE_LICENSE("GPL");
`;
const changed = (from: string, to: string) =>
  declarationCautions("drivers/a.c", source, source.replace(from, to));

describe("declarations that a live patch cannot bring", () => {
  it("are none where none changes", () => {
    expect(changed("return x;", "return x + 1;")).toEqual([]);
    expect(changed("MODULE_LICENSE", 'MODULE_AUTHOR("me");\nMODULE_LICENSE')).toEqual([]);
    expect(changed("commented", "commented_too")).toEqual([]);
    expect(changed("EXPORT_SYMBOL(foo)", "EXPORT_SYMBOL_GPL(foo)")).toEqual([]);
  });

  it("are exports, with their place", () => {
    expect(changed("static int limit", "EXPORT_SYMBOL_GPL(bar);\nstatic int limit")).toMatchObject([
      {
        code: "RK-CAUTION-EXPORT",
        source: "drivers/a.c:10",
        message: expect.stringContaining("exports bar:"),
      },
    ]);
    expect(changed("EXPORT_SYMBOL(foo);\n", "")).toMatchObject([
      { code: "RK-CAUTION-EXPORT", message: expect.stringContaining("exports foo no more") },
    ]);
  });

  it("are parameters, init functions, and what modprobe reads", () => {
    expect(changed("limit, int, 0644", "limit, uint, 0644").map(({ code }) => code)).toEqual([
      "RK-CAUTION-PARAMETER",
      "RK-CAUTION-PARAMETER",
    ]);
    expect(changed("module_init(start);", "module_init(start);\nlate_initcall(\n\tmore);")).toMatchObject([
      {
        code: "RK-CAUTION-INITCALL",
        source: "drivers/a.c:20",
        message: expect.stringContaining("late_initcall(more)"),
      },
    ]);
    expect(changed("MODULE_DEVICE", 'MODULE_ALIAS("x");\nMODULE_DEVICE')).toMatchObject([
      { code: "RK-CAUTION-MODULE-INFO" },
    ]);
  });
});
