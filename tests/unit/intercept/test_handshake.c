/* test_handshake.c - MD2, HMAC and the runtime's checksum. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "intercept/handshake.h"

static const char *hex(const unsigned char digest[16])
{
	static char text[33];

	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return text;
}

Test(handshake, md2_gives_the_digests_of_rfc_1319)
{
	static const struct { const char *text, *digest; } suite[] = {
		{ "", "8350e5a3e24c153df2275c9f80692773" },
		{ "a", "32ec01ec4a6dac72c0ab96fb34c0b5d1" },
		{ "abc", "da853b0d3f88d99b30283a69e6ded6bb" },
		{ "message digest", "ab4f496bfb2a530b219ff33031fe06b0" },
		{ "abcdefghijklmnopqrstuvwxyz", "4e8ddff3650292ab5a4108c3aa47940b" },
		{ "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
		  "da33def2a42df13975352846c30338cd" },
		{ "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
		  "d5976f79d83d3a0dc9806c3c66f3efd8" },
	};

	for (size_t i = 0; i < sizeof(suite) / sizeof(suite[0]); i++) {
		unsigned char digest[16];

		hg_md2(suite[i].text, strlen(suite[i].text), digest);
		cr_expect_str_eq(hex(digest), suite[i].digest, "of '%s'", suite[i].text);
	}
}

/* MD5, RFC 1321, for RFC 2104's vectors, which are given for it alone. */
static void md5(const void *data, size_t size, unsigned char digest[16])
{
	static const unsigned char shift[4][4] = {
		{ 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 },
	};
	static const uint32_t sine[64] = {
		0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
		0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
		0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
		0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
		0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
		0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
		0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
		0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
	};
	uint32_t state[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
	unsigned char text[1024] = { 0 };
	size_t padded = (size + 9 + 63) / 64 * 64;
	uint64_t bits = size * 8;

	cr_assert_leq(padded, sizeof(text));
	memcpy(text, data, size);
	text[size] = 0x80;
	memcpy(text + padded - 8, &bits, 8);
	for (size_t at = 0; at < padded; at += 64) {
		uint32_t s[4], word[16];

		memcpy(s, state, sizeof(s));
		memcpy(word, text + at, sizeof(word));
		for (int i = 0; i < 64; i++) {
			int round = i / 16, k[4] = { i, 5 * i + 1, 3 * i + 5, 7 * i };
			uint32_t b = s[1], c = s[2], d = s[3];
			uint32_t f[4] = { (b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d) };
			uint32_t v = s[0] + f[round] + word[k[round] % 16] + sine[i];
			int n = shift[round][i % 4];

			s[0] = d;
			s[3] = c;
			s[2] = b;
			s[1] = b + (v << n | v >> (32 - n));
		}
		for (int i = 0; i < 4; i++)
			state[i] += s[i];
	}
	memcpy(digest, state, 16);
}

Test(handshake, hmac_gives_the_digests_of_rfc_2104)
{
	unsigned char key[16], data[50], digest[16];

	memset(key, 0x0b, sizeof(key));
	hg_hmac(md5, 64, key, sizeof(key), "Hi There", 8, digest);
	cr_expect_str_eq(hex(digest), "9294727a3638bb1c13f48ef8158bfc9d");

	hg_hmac(md5, 64, "Jefe", 4, "what do ya want for nothing?", 28, digest);
	cr_expect_str_eq(hex(digest), "750c783e6ab0b503eaa86e310a5db738");

	memset(key, 0xaa, sizeof(key));
	memset(data, 0xdd, sizeof(data));
	hg_hmac(md5, 64, key, sizeof(key), data, sizeof(data), digest);
	cr_expect_str_eq(hex(digest), "56be34521d144c88dbb8c733f0e8b3f6");
}

Test(handshake, hmac_hashes_a_key_longer_than_the_block)
{
	unsigned char key[80], hashed[16], a[16], b[16];

	memset(key, 0xaa, sizeof(key));
	md5(key, sizeof(key), hashed);
	hg_hmac(md5, 64, key, sizeof(key), "text", 4, a);
	hg_hmac(md5, 64, hashed, sizeof(hashed), "text", 4, b);
	cr_expect_arr_eq(a, b, 16);
}

Test(handshake, versions_ending_in_0_and_1_have_constant_answers)
{
	struct hg_handshake h = { .version = 13000, .pid = 1 };
	uint64_t out[2];

	hg_handshake(&h, NULL, 0, out);
	cr_expect_eq(out[0], 0x3341181c03cb675c);
	cr_expect_eq(out[1], 0x8ed383aa1f4cd1e8);
	h.version = 13001;
	hg_handshake(&h, NULL, 0, out);
	cr_expect_eq(out[0], 0x1841181c03cb675c);
	cr_expect_eq(out[1], 0x8ed383aa1f4cd1e8);
}

Test(handshake, every_input_changes_the_keyed_answer)
{
	struct hg_handshake h = { 13000, 13002, 100, 200, 0x1000, 0x2000, 0x3000, 1700000000 };
	struct hg_handshake_device d[2] = { { { 1 }, 0, 1, 0 }, { { 2 }, 0, 2, 0 } };
	uint64_t first[2], other[2];

	hg_handshake(&h, d, 2, first);
	hg_handshake(&h, d, 1, other);
	cr_expect_neq(first[0], other[0], "the number of devices");
	for (size_t i = 0; i < sizeof(h); i++) {
		unsigned char *byte = (unsigned char *)&h + i;

		if (i == 4)	/* the version's last digit chooses the kind of answer */
			continue;
		*byte ^= 0x80;
		hg_handshake(&h, d, 2, other);
		*byte ^= 0x80;
		cr_expect(i / 4 == 1 || first[0] != other[0], "byte %zu of the message", i);
	}
	for (size_t i = 0; i < sizeof(d); i++) {
		unsigned char *byte = (unsigned char *)d + i;

		*byte ^= 1;
		hg_handshake(&h, d, 2, other);
		*byte ^= 1;
		cr_expect_neq(first[0], other[0], "byte %zu of the devices", i);
	}
}
