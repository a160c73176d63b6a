/** kpatch's headers by their names and macros, so that patches written for kpatch-build build as they are. */
import { authorHeaderPath } from "./author-header.ts";

/** Text of each header, by its name. */
export const kpatchHeaders: Readonly<Record<string, string>> = {
  "kpatch-macros.h": `/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _REKERNEL_KPATCH_MACROS_H
#define _REKERNEL_KPATCH_MACROS_H

#include <linux/printk.h>
#include <${authorHeaderPath}>

typedef struct klp_object patch_object;

#define KPATCH_PRE_PATCH_CALLBACK(function) REKERNEL_PRE_PATCH(function)
#define KPATCH_POST_PATCH_CALLBACK(function) REKERNEL_POST_PATCH(function)
#define KPATCH_PRE_UNPATCH_CALLBACK(function) REKERNEL_PRE_UNPATCH(function)
#define KPATCH_POST_UNPATCH_CALLBACK(function) REKERNEL_POST_UNPATCH(function)
#define KPATCH_IGNORE_SECTION(section) REKERNEL_IGNORE_SECTION(section)
#define KPATCH_IGNORE_FUNCTION(function) REKERNEL_IGNORE_FUNCTION(function)
#define KPATCH_FORCE_UNSAFE(function) \\
	_Static_assert(0, "livepatch waits until no task runs " #function ": take KPATCH_FORCE_UNSAFE out")
/* Entries of .printk_index are bound like any other. */
#define KPATCH_PRINTK(...) printk(__VA_ARGS__)
#define KPATCH_PRINTK_DEFERRED(...) printk_deferred(__VA_ARGS__)
/* Static calls of modules are bound when the module comes. */
#define KPATCH_STATIC_CALL(name) static_call(name)

#endif
`,
  "kpatch-syscall.h": `/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _REKERNEL_KPATCH_SYSCALL_H
#define _REKERNEL_KPATCH_SYSCALL_H

/* Both objects are made from the same definition: its metadata is no change. */
#define KPATCH_SYSCALL_DEFINE1 SYSCALL_DEFINE1
#define KPATCH_SYSCALL_DEFINE2 SYSCALL_DEFINE2
#define KPATCH_SYSCALL_DEFINE3 SYSCALL_DEFINE3
#define KPATCH_SYSCALL_DEFINE4 SYSCALL_DEFINE4
#define KPATCH_SYSCALL_DEFINE5 SYSCALL_DEFINE5
#define KPATCH_SYSCALL_DEFINE6 SYSCALL_DEFINE6

#endif
`,
};
