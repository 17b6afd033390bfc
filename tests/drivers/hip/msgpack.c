/* msgpack.c - a cursor over MessagePack. */
#include "tests/drivers/hip/msgpack.h"

#include <string.h>

static bool fail(struct mp *m, const char *why)
{
	if (!m->bad)
		m->bad = why;
	return false;
}

/* A number of `size` bytes, the most significant first. */
static bool big_endian(struct mp *m, unsigned int size, uint64_t *out)
{
	uint64_t n = 0;

	if ((size_t)(m->end - m->at) < size)
		return fail(m, "a value goes beyond the end");
	for (unsigned int i = 0; i < size; i++)
		n = n << 8 | *m->at++;
	*out = n;
	return true;
}

static bool bytes(struct mp *m, uint64_t n, struct mp_value *v)
{
	if (n > (uint64_t)(m->end - m->at))
		return fail(m, "a string goes beyond the end");
	v->str = (const char *)m->at;
	v->n = n;
	m->at += n;
	return true;
}

/* Entries take at least a byte each: what claims more than there is left is refused here. */
static bool head(struct mp *m, uint64_t n, unsigned int each, struct mp_value *v)
{
	if (n > (uint64_t)(m->end - m->at) / each)
		return fail(m, "a list is longer than what is left");
	v->n = n;
	return true;
}

static bool integer(struct mp *m, unsigned int size, bool is_signed, struct mp_value *v)
{
	if (!big_endian(m, size, &v->n))
		return false;
	v->kind = is_signed && v->n >> (8 * size - 1) & 1 ? MP_INT : MP_UINT;
	return true;
}

bool mp_read(struct mp *m, struct mp_value *v)
{
	uint64_t n;
	unsigned char t;

	memset(v, 0, sizeof(*v));
	if (m->bad)
		return false;
	if (m->at == m->end)
		return fail(m, "it ends too early");
	t = *m->at++;
	if (t < 0x80 || t >= 0xe0) {
		v->kind = t < 0x80 ? MP_UINT : MP_INT;
		v->n = t;
		return true;
	}
	if (t < 0x90) {
		v->kind = MP_MAP;
		return head(m, t & 0xf, 2, v);
	}
	if (t < 0xa0) {
		v->kind = MP_ARRAY;
		return head(m, t & 0xf, 1, v);
	}
	if (t < 0xc0) {
		v->kind = MP_STR;
		return bytes(m, t & 0x1f, v);
	}
	switch (t) {
	case 0xc0:
		v->kind = MP_NIL;
		return true;
	case 0xc2: case 0xc3:
		v->kind = MP_BOOL;
		v->n = t & 1;
		return true;
	case 0xc4: case 0xc5: case 0xc6:
		v->kind = MP_BIN;
		return big_endian(m, 1u << (t - 0xc4), &n) && bytes(m, n, v);
	case 0xc7: case 0xc8: case 0xc9:
		v->kind = MP_EXT;
		return big_endian(m, 1u << (t - 0xc7), &n) && bytes(m, n + 1, v);
	case 0xca: case 0xcb:
		v->kind = MP_FLOAT;
		return big_endian(m, t == 0xca ? 4 : 8, &v->n);
	case 0xcc: case 0xcd: case 0xce: case 0xcf:
		return integer(m, 1u << (t - 0xcc), false, v);
	case 0xd0: case 0xd1: case 0xd2: case 0xd3:
		return integer(m, 1u << (t - 0xd0), true, v);
	case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
		v->kind = MP_EXT;
		return bytes(m, 1 + (1u << (t - 0xd4)), v);
	case 0xd9: case 0xda: case 0xdb:
		v->kind = MP_STR;
		return big_endian(m, 1u << (t - 0xd9), &n) && bytes(m, n, v);
	case 0xdc: case 0xdd:
		v->kind = MP_ARRAY;
		return big_endian(m, t == 0xdc ? 2 : 4, &n) && head(m, n, 1, v);
	case 0xde: case 0xdf:
		v->kind = MP_MAP;
		return big_endian(m, t == 0xde ? 2 : 4, &n) && head(m, n, 2, v);
	default:
		return fail(m, "there is no such type");
	}
}

void mp_skip(struct mp *m)
{
	struct mp_value v;
	uint64_t left = 1;	/* as nothing is kept for each level, depth needs no limit */

	while (left && mp_read(m, &v))
		left += (v.kind == MP_ARRAY ? v.n : v.kind == MP_MAP ? 2 * v.n : 0) - 1;
}

bool mp_is(const struct mp_value *v, const char *text)
{
	return v->kind == MP_STR && v->n == strlen(text) && !memcmp(v->str, text, v->n);
}

bool mp_expect(struct mp *m, enum mp_kind kind, struct mp_value *v)
{
	if (!mp_read(m, v))
		return false;
	return v->kind == kind || fail(m, "a value is of the wrong type");
}
