import { describe, expect, it } from "vitest";
import { readDebugInfo } from "../../../../src/livepatch/build/types/debug-info.ts";
import { compileFiles, isInstalled } from "./compile-with-debug-info.ts";

const files = {
  "include/sample.h": `struct sample { int a; long b; };
static inline __attribute__((always_inline)) int twice(int x)
{
	return printk("%d", x) * 2;
}
`,
  "fs/unit.c": `int printk(const char *, ...);
#include <sample.h>
#include "local.h"
int limit = 3;
static __attribute__((noinline)) int first(struct sample *s)
{
	static int calls;
	return twice(s->a) + calls++;
}
static __attribute__((noinline)) int second(struct sample *s)
{
	static int calls = 4;
	if (__builtin_expect(s->b == 77, 0))
		return cold(s->a) + first(s);
	return twice(limit) + calls++;
}
int entry(struct sample *s)
{
	return first(s) + second(s) + local(s->a);
}
`,
  "fs/local.h": `__attribute__((cold)) int cold(int);
static inline __attribute__((always_inline)) int local(int x) { return twice(x + 1); }
`,
};

const compilers = [
  ...[
    "-gdwarf-2",
    "-gdwarf-3",
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-4 -fdebug-types-section",
    "-gdwarf-5 -gz=zlib",
  ],
  ...["-gdwarf-5 -fdebug-types-section", "-gdwarf-5 -gdwarf64"],
].map((flags) => ["gcc", flags] as const);
const clang = ["clang", "clang-19", "clang-16", "clang-14"].find(isInstalled);

describe("debug information of an object", () => {
  const check = (compiler: string, flags: string) => {
    const info = readDebugInfo(
      compileFiles(files, [...(compiler === "gcc" ? ["-fno-ipa-sra"] : []), ...flags.split(" ")], compiler),
      "unit.o",
    )!;
    expect(info.placeOf("entry")).toBe("fs/unit.c:17");
    expect(info.placeOf("first")).toBe("fs/unit.c:5");
    expect(info.placeOf("second")).toBe("fs/unit.c:10");
    expect(info.placeOf("limit")).toBe("fs/unit.c:4");
    // Of two variables of one name in the source the symbol table tells which is which.
    const statics = ["calls.0", "calls.1", "first.calls", "second.calls"]
      .map((name) => info.placeOf(name))
      .filter((place) => place !== undefined);
    expect(statics.sort()).toEqual(["fs/unit.c:12", "fs/unit.c:7"]);
    expect(info.placeOf("printk")).toBeUndefined();
    expect(info.carriersOf("twice")).toEqual(["entry", "first", "second"]);
    expect(info.carriersOf("local")).toEqual(["entry"]);
    expect(info.carriersOf("entry")).toEqual([]);
  };
  it.each(compilers)("of %s %s tells places and what was inlined where", check);
  it.skipIf(clang === undefined).each(["-gdwarf-4", "-gdwarf-5"])(`of ${clang} %s does so, too`, (flags) =>
    check(clang!, flags),
  );

  it("keeps to the numbers of #line, as a patched unit has them", () => {
    const source = `int a;\nint added;\n#line 2\nint f(void) { return a; }\n`;
    const info = readDebugInfo(compileFiles({ "fs/unit.c": source }), "unit.o")!;
    expect(info.placeOf("f")).toBe("fs/unit.c:2");
  });

  it("knows a function by the name that the compiler gave its clone", () => {
    const source = `static __attribute__((noinline)) int f(int *p, int unused) { return *p + 1; }
int g(int *p, int n) { return f(p, n) * 2; }
int h(int *p, int n) { return f(p, n + 1) * 3; }`;
    const info = readDebugInfo(compileFiles({ "fs/unit.c": source }, ["-g", "-fno-ipa-cp"]), "unit.o")!;
    expect(info.placeOf("f.isra.0")).toBe("fs/unit.c:1");
  });

  it("is missing from an object that was compiled without", () => {
    expect(readDebugInfo(compileFiles(files, []), "unit.o")).toBeUndefined();
  });
});
