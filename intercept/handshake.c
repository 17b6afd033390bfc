/* handshake.c - the checksum by which the CUDA runtime knows its driver. */
#include "intercept/handshake.h"

#include <assert.h>
#include <string.h>

/* RFC 1319, section 3.2: a permutation of 0..255 made from the digits of pi. */
static const unsigned char pi[256] = {
	41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19,
	98, 167, 5, 243, 192, 199, 115, 140, 152, 147, 43, 217, 188, 76, 130, 202,
	30, 155, 87, 60, 253, 212, 224, 22, 103, 66, 111, 24, 138, 23, 229, 18,
	190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142, 187, 47, 238, 122,
	169, 104, 121, 145, 21, 178, 7, 63, 148, 194, 16, 137, 11, 34, 95, 33,
	128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3,
	255, 25, 48, 179, 72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198,
	79, 184, 56, 210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4, 241,
	69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101, 230, 45, 168, 2,
	27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15,
	85, 71, 163, 35, 221, 81, 175, 58, 195, 92, 249, 206, 186, 197, 234, 38,
	44, 83, 13, 110, 133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82,
	106, 220, 55, 200, 108, 193, 171, 250, 36, 225, 123, 8, 12, 189, 177, 74,
	120, 136, 149, 139, 227, 99, 232, 109, 233, 203, 213, 254, 59, 0, 29, 57,
	242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
	49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20,
};

struct md2 {
	unsigned char state[48];
	unsigned char checksum[16];
};

static void md2_mix(struct md2 *m, const unsigned char block[16])
{
	unsigned int t = 0;

	for (int i = 0; i < 16; i++) {
		m->state[16 + i] = block[i];
		m->state[32 + i] = block[i] ^ m->state[i];
	}
	for (unsigned int round = 0; round < 18; round++) {
		for (int i = 0; i < 48; i++)
			t = m->state[i] ^= pi[t];
		t = (t + round) & 0xff;
	}
}

static void md2_block(struct md2 *m, const unsigned char block[16])
{
	unsigned char l = m->checksum[15];

	for (int i = 0; i < 16; i++)
		l = m->checksum[i] ^= pi[block[i] ^ l];
	md2_mix(m, block);
}

void hg_md2(const void *data, size_t size, unsigned char digest[HG_DIGEST_SIZE])
{
	const unsigned char *p = data;
	struct md2 m = { { 0 }, { 0 } };
	unsigned char last[16], checksum[16];
	size_t left = size % 16;

	for (size_t i = 0; i + 16 <= size; i += 16)
		md2_block(&m, p + i);
	memset(last, (int)(16 - left), sizeof(last));
	if (left)
		memcpy(last, p + size - left, left);
	md2_block(&m, last);
	memcpy(checksum, m.checksum, sizeof(checksum));
	md2_mix(&m, checksum);
	memcpy(digest, m.state, HG_DIGEST_SIZE);
}

#define MAX_BLOCK 64
#define MAX_DATA 4096

void hg_hmac(hg_hash_fn hash, size_t block_size, const void *key, size_t key_size, const void *data, size_t size,
	     unsigned char digest[HG_DIGEST_SIZE])
{
	unsigned char block[MAX_BLOCK] = { 0 }, text[MAX_BLOCK + MAX_DATA];

	assert(block_size >= HG_DIGEST_SIZE && block_size <= MAX_BLOCK && size <= MAX_DATA);
	if (key_size > block_size)
		hash(key, key_size, block);
	else
		memcpy(block, key, key_size);

	for (size_t i = 0; i < block_size; i++)
		text[i] = block[i] ^ 0x36;
	memcpy(text + block_size, data, size);
	hash(text, block_size + size, digest);

	for (size_t i = 0; i < block_size; i++)
		text[i] = block[i] ^ 0x5c;
	memcpy(text + block_size, digest, HG_DIGEST_SIZE);
	hash(text, block_size + HG_DIGEST_SIZE, digest);
}

void hg_handshake(const struct hg_handshake *h, const struct hg_handshake_device *device, size_t nr_devices,
		  uint64_t out[2])
{
	static const unsigned char key[16] = {
		0x14, 0x6a, 0xdd, 0xae, 0x53, 0xa9, 0xa7, 0x52, 0xaa, 0x08, 0x41, 0x36, 0x0b, 0xf5, 0x5a, 0x9f,
	};
	unsigned char text[sizeof(*h) + HG_HANDSHAKE_MAX_DEVICES * sizeof(*device)], digest[HG_DIGEST_SIZE];

	_Static_assert(sizeof(*h) == 48 && sizeof(*device) == 28, "no padding may be hashed");
	_Static_assert(sizeof(text) <= MAX_DATA, "hg_hmac's limit");
	/* two of three versions are answered with a constant */
	if (h->version % 10 < 2) {
		out[0] = h->version % 10 ? 0x1841181c03cb675c : 0x3341181c03cb675c;
		out[1] = 0x8ed383aa1f4cd1e8;
		return;
	}
	if (nr_devices > HG_HANDSHAKE_MAX_DEVICES)
		nr_devices = HG_HANDSHAKE_MAX_DEVICES;
	memcpy(text, h, sizeof(*h));
	memcpy(text + sizeof(*h), device, nr_devices * sizeof(*device));
	hg_hmac(hg_md2, 16, key, sizeof(key), text, sizeof(*h) + nr_devices * sizeof(*device), digest);
	memcpy(out, digest, sizeof(digest));
}
