import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import debianPackages from "../core/debian-packages.json" with { type: "json" };
import type { CapabilityName, Check } from "./report.ts";

interface NeededPackage {
  name: string;
  purpose: string;
  reason: string;
  tools?: string[];
  files?: string[];
}

/** Where administration tools live that a user's PATH may leave out. */
const systemFolders = ["/usr/sbin", "/sbin"];

/** One check for each Debian package that a capability needs: by what it brings, so that it holds elsewhere too. */
export function checkPackages(purpose: CapabilityName | "lab firmware"): Promise<Check[]> {
  const needed: NeededPackage[] = debianPackages;
  return Promise.all(needed.filter((entry) => entry.purpose === purpose).map(checkPackage));
}

async function checkPackage({ name, reason, tools = [], files = [] }: NeededPackage): Promise<Check> {
  const absent: string[] = [];
  for (const tool of tools) if (!(await findTool(tool))) absent.push(tool);
  for (const file of files) if (!(await isAccessible(file, constants.R_OK))) absent.push(file);
  if (absent.length === 0)
    return { name, state: "ok", finding: `${[...tools, ...files].join(", ")}: ${reason}.` };
  return {
    name,
    state: "missing",
    finding: `There is no ${absent.join(", no ")}: ${reason}.`,
    hint: `Install it: apt-get install ${name}`,
  };
}

async function findTool(tool: string): Promise<boolean> {
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), ...systemFolders])
    if (folder !== "" && (await isAccessible(join(folder, tool), constants.X_OK))) return true;
  return false;
}

function isAccessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** Whether a check's name is that of a Debian package. */
export function isPackage(name: string): boolean {
  return debianPackages.some((entry) => entry.name === name);
}
