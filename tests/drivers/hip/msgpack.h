/* msgpack.h - a cursor over MessagePack. */
#ifndef TESTS_DRIVERS_HIP_MSGPACK_H
#define TESTS_DRIVERS_HIP_MSGPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Once it found something wrong it stays `bad` and gives nothing more. */
struct mp {
	const unsigned char *at, *end;
	const char *bad;		/* why; NULL: all is well */
};
enum mp_kind { MP_NIL, MP_BOOL, MP_UINT, MP_INT, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT };
struct mp_value {
	enum mp_kind kind;
	uint64_t n;			/* MP_UINT, MP_BOOL; how many: entries of an array, pairs of a map */
	const char *str;		/* MP_STR, MP_BIN, MP_EXT: n bytes, no NUL at their end */
};

/* The next value; of an array or a map its head alone. False: there is none that is whole. */
bool mp_read(struct mp *m, struct mp_value *v);
void mp_skip(struct mp *m);		/* a whole value */
bool mp_is(const struct mp_value *v, const char *text);
/* Reads a value of one kind. False, and bad: it is another. */
bool mp_expect(struct mp *m, enum mp_kind kind, struct mp_value *v);

#endif
