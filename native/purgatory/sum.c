#include "digest.h"

/* Segments begin on a page; may_alias because their bytes were never written as words. */
typedef uint64_t __attribute__((may_alias)) word;

void sum(const uint8_t *data, uint64_t size, uint64_t result[2])
{
	const word *at = (const word *)data;
	const word *end = at + size / 8;
	uint64_t plain = 0, weighted = 0;

	/* Unrolled: an emulator pays for every jump. */
	for (; end - at >= 8; at += 8) {
		weighted += plain += at[0];
		weighted += plain += at[1];
		weighted += plain += at[2];
		weighted += plain += at[3];
		weighted += plain += at[4];
		weighted += plain += at[5];
		weighted += plain += at[6];
		weighted += plain += at[7];
	}
	for (; at < end; at++)
		weighted += plain += *at;

	uint64_t last = 0;
	for (unsigned left = size % 8; left > 0; left--)
		last = last << 8 | ((const uint8_t *)end)[left - 1];
	if (size % 8 != 0)
		weighted += plain += last;

	result[0] = plain;
	result[1] = weighted;
}
