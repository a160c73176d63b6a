// SPDX-License-Identifier: GPL-2.0
/* An ordinary module: not a live patch. */
#include <linux/module.h>

static int __init enter(void)
{
	return 0;
}

static void __exit leave(void)
{
}

module_init(enter);
module_exit(leave);
MODULE_LICENSE("GPL");
