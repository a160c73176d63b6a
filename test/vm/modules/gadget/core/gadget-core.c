// SPDX-License-Identifier: GPL-2.0
/* What the other gadgets need: it has to be loaded before them. */
#include <linux/module.h>
#include <gadget.h>

static int (*registered)(int mode);

/* The other gadgets have functions of this name too. */
static noinline int local_factor(int value)
{
	return value * 2;
}

int gadget_core_scale(int value)
{
	return local_factor(value) + 1;
}
EXPORT_SYMBOL_GPL(gadget_core_scale);

void gadget_core_register(int (*open)(int mode))
{
	registered = open;
}
EXPORT_SYMBOL_GPL(gadget_core_register);

bool gadget_core_is_registered(int (*open)(int mode))
{
	return registered == open;
}
EXPORT_SYMBOL_GPL(gadget_core_is_registered);

GADGET_SHOW(scale, gadget_core_scale(10));

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a module for the tests");
