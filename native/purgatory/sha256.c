#include "digest.h"

/* The first 32 bits of the fractions of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t word, unsigned bits)
{
	return word >> bits | word << (32 - bits);
}

static uint32_t big_endian(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* One of the 64 steps: instead of moving eight variables on, the next step names them one further round. */
#define STEP(a, b, c, d, e, f, g, h, index, word)                                                          \
	do {                                                                                               \
		uint32_t first = (h) + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +                    \
				 ((g) ^ ((e) & ((f) ^ (g)))) + constants[index] + (word);                  \
		(d) += first;                                                                              \
		(h) = first + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +                             \
		      (((a) & (b)) | ((c) & ((a) | (b))));                                                 \
	} while (0)

/* Of the message schedule only the last 16 words are ever needed. */
static inline __attribute__((always_inline)) uint32_t schedule(uint32_t w[16], unsigned index)
{
	uint32_t a = w[(index + 1) % 16], b = w[(index + 14) % 16];

	w[index % 16] += (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[(index + 9) % 16] +
			 (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	return w[index % 16];
}

static void compress(uint32_t state[8], const uint8_t *block)
{
	uint32_t w[16];
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
	uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

#define WORD(index) (round == 0 ? (w[(index) % 16] = big_endian(block + (index) * 4)) : schedule(w, index))
	for (unsigned round = 0; round < 64; round += 16) {
		for (unsigned i = round; i < round + 16; i += 8) {
			STEP(a, b, c, d, e, f, g, h, i + 0, WORD(i + 0));
			STEP(h, a, b, c, d, e, f, g, i + 1, WORD(i + 1));
			STEP(g, h, a, b, c, d, e, f, i + 2, WORD(i + 2));
			STEP(f, g, h, a, b, c, d, e, i + 3, WORD(i + 3));
			STEP(e, f, g, h, a, b, c, d, i + 4, WORD(i + 4));
			STEP(d, e, f, g, h, a, b, c, i + 5, WORD(i + 5));
			STEP(c, d, e, f, g, h, a, b, i + 6, WORD(i + 6));
			STEP(b, c, d, e, f, g, h, a, i + 7, WORD(i + 7));
		}
	}
#undef WORD

	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
	state[4] += e;
	state[5] += f;
	state[6] += g;
	state[7] += h;
}

void sha256(const uint8_t *data, uint64_t size, uint8_t digest[32])
{
	/* The first 32 bits of the fractions of the square roots of the first 8 primes (5.3.3). */
	uint32_t state[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};
	uint8_t last[128];
	unsigned left = size % 64;
	unsigned last_size = left < 56 ? 64 : 128;

	for (uint64_t at = 0; at + 64 <= size; at += 64)
		compress(state, data + at);

	for (unsigned i = 0; i < last_size - 8; i++)
		last[i] = i < left ? data[size - left + i] : i == left ? 0x80 : 0;
	for (unsigned i = 0; i < 8; i++)
		last[last_size - 1 - i] = size * 8 >> i * 8;
	for (unsigned at = 0; at < last_size; at += 64)
		compress(state, last + at);

	for (unsigned i = 0; i < 32; i++)
		digest[i] = state[i / 4] >> (24 - i % 4 * 8);
}
