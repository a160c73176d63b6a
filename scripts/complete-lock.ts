// Names every platform package in package-lock.json. A registry that does not carry all of them makes npm leave
// them out, and then `npm ci` refuses the lock on every machine. Run it after `npm install PACKAGE`.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

interface LockedPackage {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

interface Lock {
  packages: Record<string, LockedPackage>;
}

const systems = [
  "aix",
  "android",
  "darwin",
  "freebsd",
  "linux",
  "netbsd",
  "openbsd",
  "openharmony",
  "sunos",
  "win32",
];
const processors = [
  "arm64",
  "x64",
  "ia32",
  "ppc64",
  "riscv64",
  "s390x",
  "loong64",
  "mips64el",
  "wasm32",
  "arm",
];

/** Optional dependencies of locked packages that have no entry of their own, with the entry they should have. */
export function missingEntries(lock: Lock): Record<string, LockedPackage> {
  const missing: Record<string, LockedPackage> = {};
  for (const { optionalDependencies = {}, dev } of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(optionalDependencies)) {
      const path = `node_modules/${name}`;
      if (path in lock.packages) continue;
      const words = name.split(/[-/]/);
      const os = systems.find((system) => words.includes(system));
      const cpu = processors.find((processor) => words.includes(processor));
      const libc = words.some((word) => word.startsWith("musl")) ? "musl" : "glibc";
      missing[path] = {
        version,
        ...(cpu === undefined ? {} : { cpu: [cpu] }),
        ...(dev === true ? { dev } : {}),
        ...(os === "linux" ? { libc: [libc] } : {}),
        optional: true,
        ...(os === undefined ? {} : { os: [os] }),
      };
    }
  }
  return missing;
}

if (import.meta.main) {
  const path = join(dirname(import.meta.dirname), "package-lock.json");
  const lock: Lock = JSON.parse(readFileSync(path, "utf8"));
  const missing = missingEntries(lock);
  const entries = Object.entries({ ...lock.packages, ...missing }).sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(
    path,
    `${JSON.stringify({ ...lock, packages: Object.fromEntries(entries) }, undefined, 2)}\n`,
  );
  console.log(`Added ${Object.keys(missing).length} packages of other platforms.`);
}
