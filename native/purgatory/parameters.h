/*
 * What the purgatory is told. It lies 64 bytes into the image; src/kexec/purgatory/parameters.ts writes it.
 * Little-endian, no padding.
 */
#pragma once
#include <stdint.h>

#define PARAMETERS_MAGIC 0x5447525550544b52 /* "RKTPURGT" */
#define PARAMETERS_VERSION 1
/* KEXEC_SEGMENT_MAX: there are never more. */
#define REGION_LIMIT 16

enum handover { HANDOVER_LINUX_64, HANDOVER_LINUX_32, HANDOVER_MULTIBOOT };
enum digest_kind { DIGEST_SHA256, DIGEST_SUM };

struct region {
	uint64_t address;
	uint64_t size;
	/* For people, NUL-terminated. */
	char name[16];
	/* SHA-256 as its standard writes it; of a sum the two words, and zeros. */
	uint8_t digest[32];
};

struct parameters {
	uint64_t magic;
	uint32_t version;
	uint32_t handover;
	uint64_t entry;
	/* Where boot_params or the multiboot information lies. */
	uint64_t information;
	/* EAX for multiboot. */
	uint32_t magic_word;
	uint32_t digest_kind;
	/* I/O port of a 16550's first register; 0 without one. */
	uint32_t serial_port;
	uint32_t region_count;
	struct region regions[REGION_LIMIT];
};

_Static_assert(sizeof(struct region) == 64, "region");
_Static_assert(sizeof(struct parameters) == 48 + 64 * REGION_LIMIT, "parameters");
