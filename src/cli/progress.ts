import { styleText } from "node:util";
import type { ProgressEvent } from "../core/progress.ts";

/** Draws progress on standard error. `clear` takes live lines away so that other output can be written. */
export interface ProgressView {
  show(event: ProgressEvent): void;
  clear(): void;
  /** Takes the live lines away for good; steps that never came to their end are forgotten. */
  close(): void;
}

interface LiveStep {
  title: string;
  startedMs: number;
  note: string;
  fraction: number | undefined;
}

const redrawMs = 120;
/** In a pipe a step that takes long says so from time to time, or it looks dead. */
const plainNoteMs = 15_000;

/** Seconds for people: `0.4 s`, `12 s`, `2 min 05 s`. */
export function formatElapsed(elapsedMs: number): string {
  const seconds = elapsedMs / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** Chooses how progress is shown: JSON lines, live lines on a terminal, or plain lines anywhere else. */
export function createProgressView(stream: NodeJS.WriteStream, json: boolean): ProgressView {
  if (json) return jsonView(stream);
  const live = stream.isTTY && process.env.TERM !== "dumb" && process.env.CI === undefined;
  return live ? liveView(stream) : plainView(stream);
}

function jsonView(stream: NodeJS.WriteStream): ProgressView {
  return {
    show: (event) => void stream.write(`${JSON.stringify({ progress: event })}\n`),
    clear() {},
    close() {},
  };
}

function plainView(stream: NodeJS.WriteStream): ProgressView {
  const lastWordMs = new Map<string, number>();
  return {
    show(event) {
      if (event.type === "start") {
        stream.write(`${event.title} ...\n`);
        lastWordMs.set(event.step, performance.now());
      } else if (event.type === "done") {
        stream.write(`${event.title}: done in ${formatElapsed(event.elapsedMs)}\n`);
        lastWordMs.delete(event.step);
      } else {
        const nowMs = performance.now();
        const text = describe(event.note ?? "", event.fraction);
        if (text === "" || nowMs - (lastWordMs.get(event.step) ?? nowMs) < plainNoteMs) return;
        lastWordMs.set(event.step, nowMs);
        stream.write(`  ${text}\n`);
      }
    },
    clear() {},
    close() {},
  };
}

function liveView(stream: NodeJS.WriteStream): ProgressView {
  const steps = new Map<string, LiveStep>();
  let drawn = 0;
  let timer: NodeJS.Timeout | undefined;

  const erase = () => {
    if (drawn > 0) stream.write(`\u001b[${drawn}A\u001b[0J`);
    drawn = 0;
  };
  const draw = () => {
    const nowMs = performance.now();
    const lines: string[] = [];
    for (const step of steps.values()) {
      const about = describe(step.note, step.fraction);
      const line = `  ${step.title} ${formatElapsed(nowMs - step.startedMs)}${about === "" ? "" : `  ${about}`}`;
      lines.push(line.slice(0, Math.max(20, stream.columns - 1)));
    }
    erase();
    // More lines than the screen has would scroll away and could not be erased again.
    const visible = lines.slice(0, Math.max(1, stream.rows - 1));
    if (visible.length > 0) stream.write(`${visible.join("\n")}\n`);
    drawn = visible.length;
  };
  const rest = () => {
    if (steps.size === 0 && timer !== undefined) {
      clearInterval(timer);
      timer = undefined;
    }
  };

  return {
    show(event) {
      if (event.type === "start") {
        steps.set(event.step, {
          title: event.title,
          startedMs: performance.now(),
          note: "",
          fraction: undefined,
        });
        timer ??= setInterval(draw, redrawMs).unref();
        draw();
      } else if (event.type === "update") {
        const step = steps.get(event.step);
        if (step === undefined) return;
        step.note = event.note ?? step.note;
        step.fraction = event.fraction ?? step.fraction;
      } else {
        steps.delete(event.step);
        erase();
        const mark = styleText("green", "✓", { stream });
        stream.write(
          `${mark} ${event.title} ${styleText("dim", formatElapsed(event.elapsedMs), { stream })}\n`,
        );
        draw();
        rest();
      }
    },
    clear: erase,
    close() {
      steps.clear();
      erase();
      rest();
    },
  };
}

function describe(note: string, fraction: number | undefined): string {
  const percent = fraction === undefined ? "" : `${Math.floor(Math.min(1, Math.max(0, fraction)) * 100)} %`;
  return [percent, note].filter((part) => part !== "").join(" ");
}
