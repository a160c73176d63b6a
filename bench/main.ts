// `npm run bench [-- NAME]`: what the README and the issue tracker promise about speed, measured on this machine.

/** Each measures when it is imported, and reads `--json` from the command line. */
const benches: Readonly<Record<string, () => Promise<unknown>>> = {
  builds: () => import("./builds.ts"),
  kexec: () => import("./kexec.ts"),
  "kexec-fuzz": () => import("./kexec-fuzz.ts"),
};

const name = process.argv.slice(2).find((word) => !word.startsWith("-")) ?? "builds";
const bench = benches[name];
if (bench === undefined) {
  console.error(`There is no bench ${name}. There are: ${Object.keys(benches).join(", ")}.`);
  process.exitCode = 2;
} else await bench();
