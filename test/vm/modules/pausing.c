// SPDX-License-Identifier: GPL-2.0
/*
 * Live patch of pause(2): a task that sleeps there keeps the transition from its end until the kernel
 * pokes it, 15 seconds later.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

static long patched_pause(const struct pt_regs *unused)
{
	while (!signal_pending(current)) {
		set_current_state(TASK_INTERRUPTIBLE);
		schedule();
	}
	return -ERESTARTNOHAND;
}

static struct klp_func functions[] = {
	{ .old_name = "__x64_sys_pause", .new_func = patched_pause },
	{ }
};

static struct klp_object objects[] = { { .funcs = functions }, { } };

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init enable(void)
{
	return klp_enable_patch(&patch);
}

static void __exit leave(void)
{
}

module_init(enable);
module_exit(leave);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
