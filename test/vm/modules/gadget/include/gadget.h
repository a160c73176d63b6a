/* SPDX-License-Identifier: GPL-2.0 */
#ifndef GADGET_H
#define GADGET_H

#include <linux/moduleparam.h>

/* core/gadget-core.c */
int gadget_core_scale(int value);
void gadget_core_register(int (*open)(int mode));
bool gadget_core_is_registered(int (*open)(int mode));

/* limits.c */
int gadget_limit(void);

/* shared.c, in gadget and in gadget-two */
int gadget_shared(int value);

static inline int gadget_clamp(int value)
{
	return value > 100 ? 100 : value;
}

/* A file /sys/module/MODULE/parameters/NAME that shows what an expression gives. */
#define GADGET_SHOW(name, expression)						\
static int show_##name(char *buffer, const struct kernel_param *kp)		\
{										\
	return sprintf(buffer, "%d\n", (expression));				\
}										\
static const struct kernel_param_ops name##_ops = { .get = show_##name };	\
module_param_cb(name, &name##_ops, NULL, 0444)

#endif
