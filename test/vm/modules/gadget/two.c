// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <gadget.h>

GADGET_SHOW(shared, gadget_shared(2));
GADGET_SHOW(scaled, gadget_core_scale(3));

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a module for the tests");
