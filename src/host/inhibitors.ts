/**
 * Programs that asked systemd-logind not to shut down.
 *
 * Source: systemd's src/login/logind-inhibit.c, inhibitor_save(). The files say that they are private to logind;
 * what is not understood is passed over.
 */
import { lstat } from "node:fs/promises";
import { type HostPaths, thisHost } from "./paths.ts";
import { listNames, readHead } from "./pseudo-files.ts";

export interface Inhibitor {
  /** `shutdown`, `sleep`, `idle`, … */
  what: string[];
  /** `block`, `block-weak` or `delay` */
  mode: string;
  who: string;
  why: string;
  pid: number | undefined;
}

const maxBytes = 16 * 1024;

/** Shell-like assignments, values in double quotes where they need them, and escaped twice. */
export function parseInhibitor(text: string): Inhibitor | undefined {
  const values = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/^([A-Z]{1,16})=(.*)$/gm)) values.set(name!, unquote(value!));
  const [what, mode] = [values.get("WHAT"), values.get("MODE")];
  if (what === undefined || mode === undefined) return undefined;
  const pid = values.get("PID");
  return {
    what: what.split(":"),
    mode,
    who: values.get("WHO") ?? "?",
    why: values.get("WHY") ?? "",
    pid: pid !== undefined && /^\d{1,10}$/.test(pid) ? Number(pid) : undefined,
  };
}

function unquote(value: string): string {
  const inner = /^"(.*)"$/.exec(value)?.[1]?.replace(/\\(["\\$`])/g, "$1") ?? value;
  return inner.replace(/\\(["'\\ ])/g, "$1");
}

/** Those whose process is still there; empty without logind. */
export async function readInhibitors(host: HostPaths = thisHost): Promise<Inhibitor[]> {
  const folder = `${host.run}/systemd/inhibit`;
  // Beside each stands a FIFO, 1.ref.
  const names = (await listNames(folder)).filter((name) => !name.includes("."));
  const found = await Promise.all(
    names.map(async (name) => {
      const path = `${folder}/${name}`;
      if (!(await lstat(path).catch(() => undefined))?.isFile()) return undefined;
      const inhibitor = parseInhibitor((await readHead(path, maxBytes))?.toString("utf8") ?? "");
      if (inhibitor?.pid === undefined) return inhibitor;
      const alive = await lstat(`${host.proc}/${inhibitor.pid}`).catch(() => undefined);
      return alive === undefined ? undefined : inhibitor;
    }),
  );
  return found.filter((inhibitor) => inhibitor !== undefined);
}
