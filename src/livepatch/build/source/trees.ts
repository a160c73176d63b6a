import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { cacheFolder } from "../../../core/cache.ts";
import debianPackages from "../../../core/debian-packages.json" with { type: "json" };
import { RekernelError } from "../../../core/errors.ts";
import { writeFileAtomic } from "../../../core/files.ts";
import { withLock } from "../../../core/lock.ts";
import { runPipeline } from "../../../core/pipeline.ts";
import { runStep, type WorkOptions } from "../../../core/progress.ts";
import { runTool, runToolOk } from "../../../core/tools.ts";
import type { TargetKernel } from "../../../kernel/target.ts";
import type { Unit } from "../units/units.ts";
import { targetCompiler } from "./compiler.ts";
import { kbuildProbe, runClean } from "./kbuild.ts";

/** A kernel's source, configured and prepared exactly as the target was, kept in the cache. */
export interface KernelTrees {
  release: string;
  /** The prepared source, of the kernel and of out-of-tree modules beside it. Nothing of a patch is ever written there. */
  pristine: string;
  /** The kernel's prepared source tree, where make runs; the same as `pristine` without out-of-tree modules. */
  kernel: string;
  /** Sources of out-of-tree modules, in the order given. */
  modules: readonly ModuleSource[];
  /** What the tree's own version lacks to be the release: `+deb12-amd64`. Empty where the release is another one altogether. */
  localVersion: string;
  /** Arguments of every `make -C pristine`, also of the external module: compiler, release, and no BTF. */
  makeArgs: readonly string[];
  /** Folder for what is kept about this tree: compile commands, objects of unpatched units. */
  store: string;
  /** What the top Makefile exports to kbuild. */
  environment: Readonly<Record<string, string>>;
  /** Lock for whoever lets kbuild write into the tree. */
  lock: string;
}

/** The source of out-of-tree modules, as {@link KernelTrees.pristine} holds it. */
export interface ModuleSource {
  /** Its folder in `pristine`: what the paths of its files begin with. */
  name: string;
  /** The folder given, absolute. It is only read. */
  folder: string;
  /** Digest of the content of its files. */
  sha256: string;
  /** Every unit that its makefiles build, once for each module that it goes into. */
  units: readonly Unit[];
}

/** The module source that a path in `pristine` belongs to; undefined for the kernel's own files. */
export function moduleSourceOf(trees: KernelTrees, path: string): ModuleSource | undefined {
  const [top] = path.split("/", 1);
  return trees.modules.find(({ name }) => name === top);
}

interface TreeRecord {
  release: string;
  localVersion: string;
  makeArgs: string[];
  environment: Record<string, string>;
}

/** Part of the cache's key: what has to be prepared anew when the way of preparing changes. */
const preparationVersion = 1;

/**
 * Unpacks and prepares the target's source, once per kernel: the configuration, the host tools (objtool, modpost,
 * fixdep), generated headers, Module.symvers. About a minute on two cores the first time, milliseconds after.
 * Interrupted work leaves no tree that counts as prepared.
 *
 * @throws RekernelError RK-COMPILER-MISMATCH (4), RK-CONFIG-MISMATCH (4), RK-TOOL-MISSING (5), RK-SOURCE (1),
 *   RK-PREPARE (1), RK-DISK-FULL (1)
 */
export async function prepareTrees(target: TargetKernel, options: WorkOptions = {}): Promise<KernelTrees> {
  const config = await readFile(target.config, "utf8");
  const compiler = await targetCompiler(config, options);
  const key = createHash("sha256")
    .update(
      JSON.stringify([
        preparationVersion,
        target.release,
        compiler,
        config,
        await sourceIdentity(target, options),
      ]),
    )
    .update(await readFile(target.symvers))
    .digest("hex")
    .slice(0, 12);
  const folder = join(await cacheFolder("trees"), `${target.release}-${key}`);
  const record = join(folder, "prepared.json");
  const finished = await readRecord(record);
  if (finished) return treesOf(folder, finished);
  const title = `Prepare the source of ${target.release}`;
  return runStep(options, "trees", title, async (update) => {
    const lock = {
      signal: options.signal,
      onWait: () => update("Waiting for another rekernel that prepares it"),
    };
    return withLock(`${folder}.lock`, lock, async () => {
      const meanwhile = await readRecord(record);
      if (meanwhile) return treesOf(folder, meanwhile);
      // A tree without a record is half done. It is not made elsewhere and renamed, because it holds its own path.
      await rm(folder, { recursive: true, force: true });
      try {
        const made = await prepare(target, config, compiler, folder, options, update);
        await writeFileAtomic(record, JSON.stringify(made));
        return treesOf(folder, made);
      } catch (error) {
        await rm(folder, { recursive: true, force: true });
        throw error;
      }
    });
  });
}

function treesOf(folder: string, record: TreeRecord): KernelTrees {
  return {
    ...record,
    pristine: join(folder, "source"),
    kernel: join(folder, "source"),
    modules: [],
    store: folder,
    lock: `${folder}.lock`,
  };
}

async function readRecord(path: string): Promise<TreeRecord | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as TreeRecord);
}

/** What tells one source from another: a tarball by its file, a tree by the size and time of every file in it. */
async function sourceIdentity(target: TargetKernel, options: WorkOptions): Promise<unknown> {
  if (target.source.kind === "tarball") {
    const found = await stat(target.source.path);
    return [basename(target.source.path), found.size, Math.trunc(found.mtimeMs)];
  }
  const { stdout } = await runToolOk("find", [target.source.path, "-type", "f", "-printf", "%P %s %T@\\n"], {
    signal: options.signal,
  });
  return [
    target.source.path,
    createHash("sha256").update(stdout.split("\n").sort().join("\n")).digest("hex"),
  ];
}

async function prepare(
  target: TargetKernel,
  config: string,
  compiler: string,
  folder: string,
  options: WorkOptions,
  update: (note?: string, fraction?: number) => void,
): Promise<TreeRecord> {
  await requireTools();
  const source = join(folder, "source");
  await mkdir(source, { recursive: true });
  await mkdir(join(folder, "objects"));
  await mkdir(join(folder, "commands"));
  update("Unpacking the source", 0);
  await unpackSource(target, source, options);
  const version = await sourceVersion(source);
  const localVersion = target.release.startsWith(version) ? target.release.slice(version.length) : "";
  checkSeries(target.release, version);

  update("Building the kernel's host tools", 0.3);
  await copyFile(target.config, join(source, ".config"));
  await copyFile(target.symvers, join(source, "Module.symvers"));
  const probe = join(folder, "probe.mk");
  await writeFile(probe, kbuildProbe);
  const make = await makeArguments(target.release, config, compiler, folder);
  // A distribution's own .config is complete; one given by hand may lack what it does not say of keys and such.
  const goals = target.autoconf === undefined ? ["olddefconfig", "modules_prepare"] : ["modules_prepare"];
  const jobs = `-j${Math.max(2, availableParallelism())}`;
  for (const goal of goals) {
    const made = await runClean(["make", jobs, ...make.all, goal], { cwd: source, signal: options.signal });
    if (made.exitCode !== 0) throw prepareError(target, goal, `${made.stdout}${made.stderr}`);
  }
  update("Checking the configuration", 0.9);
  await checkConfiguration(target, config, source);

  const environmentFile = join(folder, "environment");
  const dumped = await runClean(["make", ...make.building, "rekernel-environment"], {
    cwd: source,
    environment: { MAKEFILES: probe, REKERNEL_ENVIRONMENT: environmentFile },
    signal: options.signal,
  });
  if (dumped.exitCode !== 0)
    throw prepareError(target, "rekernel-environment", `${dumped.stdout}${dumped.stderr}`);
  const environment = parseEnvironment(await readFile(environmentFile, "utf8"));
  return { release: target.release, localVersion, makeArgs: make.all, environment };
}

/** `building` for what must see the target's configuration as it is; `all` for everything that builds tools or modules. */
async function makeArguments(
  release: string,
  config: string,
  compiler: string,
  folder: string,
): Promise<{ building: string[]; all: string[] }> {
  const pahole = /^CONFIG_PAHOLE_VERSION=(\d)(\d\d)$/m.exec(config);
  const shim = join(folder, "pahole");
  // Kconfig switches BTF off where pahole is missing, and with it members of struct module. Only its version is asked for.
  if (pahole) await writeFile(shim, `#!/bin/sh\necho v${pahole[1]}.${pahole[2]}\n`, { mode: 0o755 });
  const building = [
    "ARCH=x86",
    `CC=${compiler}`,
    `KERNELRELEASE=${release}`,
    "LOCALVERSION=",
    `PAHOLE=${pahole ? shim : "no-pahole"}`,
    ...(/^CONFIG_RUST=y$/m.test(config) ? [] : ["RUSTC=no-rustc"]),
  ];
  return { building, all: [...building, "CONFIG_DEBUG_INFO_BTF=", "CONFIG_DEBUG_INFO_BTF_MODULES="] };
}

function parseEnvironment(text: string): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const entry of text.split("\0")) {
    const equals = entry.indexOf("=");
    if (equals <= 0) continue;
    environment[entry.slice(0, equals)] = entry.slice(equals + 1);
  }
  // The jobserver and what the probe was told are of that one run.
  for (const name of [
    "MAKEFILES",
    "REKERNEL_ENVIRONMENT",
    "MAKELEVEL",
    "PWD",
    "OLDPWD",
    "HOME",
    "TMPDIR",
    "_",
  ])
    delete environment[name];
  return environment;
}

/** What a prepared tree is never asked for: documentation, other architectures' code, tools that are not for building. */
const leftOut = [
  "Documentation/*/*",
  ...["c", "h", "S", "s", "dts", "dtsi", "dtso"].map((ending) => `arch/[!x]*.${ending}`),
  "arch/[!x]*_defconfig",
  ...[
    "testing",
    "perf",
    "power",
    "tracing",
    "verification",
    "virtio",
    "usb",
    "memory-model",
    "sched_ext",
  ].map((tool) => `tools/${tool}/*`),
];

async function unpackSource(target: TargetKernel, into: string, options: WorkOptions): Promise<void> {
  const { kind, path } = target.source;
  // Where the archive's top folder has another name nothing is left out, and it only takes longer.
  const top = basename(path).replace(/\.tar\.\w+$|\.tar$|\.tgz$/, "");
  const exclude = ["--anchored", ...leftOut.map((pattern) => `--exclude=${top}/${pattern}`)];
  // xz decompresses the blocks of one file in parallel only when it is told to.
  const decompress = path.endsWith(".xz") ? ["--use-compress-program=xz -T0"] : [];
  const signal = options.signal;
  try {
    if (kind === "tree")
      await runPipeline(
        ["tar", "-c", "-C", path, "--exclude-vcs", "--exclude=*.o", "--exclude=*.ko", "--exclude=*.cmd", "."],
        ["tar", "-x", "-C", into],
        { signal },
      );
    else
      await runToolOk(
        "tar",
        ["-x", "-C", into, "--no-same-owner", "--strip-components=1", ...exclude, ...decompress, "-f", path],
        { signal },
      );
  } catch (error) {
    if (error instanceof RekernelError && error.code === "RK-TOOL-FAILED")
      throw new RekernelError("failed", "RK-SOURCE", `The kernel source ${path} cannot be unpacked.`, {
        ...(error.details === undefined ? {} : { details: error.details }),
        hint: "The archive may be damaged: fetch it again.",
      });
    throw error;
  }
  if (!(await exists(join(into, "scripts/Makefile.build"))))
    throw new RekernelError("failed", "RK-SOURCE", `${path} does not hold a kernel source tree.`);
  if (kind === "tree" && (await exists(join(into, ".config"))))
    await runToolOk("make", ["-s", "ARCH=x86", "mrproper"], { cwd: into, signal: options.signal });
}

/** VERSION.PATCHLEVEL.SUBLEVEL and EXTRAVERSION of the tree's Makefile. */
async function sourceVersion(source: string): Promise<string> {
  const makefile = (await readFile(join(source, "Makefile"), "utf8")).slice(0, 4096);
  const field = (name: string): string =>
    new RegExp(`^${name} *=[ \\t]*(.*)$`, "m").exec(makefile)?.[1]?.trim() ?? "";
  return `${field("VERSION")}.${field("PATCHLEVEL")}.${field("SUBLEVEL")}${field("EXTRAVERSION")}`;
}

function checkSeries(release: string, version: string): void {
  const series = (text: string): string => text.split(".").slice(0, 2).join(".");
  if (series(release) !== series(version))
    throw new RekernelError(
      "refused",
      "RK-SOURCE-MISMATCH",
      `The source is Linux ${version}, and the target kernel is ${release}.`,
      { hint: "Give the source that the target was built from." },
    );
}

/**
 * The prepared tree must be configured as the target: against the build's own autoconf.h where it is known, else
 * nothing that the given configuration says may have changed.
 */
export async function checkConfiguration(
  target: TargetKernel,
  config: string,
  source: string,
): Promise<void> {
  const different: string[] = [];
  if (target.autoconf !== undefined) {
    const wanted = (await readFile(target.autoconf, "utf8")).split("\n");
    const made = (await readFile(join(source, "include/generated/autoconf.h"), "utf8")).split("\n");
    different.push(...linesBeyond(wanted, made, "target: "), ...linesBeyond(made, wanted, "prepared: "));
  } else {
    const settings = (text: string): string[] => text.split("\n").filter((line) => /^CONFIG_\w+=/.test(line));
    const made = settings(await readFile(join(source, ".config"), "utf8"));
    different.push(...linesBeyond(settings(config), made, "target: "));
  }
  if (different.length > 0)
    throw new RekernelError(
      "refused",
      "RK-CONFIG-MISMATCH",
      `The source of ${target.release}, configured here, differs from the target's configuration in ${different.length} lines.`,
      {
        details: different.slice(0, 20).join("\n"),
        hint: "The source or the configuration is not the target's, or a tool that Kconfig asks about differs.",
      },
    );
  const release = /UTS_RELEASE "(.*)"/.exec(
    await readFile(join(source, "include/generated/utsrelease.h"), "utf8"),
  )?.[1];
  if (release !== target.release)
    throw new RekernelError(
      "failed",
      "RK-PREPARE",
      `The prepared tree calls itself ${release}, not ${target.release}.`,
    );
}

function linesBeyond(lines: string[], others: string[], label: string): string[] {
  const known = new Set(others);
  return lines.filter((line) => !known.has(line) && !line.startsWith(" *")).map((line) => label + line);
}

/** What kbuild runs; the target's compiler is looked for by {@link targetCompiler}. */
async function requireTools(): Promise<void> {
  const needed = debianPackages.filter(({ name, purpose }) => purpose === "build" && !/^gcc-\d/.test(name));
  const tools = needed.flatMap(({ tools = [] }) => tools);
  const script =
    'PATH=$PATH:/usr/sbin:/sbin; for tool; do command -v "$tool" >/dev/null || echo "$tool"; done';
  const { stdout } = await runTool("sh", ["-c", script, "sh", ...tools]);
  const absent = new Set(stdout.split("\n"));
  const missing = needed.filter(
    ({ tools = [], files = [] }) =>
      tools.some((tool) => absent.has(tool)) || files.some((file) => !existsSync(file)),
  );
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name);
  throw new RekernelError(
    "machineCannot",
    "RK-TOOL-MISSING",
    `This machine lacks ${names.join(", ")}, which building for a kernel needs.`,
    { hint: `Install what is missing: apt-get install ${names.join(" ")}` },
  );
}

function prepareError(target: TargetKernel, goal: string, output: string): RekernelError {
  if (/No space left on device/.test(output))
    return new RekernelError(
      "failed",
      "RK-DISK-FULL",
      `No space left to prepare the source of ${target.release}.`,
      {
        hint: "Free some space, or point XDG_CACHE_HOME at a larger file system. A prepared kernel takes about 1.5 GB.",
      },
    );
  const lines = output.split("\n");
  const first = lines.findIndex((line) => /error|Error|\*\*\*/.test(line));
  const from = Math.max(0, first - 2);
  return new RekernelError(
    "failed",
    "RK-PREPARE",
    `make ${goal} failed in the source of ${target.release}.`,
    {
      details: lines.slice(from, from + 15).join("\n"),
    },
  );
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
