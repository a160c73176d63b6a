import { patchVariable } from "../author/author-header.ts";
import type { CallbackKind } from "../author/callbacks.ts";
import type { SystemState } from "../author/states.ts";

/** The C source that describes the patch to the kernel (include/linux/livepatch.h). */

export interface GlueFunction {
  /** Name in the kernel's symbol table. */
  oldName: string;
  sympos: number;
  /** Global symbol of the new function in one of the unit objects. */
  newFunction: string;
}

export interface GlueObject {
  /** Undefined for vmlinux. */
  module: string | undefined;
  functions: readonly GlueFunction[];
  /** Global symbols of the author's callbacks. */
  callbacks: readonly { kind: CallbackKind; function: string }[];
}

export interface GlueOptions {
  description: string;
  /** Atomic replace: take back every live patch that is loaded before. */
  replace: boolean;
  /** What of the system the patch changes, in struct klp_state (Linux 5.4). */
  states: readonly SystemState[];
  /** Export namespaces of the symbols that the module refers to. */
  namespaces: readonly string[];
  /** MODULE_IMPORT_NS takes a string since 6.13, a bare word before. */
  quotedNamespaces: boolean;
}

export function glueSource(objects: readonly GlueObject[], options: GlueOptions): string {
  const declarations = objects.flatMap(({ functions, callbacks }) => [
    ...functions.map(({ newFunction }) => `void ${newFunction}(void);`),
    ...callbacks.map(
      ({ kind, function: name }) =>
        `${kind === "pre_patch" ? "int" : "void"} ${name}(struct klp_object *obj);`,
    ),
  ]);
  const tables = objects.map(
    ({ functions }, index) => `static struct klp_func functions_${index}[] = {
${functions.map(({ oldName, newFunction, sympos }) => `\t{ .old_name = ${cString(oldName)}, .new_func = ${newFunction}, .old_sympos = ${sympos} },`).join("\n")}
\t{ }
};`,
  );
  const entries = objects.map(({ module, callbacks }, index) => {
    const name = module === undefined ? "" : `.name = ${cString(module)}, `;
    const calls = callbacks
      .map(({ kind, function: callback }) => `, .callbacks.${kind} = ${callback}`)
      .join("");
    return `\t{ ${name}.funcs = functions_${index}${calls} },`;
  });
  const states = options.states
    .map(({ id, version }) => `\t{ .id = ${id}UL, .version = ${version}U },\n`)
    .join("");
  return `// SPDX-License-Identifier: GPL-2.0
#include <linux/livepatch.h>
#include <linux/module.h>

${declarations.join("\n")}

${tables.join("\n\n")}

static struct klp_object objects[] = {
${entries.join("\n")}
\t{ }
};
${states === "" ? "" : `\nstatic struct klp_state states[] = {\n${states}\t{ }\n};\n`}
extern struct klp_patch ${patchVariable};
struct klp_patch ${patchVariable} = {
\t.mod = THIS_MODULE,
\t.objs = objects,
${states === "" ? "" : "\t.states = states,\n"}${options.replace ? "\t.replace = true,\n" : ""}};

static int __init livepatch_init(void)
{
\treturn klp_enable_patch(&${patchVariable});
}

static void __exit livepatch_exit(void)
{
}

module_init(livepatch_init);
module_exit(livepatch_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION(${cString(options.description)});
${options.namespaces.map((namespace) => `MODULE_IMPORT_NS(${options.quotedNamespaces ? cString(namespace) : namespace});\n`).join("")}`;
}

function cString(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&").replace(/[^\x20-\x7e]/g, "?")}"`;
}
