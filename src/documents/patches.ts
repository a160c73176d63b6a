import { z } from "zod";
import type { LivePatch } from "../host/livepatches.ts";
import type { PatchModule } from "../livepatch/inspect.ts";
import type { LoadResult } from "../livepatch/manage/load.ts";
import type { PatchStatus } from "../livepatch/manage/status.ts";
import type { UnloadResult } from "../livepatch/manage/unload.ts";
import { documentOf } from "./document.ts";

const livePatch = z.strictObject({
  name: z.string().describe("name of the patch and of its module"),
  enabled: z.boolean(),
  transition: z.boolean().describe("tasks are still being moved to the side that `enabled` names"),
  replace: z.boolean().optional().describe("it replaced all patches before it (kernels since 6.11 tell)"),
  stackOrder: z.number().optional().describe("1 was enabled first (kernels since 6.14 tell)"),
  objects: z.array(
    z.strictObject({
      name: z.string().describe("`vmlinux` or a module"),
      patched: z.boolean().optional().describe("false while the module is not loaded (since 6.1)"),
      functions: z.array(
        z.strictObject({
          name: z.string(),
          sympos: z.number().describe("which of the symbols of that name, in kallsyms order"),
        }),
      ),
    }),
  ),
});

/** `rekernel patch inspect` */
export const patchInspectDocument = documentOf<PatchModule>()(
  z.strictObject({
    name: z.string(),
    release: z.string().describe("the kernel it is for"),
    vermagic: z.string(),
    description: z.string().optional(),
    sizeBytes: z.number(),
    objects: z
      .array(
        z.strictObject({
          object: z.string().describe("`vmlinux` or a module"),
          functions: z.array(
            z.strictObject({
              name: z.string(),
              sympos: z.number(),
              newFunction: z.string(),
              newSizeBytes: z.number(),
            }),
          ),
        }),
      )
      .describe("what it replaces; empty where its tables are not static"),
    klpSymbols: z
      .array(z.strictObject({ object: z.string(), name: z.string(), sympos: z.number() }))
      .describe("symbols that livepatch binds by name and position"),
    klpRelocations: z.number(),
    imports: z.array(z.string()).describe("exported symbols that it uses"),
  }),
);

/** `rekernel patch load` */
export const patchLoadDocument = documentOf<LoadResult>()(
  z.strictObject({
    patch: livePatch,
    transitionMs: z.number().describe("until the last task ran the new code"),
    replaced: z.array(z.string()).describe("patches that this one replaced"),
  }),
);

/** `rekernel patch unload` */
export const patchUnloadDocument = documentOf<UnloadResult>()(
  z.strictObject({
    name: z.string(),
    transitionMs: z.number().describe("until the last task ran the original code again"),
  }),
);

/** `rekernel patch list` */
export const patchListDocument = documentOf<{ patches: LivePatch[] }>()(
  z.strictObject({ patches: z.array(livePatch) }),
);

/** `rekernel patch status` */
export const patchStatusDocument = documentOf<{ patches: PatchStatus[] }>()(
  z.strictObject({
    patches: z.array(
      z.strictObject({
        ...livePatch.shape,
        module: z
          .strictObject({
            name: z.string(),
            state: z.string().describe("`coming`, `live` or `going`"),
            references: z.number(),
            taint: z.string().describe("`K` marks a live patch"),
            version: z.string().optional(),
            sourceVersion: z.string().optional(),
          })
          .optional(),
        waiting: z
          .array(
            z.strictObject({
              tid: z.number(),
              pid: z.number(),
              command: z.string(),
              stack: z.array(z.string()).describe("kernel stack, innermost first"),
            }),
          )
          .describe("tasks that a running transition waits for"),
      }),
    ),
  }),
);
