/*
 * What runs between two kernels, with neither to help: makes sure that the next one lies in memory as it was
 * loaded, and enters it. If it does not, the machine is reset, because nobody is there to do anything else.
 */
#include "digest.h"
#include "machine.h"
#include "parameters.h"
#include "reset.h"
#include "speak.h"

struct parameters parameters __attribute__((section(".parameters"))) = {
	.magic = PARAMETERS_MAGIC,
	.version = PARAMETERS_VERSION,
};

static int is_intact(const struct region *region)
{
	union {
		uint8_t bytes[32];
		uint64_t words[4];
	} digest = { .words = { 0 } };
	unsigned difference = 0;

	if (parameters.digest_kind == DIGEST_SUM)
		sum((const uint8_t *)region->address, region->size, digest.words);
	else
		sha256((const uint8_t *)region->address, region->size, digest.bytes);
	for (unsigned i = 0; i < sizeof(digest.bytes); i++)
		difference |= digest.bytes[i] ^ region->digest[i];
	return difference == 0;
}

static void verify(void)
{
	unsigned damaged = 0;

	say("rekernel: verifying ");
	say_number(parameters.region_count);
	say(" segments\r\n");
	for (unsigned i = 0; i < parameters.region_count; i++) {
		const struct region *region = &parameters.regions[i];

		if (is_intact(region))
			continue;
		damaged++;
		say("rekernel: ");
		say(region->name);
		say(" at ");
		say_hex(region->address);
		say(" (");
		say_number(region->size);
		say(" bytes) is not what was loaded\r\n");
	}
	if (damaged == 0) {
		say("rekernel: all as loaded, entering the kernel\r\n");
		return;
	}
	say("rekernel: resetting the machine\r\n");
	finish_speaking();
	show_on_screen();
	reset_machine();
}

_Noreturn void purgatory(void);
_Noreturn void purgatory(void)
{
	speak_on(parameters.serial_port);
	verify();
	switch (parameters.handover) {
	case HANDOVER_LINUX_32:
		enter_32(parameters.entry, 0, 0, parameters.information);
	case HANDOVER_MULTIBOOT:
		enter_32(parameters.entry, parameters.magic_word, parameters.information, 0);
	default:
		enter_64(parameters.entry, parameters.information);
	}
}
