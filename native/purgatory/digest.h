#pragma once
#include <stdint.h>

/* FIPS 180-4, section 6.2. */
void sha256(const uint8_t *data, uint64_t size, uint8_t digest[32]);

/*
 * Two sums over 64-bit words, modulo 2^64: that of the words, and that of all values which the first one
 * takes on the way, so that words that change places count. What is left at the end is filled up with zeros.
 * It finds accidents, such as a device that wrote into memory; it keeps nobody out who wants to deceive.
 */
void sum(const uint8_t *data, uint64_t size, uint64_t result[2]);
