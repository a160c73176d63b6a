/**
 * What long work tells its caller while it runs. The library emits these; only src/cli draws them.
 *
 * `step` names the stage in the words of the design ("target", "trees", "units", …), stable for machines.
 */
export type ProgressEvent =
  | { type: "start"; step: string; title: string }
  /** `fraction` from 0 to 1 where it is known; `note` is a short present-tense text. */
  | { type: "update"; step: string; fraction?: number; note?: string }
  | { type: "done"; step: string; title: string; elapsedMs: number };

export type ProgressListener = (event: ProgressEvent) => void;

/** What every long operation takes: how to report, and how to be stopped. */
export interface WorkOptions {
  onProgress?: ProgressListener | undefined;
  signal?: AbortSignal | undefined;
}

/** Runs one step between its `start` and `done` events. A step that throws emits no `done`. */
export async function runStep<T>(
  options: WorkOptions,
  step: string,
  title: string,
  work: (update: (note?: string, fraction?: number) => void) => Promise<T> | T,
): Promise<T> {
  options.signal?.throwIfAborted();
  const startedMs = performance.now();
  options.onProgress?.({ type: "start", step, title });
  const result = await work((note, fraction) =>
    options.onProgress?.({
      type: "update",
      step,
      ...(note === undefined ? {} : { note }),
      ...(fraction === undefined ? {} : { fraction }),
    }),
  );
  options.onProgress?.({ type: "done", step, title, elapsedMs: performance.now() - startedMs });
  return result;
}
