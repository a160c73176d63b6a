/** The JSON documents of all commands: what docs/json.md describes and tests hold the commands to. */
import type { z } from "zod";
import { patchBuildDocument, patchDiffDocument } from "./build.ts";
import { errorDocument, progressLine } from "./common.ts";
import { explainDocument, explainListDocument } from "./explain.ts";
import { imageInfoDocument, imageSymbolsDocument, moduleInfoDocument } from "./image.ts";
import {
  kexecCompatDocument,
  kexecConfirmDocument,
  kexecExecDocument,
  kexecFallbackWatchDocument,
  kexecListDocument,
  kexecPlanDocument,
  kexecPreflightDocument,
  kexecStatusDocument,
  kexecUnloadDocument,
  kexecWholeWayDocument,
} from "./kexec.ts";
import { labRunDocument } from "./lab.ts";
import { machineReportDocument } from "./machine.ts";
import {
  patchInspectDocument,
  patchListDocument,
  patchLoadDocument,
  patchStatusDocument,
  patchUnloadDocument,
} from "./patches.ts";

export const documents: Readonly<Record<string, z.ZodType>> = {
  "rekernel doctor": machineReportDocument,
  "rekernel explain (a code)": explainDocument,
  "rekernel explain (all codes)": explainListDocument,
  "rekernel image info (a kernel)": imageInfoDocument,
  "rekernel image info (a module)": moduleInfoDocument,
  "rekernel image symbols": imageSymbolsDocument,
  "rekernel patch build": patchBuildDocument,
  "rekernel patch diff": patchDiffDocument,
  "rekernel patch inspect": patchInspectDocument,
  "rekernel patch load": patchLoadDocument,
  "rekernel patch unload": patchUnloadDocument,
  "rekernel patch list": patchListDocument,
  "rekernel patch status": patchStatusDocument,
  "rekernel kexec": kexecWholeWayDocument,
  "rekernel kexec list": kexecListDocument,
  "rekernel kexec preflight": kexecPreflightDocument,
  "rekernel kexec load": kexecPlanDocument,
  "rekernel kexec exec": kexecExecDocument,
  "rekernel kexec unload": kexecUnloadDocument,
  "rekernel kexec confirm": kexecConfirmDocument,
  "rekernel kexec fallback-watch": kexecFallbackWatchDocument,
  "rekernel kexec status": kexecStatusDocument,
  "rekernel kexec compat": kexecCompatDocument,
  "rekernel lab run": labRunDocument,
};

export { errorDocument, progressLine };
