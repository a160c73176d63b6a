// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <gadget.h>

static int base = 90;

/* main.c has a function of this name too. */
static noinline int local_factor(int value)
{
	return value + base;
}

int gadget_limit(void)
{
	return gadget_clamp(local_factor(1));
}
