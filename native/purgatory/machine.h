#pragma once
#include <stdint.h>

/* These leave for good (machine.S). */
_Noreturn void enter_64(uint64_t entry, uint64_t boot_params);
_Noreturn void enter_32(uint32_t entry, uint32_t eax, uint32_t ebx, uint32_t esi);

static inline void outb(uint8_t value, uint16_t port)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* A write to the port for POST codes takes about a microsecond, whatever the processor. */
static inline void wait_microseconds(uint32_t count)
{
	while (count-- > 0)
		outb(0, 0x80);
}
