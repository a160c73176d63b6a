/** What authors of patches include: `#include <rekernel/livepatch.h>`. The builder reads what its macros leave in the object. */

/** Where {@link authorHeader} is found. */
export const authorHeaderPath = "rekernel/livepatch.h";

/** The module's own struct klp_patch, for klp_get_state(). */
export const patchVariable = "rekernel_patch";

/** Sections that the macros fill and that never go into the module. */
export const directiveSection = ".rekernel.directives";
export const stateSection = ".rekernel.states";
/** Between the fields of a directive: no C identifier or section name has it. */
export const fieldSeparator = "\x1f";

/** The longest name that REKERNEL_SHADOW_ID takes: the macro has a step for each character. */
const shadowNameLength = 64;

/** The text of the header. Needs nothing of the kernel but `<linux/livepatch.h>`; the macros work since Linux 4.0. */
export const authorHeader = `/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _REKERNEL_LIVEPATCH_H
#define _REKERNEL_LIVEPATCH_H

#include <linux/livepatch.h>

#define __REKERNEL_CALLBACK(kind, type, function) \\
	static type (*const __rekernel_##kind)(struct klp_object *obj) \\
	__used __section(".rekernel.callbacks") = (function)

/* int function(struct klp_object *obj): an error keeps the patch from being loaded. */
#define REKERNEL_PRE_PATCH(function) __REKERNEL_CALLBACK(pre_patch, int, function)
/* void function(struct klp_object *obj) */
#define REKERNEL_POST_PATCH(function) __REKERNEL_CALLBACK(post_patch, void, function)
#define REKERNEL_PRE_UNPATCH(function) __REKERNEL_CALLBACK(pre_unpatch, void, function)
#define REKERNEL_POST_UNPATCH(function) __REKERNEL_CALLBACK(post_unpatch, void, function)

/*
 * The patch changes the state of the system that \`id\` stands for (not 0), in a way that takes \`version\` to undo
 * (Documentation/livepatch/system-state.rst; Linux 5.4). The kernel loads no patch that replaces this one and
 * declares a lower version, or none. In callbacks: klp_get_state(&${patchVariable}, id), klp_get_prev_state(id).
 */
extern struct klp_patch ${patchVariable};
#define REKERNEL_STATE(id_, version_) \\
	static const struct klp_state __UNIQUE_ID(rekernel_state) \\
	__used __section("${stateSection}") = { .id = (id_), .version = (version_) }

#define __REKERNEL_DIRECTIVE(text) \\
	static const char __UNIQUE_ID(rekernel_directive)[] \\
	__used __section("${directiveSection}") = text

/* The function of this file keeps the kernel's code although the patch changes it, __init and __exit ones too. */
#define REKERNEL_IGNORE_FUNCTION(function) __REKERNEL_DIRECTIVE("ignore-function\\x1f" #function)
/* Data in the section, a string, keeps the kernel's content although the patch changes its initialiser. */
#define REKERNEL_IGNORE_SECTION(section) __REKERNEL_DIRECTIVE("ignore-section\\x1f" section)
/*
 * The author vouches that a change that is refused with \`code\`, "RK-TYPE-CHANGE" or "RK-DATA-CHANGE", is harmless
 * for \`subject\`, "struct foo" or a variable's name, because of \`reason\`. All three are strings.
 */
#define REKERNEL_ACCEPT(code, subject, reason) \\
	__REKERNEL_DIRECTIVE("accept\\x1f" code "\\x1f" subject "\\x1f" reason)

/*
 * A shadow variable's id made of a string literal of up to ${shadowNameLength} characters, such as "inode.quota_hint": FNV-1a, 64 bits.
 * Ids are one name space for all live patches: klp_shadow_free_all() frees whatever bears the id.
 */
#define REKERNEL_SHADOW_ID(name) \\
	(BUILD_BUG_ON_ZERO(sizeof(name) < 2 || sizeof(name) > ${shadowNameLength} + 1) + \\
	 __REKERNEL_HASH64(name, 0, 14695981039346656037UL))
#define __REKERNEL_HASH1(s, i, hash) \\
	(((hash) ^ ((i) < sizeof(s) - 1 ? (unsigned char)(s)[(i) < sizeof(s) ? (i) : 0] : 0)) * \\
	 ((i) < sizeof(s) - 1 ? 1099511628211UL : 1))
#define __REKERNEL_HASH4(s, i, hash) __REKERNEL_HASH1(s, (i) + 3, __REKERNEL_HASH1(s, (i) + 2, \\
	__REKERNEL_HASH1(s, (i) + 1, __REKERNEL_HASH1(s, i, hash))))
#define __REKERNEL_HASH16(s, i, hash) __REKERNEL_HASH4(s, (i) + 12, __REKERNEL_HASH4(s, (i) + 8, \\
	__REKERNEL_HASH4(s, (i) + 4, __REKERNEL_HASH4(s, i, hash))))
#define __REKERNEL_HASH64(s, i, hash) __REKERNEL_HASH16(s, (i) + 48, __REKERNEL_HASH16(s, (i) + 32, \\
	__REKERNEL_HASH16(s, (i) + 16, __REKERNEL_HASH16(s, i, hash))))

#endif
`;
