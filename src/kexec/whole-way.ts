/** From the machine as it runs to the next kernel, in one go. */
import { RekernelError } from "../core/errors.ts";
import { runStep } from "../core/progress.ts";
import { type ExecOptions, execKexec } from "./exec.ts";
import { type HookOptions, type HookRun, runHooks } from "./hooks.ts";
import { loadKexec, unloadKexec } from "./load.ts";
import type { KexecPlan, KexecRequest } from "./plan.ts";
import type { Finding } from "./preflight/finding.ts";
import { checkNames, type KexecPreflight, preflightKexec } from "./preflight/preflight.ts";
import { type Quieted, quiesceMachine } from "./quiesce/quiesce.ts";

export interface SurveyOptions extends HookOptions {
  /** Names of checks whose findings do not stop it. */
  ignore?: readonly string[] | undefined;
  /** Findings with remedies will be seen to, so they do not stop it yet. */
  quiesce?: boolean | undefined;
}

/** What the whole way would do, before anything is done. */
export interface KexecSurvey {
  plan: KexecPlan;
  preflight: KexecPreflight;
  /** Names of the checks that stop it. */
  stoppedBy: string[];
  /** Names of the checks that would, but are to be ignored. */
  ignored: string[];
}

/**
 * Plans and looks; changes nothing, needs no root.
 *
 * @throws RekernelError RK-USAGE (2) for a check that does not exist; and as planKexec
 */
export async function surveyKexec(request: KexecRequest, options: SurveyOptions = {}): Promise<KexecSurvey> {
  requireKnownChecks(options.ignore ?? []);
  const plan = await loadKexec(request, { ...options, dryRun: true });
  const preflight = await runStep(options, "preflight", "Look at what a kexec would cost", () =>
    preflightKexec(),
  );
  return { plan, preflight, ...whatStops(preflight.findings, options) };
}

/** Which blocking findings stop it, and which are to be ignored. */
export function whatStops(
  findings: readonly Finding[],
  { ignore = [], quiesce = false }: SurveyOptions,
): Pick<KexecSurvey, "stoppedBy" | "ignored"> {
  const blocking = findings.filter(({ severity }) => severity === "blocks");
  const open = blocking.filter(({ remedies }) => !(quiesce && remedies !== undefined && remedies.length > 0));
  const names = (some: readonly Finding[]) => [...new Set(some.map(({ check }) => check))];
  return {
    stoppedBy: names(open.filter(({ check }) => !ignore.includes(check))),
    ignored: names(blocking.filter(({ check }) => ignore.includes(check))),
  };
}

export interface WholeWayOptions extends Omit<ExecOptions, "next">, SurveyOptions {}

/** What was done, up to the moment when everything stops. */
export interface WholeWay {
  plan: KexecPlan;
  /** What `--quiesce` did; empty without it. */
  quieted: Quieted[];
  hooks: HookRun[];
}

/**
 * Quiesces where that is wanted, loads the kernel and goes down into it. When something refuses on the way, the
 * kernel that was loaded here is dropped again; what was quiesced stays so.
 *
 * @param onLeaving told what was done, at the last moment; where no init system takes over, nothing is told later
 * @throws RekernelError RK-KEXEC-BLOCKED (4) where something blocks; and as loadKexec and execKexec
 */
export async function kexecWholeWay(
  request: KexecRequest,
  survey: KexecSurvey,
  options: WholeWayOptions,
  onLeaving: (done: WholeWay, by: "init" | "here") => Promise<void> | void,
): Promise<void> {
  if (survey.stoppedBy.length > 0) throw blocked(survey.stoppedBy);
  const quieted: Quieted[] = [];
  if (options.quiesce === true) {
    quieted.push(...(await quiesceMachine(survey.preflight.findings, options)));
    const { findings } = await preflightKexec();
    const { stoppedBy } = whatStops(findings, { ...options, quiesce: false });
    if (stoppedBy.length > 0) throw blocked(stoppedBy, quieted);
  }
  const next = {
    release: survey.plan.release,
    image: survey.plan.image,
    commandLine: survey.plan.commandLine,
  };
  const hooks = await runHooks("pre-load", next, options);
  const plan = await loadKexec(request, options);
  try {
    await execKexec({
      ...options,
      next,
      onLeaving: async ({ by, hooks: late }) => {
        await onLeaving({ plan, quieted, hooks: [...hooks, ...late] }, by);
      },
    });
  } catch (error) {
    // Or the next reboot would start it: systemd's takes a loaded kernel.
    await unloadKexec().catch(() => {});
    throw error;
  }
}

function blocked(checks: readonly string[], quieted: readonly Quieted[] = []): RekernelError {
  const failed = quieted.filter(({ done }) => !done);
  return new RekernelError(
    "refused",
    "RK-KEXEC-BLOCKED",
    `Not now: ${checks.join(", ")} ${checks.length === 1 ? "blocks" : "block"} a kexec.`,
    {
      hint: `See to it (rekernel kexec preflight), or go on all the same: ${checks.map((check) => `--ignore ${check}`).join(" ")}`,
      ...(failed.length === 0
        ? {}
        : { details: failed.map(({ action, target, after }) => `${action} ${target}: ${after}`).join("\n") }),
    },
  );
}

function requireKnownChecks(names: readonly string[]): void {
  const unknown = names.find((name) => !checkNames.includes(name));
  if (unknown === undefined) return;
  throw new RekernelError("usage", "RK-USAGE", `There is no check ${unknown} to ignore.`, {
    hint: `Preflight's checks are ${checkNames.join(", ")}.`,
  });
}
