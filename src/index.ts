/**
 * rekernel as a library: everything the command line does, as typed functions that never print.
 *
 * Long work takes `WorkOptions` (`onProgress`, `signal`). What is expected to go wrong throws `RekernelError`
 * with a stable `code`, an `exitCode` and, mostly, a `hint`.
 */

export { type ErrorKind, type ErrorOptions, exitCode, RekernelError } from "./core/errors.ts";
export type { ProgressEvent, ProgressListener, WorkOptions } from "./core/progress.ts";
// This machine
export { examineMachine } from "./doctor/doctor.ts";
export type { Capability, CapabilityName, Check, MachineReport } from "./doctor/report.ts";
export { documents, errorDocument, progressLine } from "./documents/documents.ts";
// Formats
export { type BzImage, type BzImageHeader, readBzImage, unpackPayload } from "./formats/bzimage.ts";
export { type Compression, decompress } from "./formats/compression.ts";
export * from "./formats/elf/constants.ts";
export {
  type ElfFile,
  type ElfRelocation,
  type ElfSection,
  type ElfSegment,
  type ElfSymbol,
  readElf,
} from "./formats/elf/read.ts";
export { type OutputObject, type OutputSection, type OutputSymbol, writeElf } from "./formats/elf/write.ts";
export { type PeFile, type PeSection, readPe } from "./formats/pe.ts";
export { readUki, type UkiProfile, type UkiSection, type UnifiedKernelImage } from "./formats/uki.ts";
export type { LivePatch, PatchedFunction, PatchedObject } from "./host/livepatches.ts";
export type { WaitingTask } from "./host/tasks.ts";
// Kernels that need not run
export { KernelImage, type KernelSymbol } from "./kernel/image.ts";
export { KernelModuleFile } from "./kernel/module.ts";
export { openImageOrModule } from "./kernel/open.ts";
export { readSymvers } from "./kernel/symvers.ts";
export {
  type AvailableKernel,
  availableKernels,
  type BootableKernel,
  bootableKernel,
  type TargetKernel,
  targetFromPaths,
  targetKernel,
} from "./kernel/target.ts";
// kexec
export type { BootKernel, KernelChoice } from "./kexec/choice/boot-kernel.ts";
export { type ChoiceOptions, chooseKernel } from "./kexec/choice/choose.ts";
export { type ChoiceChanges, requestOfChoice } from "./kexec/choice/request.ts";
export { type ExecOptions, type ExecStarted, execKexec, type Leaving } from "./kexec/exec.ts";
export type { HookRun, NextKernel } from "./kexec/hooks.ts";
export type { PlannedLayout } from "./kexec/lay-out.ts";
export { type LoadKexecOptions, loadKexec, unloadKexec } from "./kexec/load.ts";
export type { KexecMethod } from "./kexec/method.ts";
export { type KexecPlan, type KexecRequest, planKexec } from "./kexec/plan.ts";
export type { Finding, Severity } from "./kexec/preflight/finding.ts";
export { type KexecPreflight, preflightKexec } from "./kexec/preflight/preflight.ts";
export {
  checkLoadedImage,
  type ExpectedImage,
  expectedImage,
  type LoadedImageCheck,
} from "./kexec/purgatory/loaded.ts";
export { type Quieted, quiesceMachine } from "./kexec/quiesce/quiesce.ts";
export { type KexecStatus, kexecStatus } from "./kexec/status.ts";
export { type KexecSurvey, kexecWholeWay, surveyKexec, type WholeWay } from "./kexec/whole-way.ts";
// Virtual machines
export type { VmEnd } from "./lab/end.ts";
export { type PatchOnTrial, type PatchTrial, verifyPatch } from "./lab/patch-trial.ts";
export { type LabRun, type LabRunOptions, runInLab } from "./lab/run.ts";
export { bootVm, type RunResult, type Vm, type VmOptions } from "./lab/vm.ts";
export { type BuildOptions, type BuildReport, buildLivePatch } from "./livepatch/build/build.ts";
export { parsePatch, type SourcePatch } from "./livepatch/build/source/patch.ts";
export { inspectPatchModule, type PatchModule } from "./livepatch/inspect.ts";
// Live patches of the running kernel
export { type LoadOptions, type LoadResult, loadPatch } from "./livepatch/manage/load.ts";
export { listPatches, type PatchStatus, patchStatus } from "./livepatch/manage/status.ts";
export { type UnloadOptions, type UnloadResult, unloadPatch } from "./livepatch/manage/unload.ts";
