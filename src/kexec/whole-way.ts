/** From the machine as it runs to the next kernel, in one go. */
import { RekernelError } from "../core/errors.ts";
import { runStep } from "../core/progress.ts";
import { type ExecOptions, execKexec } from "./exec.ts";
import {
  type ArmedFallback,
  armFallback,
  type FallbackOptions,
  newTrial,
  requireWayBack,
} from "./fallback/arm.ts";
import { trialWords } from "./fallback/record.ts";
import { type HookOptions, type HookRun, runHooks } from "./hooks.ts";
import { loadKexec, unloadKexec } from "./load.ts";
import type { KexecPlan, KexecRequest } from "./plan.ts";
import type { Finding } from "./preflight/finding.ts";
import { checkNames, type KexecPreflight, preflightKexec } from "./preflight/preflight.ts";
import { type Quieted, quiesceMachine, releaseWatchdogs } from "./quiesce/quiesce.ts";

export interface SurveyOptions extends HookOptions {
  /** Names of checks whose findings do not stop it. */
  ignore?: readonly string[] | undefined;
  /** Findings with remedies will be seen to, so they do not stop it yet. */
  quiesce?: boolean | undefined;
  /** Put the next kernel on trial. */
  fallback?: FallbackOptions | undefined;
}

/** What the whole way would do, before anything is done. */
export interface KexecSurvey {
  plan: KexecPlan;
  preflight: KexecPreflight;
  /** Names of the checks that stop it. */
  stoppedBy: string[];
  /** Names of the checks that would, but are to be ignored. */
  ignored: string[];
  /** What was asked for, with the mark of a trial. */
  request: KexecRequest;
  /** The mark of the trial, and the release that comes back when it fails. */
  trial: { id: string; old: string } | undefined;
}

/**
 * Plans and looks; changes nothing, needs no root.
 *
 * @throws RekernelError RK-USAGE (2) for a check that does not exist; RK-KEXEC-FALLBACK (4) where there is no way
 *   back; and as planKexec
 */
export async function surveyKexec(asked: KexecRequest, options: SurveyOptions = {}): Promise<KexecSurvey> {
  requireKnownChecks(options.ignore ?? []);
  const dry = { ...options, dryRun: true };
  let [request, plan] = [asked, await loadKexec(asked, dry)];
  let trial: KexecSurvey["trial"];
  if (options.fallback !== undefined) {
    trial = { id: newTrial(), old: await requireWayBack(options.fallback) };
    const words = [asked.append ?? "", trialWords(trial.id, plan.commandLine)];
    request = { ...asked, append: words.join(" ").trim() };
    plan = await loadKexec(request, dry);
  }
  const preflight = await runStep(options, "preflight", "Look at what a kexec would cost", () =>
    preflightKexec(),
  );
  return { request, plan, preflight, trial, ...whatStops(preflight.findings, options) };
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

export interface WholeWayOptions extends Omit<ExecOptions, "next">, SurveyOptions {
  /** With `quiesce`: PCI devices to take from their drivers. */
  unbind?: readonly string[] | undefined;
}

/** What was done, up to the moment when everything stops. */
export interface WholeWay {
  plan: KexecPlan;
  /** What `--quiesce` did; empty without it. */
  quieted: Quieted[];
  hooks: HookRun[];
  fallback: ArmedFallback | undefined;
}

/**
 * Quiesces where that is wanted, loads the kernel and goes down into it. When something refuses on the way, the
 * kernel that was loaded here is dropped again; what was quiesced stays so.
 *
 * @param onLeaving told what was done, at the last moment; where no init system takes over, nothing is told later
 * @throws RekernelError RK-KEXEC-BLOCKED (4) where something blocks; and as loadKexec and execKexec
 */
export async function kexecWholeWay(
  survey: KexecSurvey,
  options: WholeWayOptions,
  onLeaving: (done: WholeWay, by: "init" | "here") => Promise<void> | void,
): Promise<void> {
  if (survey.stoppedBy.length > 0) throw blocked(survey.stoppedBy);
  const quieted = options.quiesce === true ? await quiesceFor(survey, options) : [];
  const { release, image, commandLine } = survey.plan;
  const next = { release, image, commandLine };
  let fallback: Awaited<ReturnType<typeof armFallback>> | undefined;
  try {
    const hooks = await runHooks("pre-load", next, options);
    const plan = await loadKexec(survey.request, options);
    try {
      if (survey.trial !== undefined && options.fallback !== undefined)
        fallback = await armFallback(survey.trial.id, next, options.fallback, options);
      await execKexec({
        ...options,
        next,
        onLeaving: async ({ by, hooks: late }) => {
          await onLeaving({ plan, quieted, hooks: [...hooks, ...late], fallback: fallback?.shown }, by);
        },
      });
    } catch (error) {
      await fallback?.disarm();
      // Or the next reboot would start it: systemd's takes a loaded kernel.
      await unloadKexec().catch(() => {});
      throw error;
    }
  } catch (error) {
    await releaseWatchdogs(quieted);
    throw error;
  }
}

async function quiesceFor(survey: KexecSurvey, options: WholeWayOptions): Promise<Quieted[]> {
  // The fallback arms a watchdog of its own, which outlasts this process in the right hands.
  const found = survey.preflight.findings.filter(
    ({ remedies }) => survey.trial === undefined || remedies?.[0]?.action !== "arm-watchdog",
  );
  const quieted = await quiesceMachine(found, options);
  const { findings } = await preflightKexec();
  const { stoppedBy } = whatStops(findings, { ...options, quiesce: false });
  if (stoppedBy.length === 0) return quieted;
  await releaseWatchdogs(quieted);
  throw blocked(stoppedBy, quieted);
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
