// Checks the floor plan of src/ (ARCHITECTURE.md): imports point down, only src/cli prints or reads the
// command line, only src/host reaches into the running kernel, and the command line starts without the library.
import { readFileSync } from "node:fs";
import { glob } from "node:fs/promises";
import { dirname, join, normalize, relative } from "node:path";
import { type Node, parseSync } from "oxc-parser";

/** What each room of src/ may import besides itself. */
const below: Readonly<Record<string, readonly string[]>> = {
  core: [],
  formats: ["core"],
  kernel: ["formats", "core"],
  host: ["formats", "core"],
  livepatch: ["kernel", "host", "formats", "core"],
  kexec: ["kernel", "host", "formats", "core"],
  kdump: ["kernel", "host", "formats", "core"],
  lab: ["livepatch", "kexec", "kdump", "kernel", "host", "formats", "core"],
  doctor: ["lab", "livepatch", "kexec", "kdump", "kernel", "host", "formats", "core"],
  // The JSON documents that commands print; of the rooms below it uses types only.
  documents: ["doctor", "lab", "livepatch", "kexec", "kdump", "kernel", "host", "formats", "core"],
  cli: ["documents", "doctor", "lab", "livepatch", "kexec", "kdump", "kernel", "host", "formats", "core"],
  // The library's public surface: src/index.ts.
  index: ["documents", "doctor", "lab", "livepatch", "kexec", "kdump", "kernel", "host", "formats", "core"],
};

/** Builtins that only some rooms may use: formats are pure, and system calls belong to the host. */
const builtinRooms: Readonly<Record<string, readonly string[]>> = {
  "node:ffi": ["host"],
};
const impureBuiltins = /^node:(fs|child_process|net|http|https|os|worker_threads|cluster|dgram|tls|ffi)\b/;
const pureRooms = ["formats"];

/** Members of `process` that make a function talk to the terminal or end the program. */
const terminalMembers = ["argv", "stdout", "stderr", "stdin", "exit", "exitCode", "on", "once"];

interface Import {
  source: string;
  kind: "static" | "type" | "dynamic";
}

/**
 * Breaches of the rules, as `file: sentence`.
 *
 * @param files sources by path from the project's root, such as `src/formats/elf/read.ts`
 */
export function findBreaches(files: ReadonlyMap<string, string>): string[] {
  const breaches: string[] = [];
  const imports = new Map<string, Import[]>();
  for (const [path, source] of files) {
    const parsed = parseSync(path, source);
    if (parsed.errors.length > 0) {
      breaches.push(`${path}: ${parsed.errors[0]?.message}`);
      continue;
    }
    const found: Import[] = [];
    walk(parsed.program, (node) => {
      const imported = importOf(node);
      if (imported !== undefined) found.push(imported);
      breaches.push(...talkOf(node, path).map((what) => `${path}: ${what}`));
    });
    imports.set(path, found);
    for (const { source: target } of found) {
      const breach = roomBreach(path, target);
      if (breach !== undefined) breaches.push(`${path}: ${breach}`);
    }
  }
  return [...breaches, ...startupBreaches(imports)];
}

function roomOf(path: string): string {
  return path === "src/index.ts" ? "index" : (path.split("/")[1] ?? "");
}

function roomBreach(path: string, target: string): string | undefined {
  const room = roomOf(path);
  const allowed = below[room];
  if (allowed === undefined) return `the room src/${room} is not in the floor plan`;
  if (target.startsWith("node:")) {
    const rooms = builtinRooms[target];
    if (rooms !== undefined && !rooms.includes(room))
      return `only src/${rooms.join(", src/")} uses ${target}`;
    if (pureRooms.includes(room) && impureBuiltins.test(target))
      return `src/${room} is pure and must not use ${target}`;
    return undefined;
  }
  if (!target.startsWith(".")) return undefined;
  const file = normalize(join(dirname(path), target));
  if (!file.startsWith("src/")) return file.endsWith(".json") ? undefined : `it imports ${file}, outside src`;
  const targetRoom = roomOf(file);
  if (targetRoom === room || allowed.includes(targetRoom)) return buildBreach(path, targetRoom);
  return `src/${room} must not import ${file}: imports point down`;
}

/** A patch is built for a target kernel, wherever that runs: nothing of this machine's kernel may leak in. */
function buildBreach(path: string, targetRoom: string): string | undefined {
  if (path.startsWith("src/livepatch/build/") && targetRoom === "host")
    return "src/livepatch/build must not import src/host: a build does not depend on the running kernel";
  return undefined;
}

function importOf(node: Node): Import | undefined {
  if (node.type === "ImportDeclaration")
    return { source: node.source.value, kind: node.importKind === "type" ? "type" : "static" };
  if (
    (node.type === "ExportNamedDeclaration" || node.type === "ExportAllDeclaration") &&
    node.source !== null
  )
    return { source: node.source.value, kind: node.exportKind === "type" ? "type" : "static" };
  if (node.type === "ImportExpression" && node.source.type === "Literal")
    return { source: String(node.source.value), kind: "dynamic" };
  return undefined;
}

/** Printing and reading the command line outside src/cli. */
function talkOf(node: Node, path: string): string[] {
  if (roomOf(path) === "cli" || node.type !== "MemberExpression" || node.object.type !== "Identifier")
    return [];
  const member = node.property.type === "Identifier" ? node.property.name : "";
  if (node.object.name === "console") return [`it prints with console.${member}; only src/cli prints`];
  if (node.object.name === "process" && terminalMembers.includes(member))
    return [`it uses process.${member}; only src/cli talks to the terminal and to signals`];
  return [];
}

/** What `rekernel --version` loads must stay small: commands import the library when they run. */
function startupBreaches(imports: ReadonlyMap<string, readonly Import[]>): string[] {
  const breaches: string[] = [];
  const pending = ["src/cli/main.ts"];
  const seen = new Set(pending);
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    for (const { source, kind } of imports.get(path) ?? []) {
      if (kind !== "static" || source.startsWith("node:")) continue;
      const file = source.startsWith(".") ? normalize(join(dirname(path), source)) : source;
      const isSmall = file === "commander" || file.endsWith(".json") || /^src\/(cli|core)\//.test(file);
      if (!isSmall)
        breaches.push(`${path}: it imports ${source} when the program starts; import it inside the action`);
      else if (!seen.has(file)) {
        seen.add(file);
        pending.push(file);
      }
    }
  }
  return breaches;
}

function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) walk(child, visit);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

if (import.meta.main) {
  const root = dirname(import.meta.dirname);
  const files = new Map<string, string>();
  for await (const path of glob("src/**/*.ts", { cwd: root }))
    files.set(relative(root, join(root, path)), readFileSync(join(root, path), "utf8"));
  const breaches = findBreaches(files).sort();
  for (const breach of breaches) console.error(breach);
  console.error(
    `Imports of ${files.size} files: ${breaches.length === 0 ? "as planned" : `${breaches.length} breaches`}`,
  );
  process.exitCode = breaches.length === 0 ? 0 : 1;
}
