/* pool.c - memory that is handed out piece by piece and freed all at once. */
#include "common/pool.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)16)
#define BLOCK ((size_t)1 << 16)
#define LARGE (BLOCK / 4)	/* from here a piece gets a block of its own */

struct hg_pool_block {
	struct hg_pool_block *previous;
	_Alignas(16) unsigned char data[];
};

struct hg_pool *hg_pool_create(void)
{
	return calloc(1, sizeof(struct hg_pool));
}

void hg_pool_destroy(struct hg_pool *p)
{
	if (!p)
		return;
	while (p->last) {
		struct hg_pool_block *previous = p->last->previous;

		free(p->last);
		p->last = previous;
	}
	free(p);
}

void *hg_pool_alloc(struct hg_pool *p, size_t size)
{
	struct hg_pool_block *b;
	void *piece;

	if (p->failed || size > SIZE_MAX / 4)
		goto fail;
	size = size ? (size + ALIGN - 1) & ~(ALIGN - 1) : ALIGN;
	if (p->limit && (p->used > p->limit || size > p->limit - p->used))
		goto fail;
	if (size > (size_t)(p->end - p->pos)) {
		size_t room = size > LARGE ? size : BLOCK;

		b = calloc(1, sizeof(*b) + room);
		if (!b)
			goto fail;
		if (room != BLOCK && p->last) {
			/* behind the current block, whose rest stays usable */
			b->previous = p->last->previous;
			p->last->previous = b;
			p->used += size;
			return b->data;
		}
		b->previous = p->last;
		p->last = b;
		p->pos = b->data;
		p->end = b->data + room;
	}
	piece = p->pos;
	p->pos += size;
	p->used += size;
	return piece;
fail:
	p->failed = 1;
	return NULL;
}

void *hg_pool_array(struct hg_pool *p, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		p->failed = 1;
		return NULL;
	}
	return hg_pool_alloc(p, bytes);
}

void *hg_pool_grow(struct hg_pool *p, const void *old, size_t old_count, size_t count, size_t size)
{
	void *piece = hg_pool_array(p, count, size);

	if (piece && old_count)
		memcpy(piece, old, old_count * size);
	return piece;
}

void *hg_pool_copy(struct hg_pool *p, const void *data, size_t size)
{
	void *piece = hg_pool_alloc(p, size);

	if (piece && size)
		memcpy(piece, data, size);
	return piece;
}

char *hg_pool_strndup(struct hg_pool *p, const char *s, size_t len)
{
	char *piece = hg_pool_alloc(p, len < SIZE_MAX ? len + 1 : len);

	if (piece && len)
		memcpy(piece, s, len);
	return piece;
}

char *hg_pool_strdup(struct hg_pool *p, const char *s)
{
	return hg_pool_strndup(p, s, strlen(s));
}

char *hg_pool_vprintf(struct hg_pool *p, const char *fmt, va_list ap)
{
	char *piece;
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		p->failed = 1;
		return NULL;
	}
	piece = hg_pool_alloc(p, (size_t)n + 1);
	if (piece)
		vsnprintf(piece, (size_t)n + 1, fmt, ap);
	return piece;
}

char *hg_pool_printf(struct hg_pool *p, const char *fmt, ...)
{
	char *piece;
	va_list ap;

	va_start(ap, fmt);
	piece = hg_pool_vprintf(p, fmt, ap);
	va_end(ap);
	return piece;
}
