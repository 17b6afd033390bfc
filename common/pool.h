/* pool.h - memory that is handed out piece by piece and freed all at once. */
#ifndef HG_COMMON_POOL_H
#define HG_COMMON_POOL_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Not thread-safe. Pieces are zeroed, aligned to 16 bytes, and live until hg_pool_destroy. The first
 * allocation that fails sets `failed`; every later one gives NULL, so that a builder may check
 * once, at the end.
 */
struct hg_pool {
	struct hg_pool_block *last;
	unsigned char *pos, *end;
	size_t used;		/* bytes handed out */
	size_t limit;		/* on `used`; 0 none. May be set after hg_pool_create */
	int failed;
};

struct hg_pool *hg_pool_create(void);	/* NULL: out of memory */
void hg_pool_destroy(struct hg_pool *p);	/* NULL is allowed */

void *hg_pool_alloc(struct hg_pool *p, size_t size);
void *hg_pool_array(struct hg_pool *p, size_t count, size_t size);	/* NULL too when the product wraps */
/* A new array of `count` elements that begins with the old one's `old_count`; the old one is not freed. */
void *hg_pool_grow(struct hg_pool *p, const void *old, size_t old_count, size_t count, size_t size);
void *hg_pool_copy(struct hg_pool *p, const void *data, size_t size);
char *hg_pool_strdup(struct hg_pool *p, const char *s);
char *hg_pool_strndup(struct hg_pool *p, const char *s, size_t len);	/* len bytes, NUL added */
char *hg_pool_vprintf(struct hg_pool *p, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
char *hg_pool_printf(struct hg_pool *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
