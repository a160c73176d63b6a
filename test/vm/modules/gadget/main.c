// SPDX-License-Identifier: GPL-2.0
/* One function for each thing that the kernel keeps tables about. */
#include <linux/atomic.h>
#include <linux/irqflags.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/static_call.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>
#include <gadget.h>

DEFINE_STATIC_KEY_FALSE(gadget_key);

static atomic_t counter = ATOMIC_INIT(5);

/* Always 0, which gcc does not know: it must not work anything out beforehand. */
static int shift;
module_param(shift, int, 0444);

/* limits.c has a function of this name too. */
static noinline int local_factor(int value)
{
	return value * 3;
}

static noinline int with_bug(int value)
{
	WARN_ON(value < 0);
	WARN_ONCE(value < -1, "value %d", value);
	return value;
}

static noinline int with_debug(int value)
{
	pr_debug("value %d\n", value);
	return value;
}

static noinline int with_alternatives(int value)
{
	unsigned long flags;

	local_irq_save(flags);
	value += static_cpu_has(X86_FEATURE_FPU) ? 1 : 0;
	local_irq_restore(flags);
	smp_mb();
	return value + atomic_inc_return(&counter) - atomic_dec_return(&counter) - 1;
}

static noinline int with_exceptions(int value)
{
	int __user *nowhere = (int __user *)8;
	int found;

	if (!user_access_begin(nowhere, sizeof(found)))
		return -1;
	unsafe_get_user(found, nowhere, fault);
	user_access_end();
	return found;
fault:
	user_access_end();
	return value + 1;
}

/* init_on_alloc is the kernel's own key. */
static noinline int with_key_of_kernel(int value)
{
	return value + (want_init_on_alloc(__GFP_ZERO) ? 1 : 0);
}

static noinline int with_own_key(int value)
{
	return static_branch_unlikely(&gadget_key) ? -value : value;
}

static int add_one(int value)
{
	return value + 1;
}

DEFINE_STATIC_CALL(gadget_call, add_one);

static noinline int with_static_calls(int value)
{
	cond_resched();
	return static_call(gadget_call)(value);
}

static noinline int with_file(int value)
{
	return value + strlen(__FILE__);
}

static noinline int gadget_open(int mode)
{
	return mode + 1;
}

static noinline int opens(int (*open)(int mode))
{
	return open == gadget_open ? open(10) : -1;
}

GADGET_SHOW(limit, gadget_limit());
GADGET_SHOW(factor, local_factor(7 + shift));
GADGET_SHOW(bug, with_bug(20 + shift));
GADGET_SHOW(debug, with_debug(30 + shift));
GADGET_SHOW(alternatives, with_alternatives(40 + shift));
GADGET_SHOW(exceptions, with_exceptions(50 + shift));
GADGET_SHOW(kernel_key, with_key_of_kernel(60 + shift));
GADGET_SHOW(own_key, with_own_key(70 + shift));
GADGET_SHOW(static_calls, with_static_calls(80 + shift));
GADGET_SHOW(file, with_file(0 + shift));
GADGET_SHOW(open, opens(gadget_open));
GADGET_SHOW(registered, gadget_core_is_registered(gadget_open));
GADGET_SHOW(scaled, gadget_core_scale(4));
GADGET_SHOW(shared, gadget_shared(1));

static int __init enter(void)
{
	gadget_core_register(gadget_open);
	return 0;
}

static void __exit leave(void)
{
	gadget_core_register(NULL);
}

module_init(enter);
module_exit(leave);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a module for the tests");
