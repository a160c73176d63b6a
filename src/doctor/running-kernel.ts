import { RekernelError } from "../core/errors.ts";
import { type KernelConfig, runningKernelConfig } from "../host/kernel-config.ts";
import { runningKernelSymbols } from "../host/kernel-symbols.ts";
import { readKexecState } from "../host/kexec.ts";
import { supportsLivePatches } from "../host/livepatches.ts";
import { readLockdown } from "../host/lockdown.ts";
import { type HostPaths, thisHost } from "../host/paths.ts";
import { requireCapability } from "../host/privilege.ts";
import { readFlag } from "../host/pseudo-files.ts";
import { runningKernel } from "../host/running-kernel.ts";
import type { Check } from "./report.ts";

/** What loading a live patch into the running kernel needs. */
export async function checkLivePatch(host: HostPaths = thisHost): Promise<Check[]> {
  const { release } = await runningKernel(host);
  const config = await runningKernelConfig(release, host);
  const checks = [await checkPrivilege("CAP_SYS_MODULE", "Loading a live patch", host)];

  const supported = await supportsLivePatches(host);
  checks.push(
    supported
      ? { name: "livepatch", state: "ok", finding: `Kernel ${release} takes live patches.` }
      : {
          name: "livepatch",
          state: "missing",
          finding: `Kernel ${release} knows no live patches (CONFIG_LIVEPATCH is not set).`,
          hint: "Run a kernel that has it, such as Debian's; patches for other machines can still be built and tried in the lab.",
        },
  );
  // x86-64 has reliable stack traces exactly with the ORC unwinder (arch/x86/Kconfig, HAVE_RELIABLE_STACKTRACE).
  if (supported)
    checks.push(
      await optionCheck(
        {
          name: "reliable-stacks",
          option: "CONFIG_HAVE_RELIABLE_STACKTRACE",
          symbol: "arch_stack_walk_reliable",
          what: "reliable stack traces, without which a transition may never end",
        },
        config,
        host,
      ),
    );
  if ((await readFlag(`${host.proc}/sys/kernel/ftrace_enabled`)) === false)
    checks.push({
      name: "ftrace",
      state: "missing",
      finding: "Function tracing is switched off, and live patches redirect functions through it.",
      hint: "Switch it on: sysctl kernel.ftrace_enabled=1",
    });
  checks.push(await checkModuleLoading(config, host));
  return checks;
}

/** What kexec needs of the running kernel. */
export async function checkKexec(host: HostPaths = thisHost): Promise<Check[]> {
  const { release } = await runningKernel(host);
  const config = await runningKernelConfig(release, host);
  const state = await readKexecState(host);
  const checks = [await checkPrivilege("CAP_SYS_BOOT", "kexec", host)];
  if (!state.supported) {
    checks.push({
      name: "kexec",
      state: "missing",
      finding: `Kernel ${release} has no kexec (CONFIG_KEXEC_FILE is not set).`,
      hint: "Run a kernel that has it, such as Debian's.",
    });
    return checks;
  }
  checks.push(
    await optionCheck(
      {
        name: "kexec",
        option: "CONFIG_KEXEC_FILE",
        symbol: "__x64_sys_kexec_file_load",
        what: "the kexec_file_load system call",
      },
      config,
      host,
    ),
  );
  if (state.loadDisabled === true || state.loadLimitReboot === 0)
    checks.push({
      name: "kexec-load-disabled",
      state: "missing",
      finding:
        "Loading another kernel has been switched off until the next boot (kernel.kexec_load_disabled or kernel.kexec_load_limit_reboot).",
      hint: "It cannot be switched on again; look in /etc/sysctl.d for what sets it.",
    });
  const lockdown = await readLockdown(host);
  if (lockdown === "integrity" || lockdown === "confidentiality")
    checks.push({
      name: "lockdown",
      state: "note",
      finding: `The kernel is locked down (${lockdown}): it takes only images that are signed with a key that it knows.`,
    });
  else
    checks.push({
      name: "lockdown",
      state: "ok",
      finding: "The kernel is not locked down: any image can be loaded.",
    });
  return checks;
}

async function checkPrivilege(
  capability: Parameters<typeof requireCapability>[0],
  purpose: string,
  host: HostPaths,
): Promise<Check> {
  try {
    await requireCapability(capability, purpose, host);
    return { name: "privilege", state: "ok", finding: `This process has ${capability}.` };
  } catch (error) {
    if (!(error instanceof RekernelError)) throw error;
    return {
      name: "privilege",
      state: "missing",
      finding: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    };
  }
}

async function checkModuleLoading(config: KernelConfig | undefined, host: HostPaths): Promise<Check> {
  if ((await readFlag(`${host.proc}/sys/kernel/modules_disabled`)) === true)
    return {
      name: "module-loading",
      state: "missing",
      finding: "Loading modules has been switched off until the next boot (kernel.modules_disabled).",
      hint: "It cannot be switched on again; look in /etc/sysctl.d for what sets it.",
    };
  const lockdown = await readLockdown(host);
  const lockedDown = lockdown === "integrity" || lockdown === "confidentiality";
  const enforced =
    (await readFlag(`${host.sys}/module/module/parameters/sig_enforce`)) === true ||
    config?.get("CONFIG_MODULE_SIG_FORCE") === "y";
  if (lockedDown || enforced)
    return {
      name: "module-loading",
      state: "note",
      finding: `The kernel takes only signed modules (${lockedDown ? `lockdown: ${lockdown}` : "module.sig_enforce"}): sign a patch with a key that it knows before loading it.`,
    };
  return { name: "module-loading", state: "ok", finding: "The kernel takes modules without a signature." };
}

/** By the kernel's configuration, and where that is not at hand, by a symbol that only the option brings. */
async function optionCheck(
  { name, option, symbol, what }: { name: string; option: string; symbol: string; what: string },
  config: KernelConfig | undefined,
  host: HostPaths,
): Promise<Check> {
  const symbols = config === undefined ? await runningKernelSymbols(new Set([symbol]), host) : undefined;
  if (config === undefined && symbols === undefined)
    return {
      name,
      state: "unknown",
      finding: `Nothing here tells whether the kernel has ${what} (${option}).`,
    };
  const has = config === undefined ? symbols?.has(symbol) : config.get(option) === "y";
  return has
    ? { name, state: "ok", finding: `The kernel has ${what} (${option}).` }
    : { name, state: "missing", finding: `The kernel lacks ${what} (${option} is not set).` };
}
