// The way into a fresh checkout: installs what is missing, then runs `npm start` or `npm test` under Node 26.
// Plain JavaScript without imports from npm: it runs on Node 18 or later before anything is installed.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node26 = join(root, "node_modules/node/bin/node");
const programs = { start: "demo/main.ts", test: "scripts/test.ts" };
const machineCannot = 5;

const [mode, ...rest] = process.argv.slice(2);
const program = programs[mode];
if (program === undefined) fail(2, "usage: node scripts/bootstrap.mjs start|test [arguments]");

// Node 26 needs libatomic1, and once it is installed npm finds it first: Debian's packages come before npm's.
installDebianPackages();
installNpmPackages();
await run(program, rest);

function installNpmPackages() {
  const lock = readFileSync(join(root, "package-lock.json"));
  const stamp = join(root, "node_modules/.rekernel-lock");
  const wanted = createHash("sha256").update(lock).digest("hex");
  if (existsSync(node26) && isCurrent(stamp, wanted)) return;

  say("Installing npm packages: npm ci");
  // With npm's own Node and script: `node` on the PATH may be the one in node_modules that npm ci deletes.
  const { npm_execpath: npmScript, npm_node_execpath: npmNode } = process.env;
  const direct = npmScript?.endsWith(".js") && npmNode !== undefined && !npmNode.startsWith(root);
  const [command, first] = direct ? [npmNode, [npmScript]] : ["npm", []];
  const result = spawnSync(
    command,
    [...first, "ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"],
    {
      cwd: root,
      stdio: "inherit",
    },
  );
  if (result.error?.code === "ENOENT") fail(machineCannot, "npm is not on the PATH.");
  if (result.status !== 0) fail(1, "npm ci failed; its messages are above.");
  if (!existsSync(node26))
    fail(1, `npm ci ended without ${node26}: does this npm run the install script of the package "node"?`);
  writeFileSync(stamp, wanted);
}

function isCurrent(stamp, wanted) {
  if (existsSync(stamp)) return readFileSync(stamp, "utf8") === wanted;
  // The user ran `npm ci` by hand: npm leaves a lock of its own, written after the one it installed from.
  const installed = join(root, "node_modules/.package-lock.json");
  return (
    existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, "package-lock.json")).mtimeMs
  );
}

function installDebianPackages() {
  const needed = JSON.parse(readFileSync(join(root, "src/core/debian-packages.json"), "utf8"));
  if (!existsSync("/usr/bin/apt-get")) {
    const missing = needed.filter((entry) => !isProvided(entry));
    if (missing.length === 0) return;
    fail(
      machineCannot,
      `this machine has no apt-get, and lacks what these Debian packages bring:\n${listing(missing)}`,
    );
  }
  const installed = installedPackages(needed.map(({ name }) => name));
  const missing = needed.filter(({ name }) => !installed.has(name));
  const names = missing.map(({ name }) => name);
  const listsMissing = !hasCandidate(["linux-image-amd64"]);
  if (missing.length === 0 && !listsMissing && !listsAreOld()) return;

  const installLine = ["apt-get", "install", "--no-install-recommends", "-y", ...names];
  const become = asRoot();
  if (become === undefined) {
    // Without root old lists are no reason to stop: what they name may still be there.
    if (missing.length === 0 && !listsMissing) return;
    const lines = [
      ...(listsMissing ? ["apt-get update"] : []),
      ...(names.length > 0 ? [installLine.join(" ")] : []),
    ];
    fail(
      machineCannot,
      `${missing.length > 0 ? `Debian packages are missing:\n${listing(missing)}` : "apt's package lists are missing."}\nRun this as root, then start again:\n  ${lines.join(" && ")}`,
    );
  }

  if (listsMissing || listsAreOld() || !hasCandidate(names))
    updateLists(become, missing.length > 0 || listsMissing);
  if (missing.length === 0) return;
  say(`Installing Debian packages:\n${listing(missing)}`);
  if (apt(become, installLine.slice(1))) return;
  say("That failed; once more with fresh package lists.");
  updateLists(become, true);
  if (!apt(become, installLine.slice(1)))
    fail(1, `apt-get could not install ${names.join(" ")}; its messages are above.`);
}

function updateLists(become, isNeeded) {
  say("Fetching Debian's package lists: apt-get update");
  if (apt(become, ["update"])) return;
  if (isNeeded) fail(1, "apt-get update failed; its messages are above.");
  say("apt-get update failed; going on with the lists that are here.");
}

function apt(become, args) {
  const [command, ...first] = [...become, "apt-get"];
  const quiet = ["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"];
  return (
    spawnSync(command, [...first, ...quiet, ...args], { stdio: ["ignore", "inherit", "inherit"] }).status ===
    0
  );
}

/** The words to put before a command so that root runs it; undefined when there is no way without a password. */
function asRoot() {
  const environment = ["env", "DEBIAN_FRONTEND=noninteractive"];
  if (process.getuid() === 0) return environment;
  return spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0
    ? ["sudo", "-n", ...environment]
    : undefined;
}

function installedPackages(names) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the placeholders are dpkg-query's.
  const { stdout } = spawnSync("dpkg-query", ["-W", "-f=${db:Status-Status} ${Package}\n", ...names], {
    encoding: "utf8",
  });
  return new Set(
    stdout
      .split("\n")
      .filter((line) => line.startsWith("installed "))
      .map((line) => line.slice("installed ".length)),
  );
}

function hasCandidate(names) {
  if (names.length === 0) return true;
  const { stdout } = spawnSync("apt-cache", ["policy", ...names], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
  });
  const candidates = stdout.match(/^ {2}Candidate: (?!\(none\)).*$/gm) ?? [];
  return candidates.length === names.length;
}

/** Kernels leave the archive when newer ones come: lists older than a day name packages that are gone. */
function listsAreOld() {
  const traces = [
    "/var/lib/apt/lists/partial",
    "/var/lib/apt/lists",
    "/var/lib/apt/periodic/update-success-stamp",
  ];
  const newestMs = Math.max(0, ...traces.filter(existsSync).map((path) => statSync(path).mtimeMs));
  return Date.now() - newestMs > 24 * 3600 * 1000;
}

function isProvided({ tools = [], files = [] }) {
  const folders = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/sbin"];
  return (
    files.every(existsSync) &&
    tools.every((tool) => folders.some((folder) => isExecutable(join(folder, tool))))
  );
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function listing(entries) {
  const width = Math.max(...entries.map(({ name }) => name.length));
  return entries.map(({ name, reason }) => `  ${name.padEnd(width)}  ${reason}`).join("\n");
}

async function run(script, args) {
  const child = spawn(node26, ["--disable-warning=ExperimentalWarning", join(root, script), ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH ?? ""}` },
  });
  // The terminal sends Ctrl-C to the child as well; this process only has to outlive the child's clean-up.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  const [code, signal] = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (...ending) => resolve(ending));
  });
  const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };
  process.exitCode = code ?? 128 + (signalNumbers[signal] ?? 1);
}

function say(text) {
  process.stderr.write(`${text}\n`);
}

function fail(code, message) {
  say(`rekernel: ${message}`);
  process.exit(code);
}
