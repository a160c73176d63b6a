#include "reset.h"

#include "machine.h"

_Noreturn void reset_machine(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_table;

	/* The chipset's reset control register: first what kind (a cold one), then now. */
	uint8_t control = inb(0xcf9) & ~0x0e;
	outb(control | 0x0a, 0xcf9);
	wait_microseconds(50);
	outb(control | 0x0e, 0xcf9);
	wait_microseconds(50000);

	/* The keyboard controller's line to the processor's reset pin, as soon as it takes a command. */
	for (unsigned tries = 0; tries < 65536 && (inb(0x64) & 2) != 0; tries++)
		wait_microseconds(2);
	outb(0xfe, 0x64);
	wait_microseconds(50000);

	/* A fault without handlers. */
	__asm__ volatile("lidt %0; ud2" : : "m"(no_table));
	__builtin_unreachable();
}
