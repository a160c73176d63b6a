// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <gadget.h>

static int calls;

int gadget_shared(int value)
{
	calls++;
	return value + 1000;
}
