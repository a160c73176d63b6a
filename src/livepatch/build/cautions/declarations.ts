/**
 * What a patch declares to the kernel's build, to the module loader or to user space, and what a live patch cannot
 * bring: it replaces functions, and nobody reads these declarations again. Pure.
 */
import type { Caution } from "../finding.ts";

interface Declaration {
  macro: string;
  /** The first argument, or all of them where they make up what is declared. */
  what: string;
  line: number;
}

const kinds: readonly {
  macros: RegExp;
  wholeArguments?: boolean;
  code: string;
  added(declaration: Declaration): string;
  removed(declaration: Declaration): string;
  hint: string;
}[] = [
  {
    macros: /^EXPORT_(TRACEPOINT_|PER_CPU_)?SYMBOL\w*$/,
    code: "RK-CAUTION-EXPORT",
    added: ({ what }) => `The patch exports ${what}: from a live patch, no other module sees it.`,
    removed: ({ what }) => `The patch exports ${what} no more: the running kernel still does.`,
    hint: "Other modules that need the symbol have to come with the next kernel.",
  },
  {
    macros: /^(module_param\w*|core_param\w*|device_param_cb)$/,
    wholeArguments: true,
    code: "RK-CAUTION-PARAMETER",
    added: ({ macro, what }) =>
      `${macro}(${what}) is new: the parameter does not appear in the running kernel.`,
    removed: ({ macro, what }) => `${macro}(${what}) goes: the parameter stays in the running kernel.`,
    hint: "Give a new variable the value that it should have in the live patch.",
  },
  {
    macros:
      /^(module_init|module_exit|\w*_initcall(_sync)?|early_param|__setup|module_\w+_driver|builtin_\w+_driver)$/,
    wholeArguments: true,
    code: "RK-CAUTION-INITCALL",
    added: ({ macro, what }) => `${macro}(${what}) is new: a live patch does not run it.`,
    removed: ({ macro, what }) => `${macro}(${what}) goes: in the running kernel it has been run.`,
    hint: "Do the work in a callback of the live patch (docs/patch-author-guide.md), or leave it out.",
  },
  {
    macros: /^MODULE_(DEVICE_TABLE|ALIAS\w*|FIRMWARE|SOFTDEP|WEAKDEP|IMPORT_NS)$/,
    wholeArguments: true,
    code: "RK-CAUTION-MODULE-INFO",
    added: ({ macro, what }) =>
      `${macro}(${what}) is new: modprobe and udev go by the module's own file, which stays.`,
    removed: ({ macro, what }) =>
      `${macro}(${what}) goes: modprobe and udev go by the module's own file, which stays.`,
    hint: "Load modules by hand where it matters, until the next kernel.",
  },
];

const declaration = /^[ \t]*([A-Za-z_]\w*)[ \t]*\(([^;{}]{0,2000}?)\)[ \t]*;?[ \t]*$/gm;

/**
 * @param before text of a C file, and the text with the patch
 */
export function declarationCautions(path: string, before: string, after: string): Caution[] {
  const [old, now] = [declarationsOf(before), declarationsOf(after)];
  return [
    ...[...now].filter(([key]) => !old.has(key)).map(([, entry]) => caution(entry, "added")),
    ...[...old].filter(([key]) => !now.has(key)).map(([, entry]) => caution(entry, "removed")),
  ];

  function caution({ kind, ...found }: Found, how: "added" | "removed"): Caution {
    return { code: kind.code, message: kind[how](found), hint: kind.hint, source: `${path}:${found.line}` };
  }
}

interface Found extends Declaration {
  kind: (typeof kinds)[number];
}

function declarationsOf(text: string): Map<string, Found> {
  const found = new Map<string, Found>();
  for (const match of withoutComments(text).matchAll(declaration)) {
    const [, macro = "", list = ""] = match;
    const kind = kinds.find(({ macros }) => macros.test(macro));
    if (!kind) continue;
    const whole = list.replace(/\s+/g, " ").trim();
    const what = kind.wholeArguments ? whole : whole.split(",", 1)[0]!.trim();
    const start = match.index + match[0].search(/\S/);
    const line = text.slice(0, start).split("\n").length;
    // Exports are told apart by their symbols: which macro exports one is the next kernel's matter.
    found.set(kind.wholeArguments ? `${macro} ${what}` : `${kind.code} ${what}`, { kind, macro, what, line });
  }
  return found;
}

/** The same text, with spaces where comments are: places stay what they are. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"/g, (part) =>
    part.startsWith('"') ? part : part.replace(/[^\n]/g, " "),
  );
}
