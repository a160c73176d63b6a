import { z } from "zod";
import type { PatchTrial } from "../lab/patch-trial.ts";
import type { BuildReport } from "../livepatch/build/build.ts";
import type { ObjectDiff } from "../livepatch/build/object-diff.ts";
import { documentOf } from "./document.ts";

const caution = z.strictObject({
  code: z.string().describe("RK-CAUTION-…, see errors.md"),
  message: z.string(),
  hint: z.string(),
  source: z.string().optional().describe("where in the source, `path:line`"),
});

/** `rekernel patch build` */
export const patchBuildDocument = documentOf<BuildReport & { trial?: PatchTrial }>()(
  z.strictObject({
    name: z.string().describe("name of the module and of the patch"),
    release: z.string().describe("the kernel it is for"),
    output: z.string().describe("path of the module"),
    sizeBytes: z.number(),
    sha256: z.string().describe("of the module"),
    objects: z.array(z.string()).describe("`vmlinux` and the modules that the patch is for"),
    functions: z
      .array(
        z.strictObject({
          source: z.string(),
          object: z.string().describe("`vmlinux` or a module"),
          name: z.string(),
          sympos: z.number().describe("which of the symbols of that name; 0: the only one"),
          reason: z.string().describe("why it counts as changed"),
          match: z
            .enum(["identical", "identical-by-stock-flags"])
            .describe(
              "how the original equals the target: as compiled here, or as the kernel's own command compiles it",
            ),
          sizeBytes: z.number(),
          newSizeBytes: z.number(),
        }),
      )
      .describe("what the module replaces; the original of each is byte for byte in the target"),
    included: z
      .array(
        z.strictObject({
          source: z.string(),
          name: z.string(),
          kind: z.enum(["function", "data", "constant"]),
          sizeBytes: z.number(),
          reason: z.string(),
        }),
      )
      .describe("what the module brings besides"),
    units: z
      .array(z.strictObject({ source: z.string(), object: z.string(), changed: z.number() }))
      .describe("translation units that were compiled, with how many functions changed"),
    moduleSources: z
      .array(
        z.strictObject({
          name: z.string().describe("what the paths of its files begin with in `source`"),
          folder: z.string(),
          sha256: z.string().describe("of its files"),
        }),
      )
      .describe("sources of out-of-tree modules that were given"),
    moduleFiles: z
      .array(z.strictObject({ name: z.string(), path: z.string() }))
      .describe("out-of-tree modules that it was held against: those patched, and those that these need"),
    notBuilt: z
      .array(z.string())
      .describe("sources that the patch touches and the kernel's configuration leaves out"),
    match: z.strictObject({
      identicalFunctions: z.number().describe("functions of these units that are byte for byte the target's"),
      comparedFunctions: z.number(),
    }),
    audit: z.strictObject({
      klpSymbols: z.number(),
      klpRelocations: z.number(),
      importedSymbols: z.number(),
    }),
    inlined: z
      .array(z.strictObject({ source: z.string(), name: z.string(), into: z.array(z.string()) }))
      .describe(
        "functions that the patch changes and the compiler inlines, with all functions that hold a copy",
      ),
    cautions: z.array(caution).describe("what the author has to judge"),
    warnings: z.array(z.string()).describe("what kbuild and objtool warned of"),
    inputs: z
      .array(z.strictObject({ name: z.string(), sha256: z.string() }))
      .describe(
        "patches, kernel image, configuration, Module.symvers, patched modules and those that they need, and the source where it is a tarball",
      ),
    timesMs: z
      .strictObject({
        trees: z.number(),
        compile: z.number(),
        link: z.number(),
        own: z.number(),
        total: z.number(),
      })
      .describe("wall-clock time; `own` is what neither the compiler nor kbuild took"),
    trial: z
      .strictObject({
        verdict: z.enum(["clean", "warned", "rejected", "stalled", "kept", "crashed"]),
        targetsLoaded: z.array(z.string()).describe("of the patched modules, those that load in the VM"),
        warnings: z.array(z.string()),
        log: z.string().optional(),
      })
      .optional()
      .describe("with --verify; anything but `clean` is an error"),
  }),
);

/** `rekernel patch diff` */
export const patchDiffDocument = documentOf<ObjectDiff>()(
  z.strictObject({
    verdict: z.enum(["patchable", "unchanged", "refused"]),
    changed: z.array(z.string()).describe("functions that a live patch replaces, as in the symbol table"),
    new: z.array(z.string()).describe("functions that only the patched object has and that these need"),
    removed: z.array(z.string()).describe("functions that only the original object has"),
    reasons: z.array(
      z.strictObject({
        name: z.string().optional().describe("the changed function"),
        code: z.string().optional().describe("why it cannot be carried, see errors.md"),
        reason: z.string(),
        hint: z.string().optional(),
        source: z.string().optional().describe("where in the source, `path:line`"),
      }),
    ),
    cautions: z.array(caution).describe("what the author has to judge although the change can be carried"),
    included: z
      .array(
        z.strictObject({
          name: z.string(),
          section: z.string(),
          sizeBytes: z.number(),
          reason: z.string(),
          tables: z
            .record(z.string(), z.number())
            .describe("entries of the kernel's tables that come with it"),
        }),
      )
      .describe("all that a module would hold"),
  }),
);
