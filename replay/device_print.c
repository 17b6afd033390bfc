/* device_print.c - what kernels print, and what an assertion of theirs says. */
#include "replay/device_print.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/cpu_fault.h"
#include "translate/cpu_rt.h"

#define DEFAULT_LIMIT (1u << 20)
#define MAX_SPEC 64		/* of one conversion, with its length modifier */

struct message {
	struct message *next;
	size_t size;
	bool is_error;
	char text[];
};

static struct {
	pthread_mutex_t lock;
	struct message *first, **end;
	size_t bytes, limit;
	bool off;
} ring = { .lock = PTHREAD_MUTEX_INITIALIZER, .end = &ring.first, .limit = DEFAULT_LIMIT };

static __thread char assertion[200];

/* --- the kernel's memory --------------------------------------------------------------------- */
#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

static UNCHECKED void read_device(void *to, uint64_t from, size_t size)
{
	const volatile unsigned char *p = (const volatile unsigned char *)(uintptr_t)from;

	for (size_t i = 0; i < size; i++)
		((unsigned char *)to)[i] = p[i];
}

static UNCHECKED size_t device_strnlen(uint64_t s, size_t max)
{
	const volatile char *p = (const volatile char *)(uintptr_t)s;
	size_t n = 0;

	while (n < max && p[n])
		n++;
	return n;
}

/* --- formatting ------------------------------------------------------------------------------ */
/* The text so far; data is NULL in the first pass, which only looks whether all can be read. */
struct text {
	char *data;
	size_t size, capacity;
	bool failed;
};

static void add(struct text *t, const char *s, size_t size)
{
	if (t->failed)
		return;
	if (t->data && size > t->capacity - t->size) {
		size_t want = (t->size + size) * 2;
		char *more = realloc(t->data, want);

		if (!more) {
			t->failed = true;
			return;
		}
		t->data = more;
		t->capacity = want;
	}
	if (t->data)
		memcpy(t->data + t->size, s, size);
	t->size += size;
}

/* A value by its conversion, which snprintf knows as well. */
static void add_formatted(struct text *t, const char *spec, const int *star, int nr_stars, char kind, uint64_t v)
{
	char small[512], *out = small;
	size_t size = sizeof(small);
	int n = 0;
	double d;

	if (!t->data)
		return;
	memcpy(&d, &v, sizeof(d));
	for (int pass = 0; pass < 2; pass++) {
#define PRINT(value) (nr_stars == 2 ? snprintf(out, size, spec, star[0], star[1], (value)) :		\
		      nr_stars == 1 ? snprintf(out, size, spec, star[0], (value)) : snprintf(out, size, spec, (value)))
		switch (kind) {
		case 'f': n = PRINT(d); break;
		case 'l': n = PRINT((unsigned long long)v); break;
		case 'p': n = PRINT((void *)(uintptr_t)v); break;
		case 's': n = PRINT((const char *)(uintptr_t)v); break;
		default: n = PRINT((int)v); break;
		}
#undef PRINT
		if (n < 0 || (size_t)n < size || pass)
			break;
		size = (size_t)n + 1;
		out = malloc(size);
		if (!out) {
			t->failed = true;
			return;
		}
	}
	if (n > 0)
		add(t, out, (size_t)n);
	if (out != small)
		free(out);
}

/* The arguments lie one behind the other, each at a multiple of its size. */
static uint64_t next_argument(uint64_t *at, size_t size)
{
	uint64_t v = 0;

	*at = (*at + size - 1) & ~(uint64_t)(size - 1);
	read_device(&v, *at, size);
	*at += size;
	return v;
}

/* A string of the kernel's; the first pass only measures it. */
static void add_string(struct text *t, const char *spec, const int *star, int nr_stars, uint64_t s)
{
	const char *dot = strchr(spec, '.');
	size_t max = SIZE_MAX, n;
	char *copy;

	/* With a precision the string need not end. */
	if (dot && dot[1] == '*')
		max = star[nr_stars - 1] < 0 ? SIZE_MAX : (size_t)star[nr_stars - 1];
	else if (dot)
		max = (size_t)strtoul(dot + 1, NULL, 10);
	if (!s) {
		add_formatted(t, spec, star, nr_stars, 's', (uintptr_t)"(null)");
		return;
	}
	n = device_strnlen(s, max);
	if (!t->data)
		return;
	copy = malloc(n + 1);
	if (!copy) {
		t->failed = true;
		return;
	}
	read_device(copy, s, n);
	copy[n] = 0;
	add_formatted(t, spec, star, nr_stars, 's', (uintptr_t)copy);
	free(copy);
}

/*
 * One conversion, format behind its '%': flags, width, precision, h l ll, and one of CUDA's letters. Gives where it ends, or
 * NULL for what CUDA's printf does not know, which is then printed as it stands.
 */
static const char *convert(struct text *t, const char *format, uint64_t *args, uint32_t *count)
{
	char spec[MAX_SPEC + 4] = "%";
	size_t used = 1, longs = 0;
	int star[2] = { 0, 0 }, nr_stars = 0;
	const char *p = format;
	bool dotted = false;

	for (; *p && strchr("#0123456789 +-.*", *p) && used < MAX_SPEC; p++) {
		if (*p == '.' && dotted)
			return NULL;
		dotted |= *p == '.';
		if (*p == '*') {
			if (nr_stars == 2)
				return NULL;
			star[nr_stars++] = (int)next_argument(args, 4);
			++*count;
		}
		spec[used++] = *p;
	}
	for (; *p == 'h' || *p == 'l'; p++) {
		longs += *p == 'l';
		if (*p == 'h')
			spec[used++] = 'h';
		if (used >= MAX_SPEC)
			return NULL;
	}
	if (longs) {
		spec[used++] = 'l';
		spec[used++] = 'l';
	}
	switch (*p) {
	case 'c': case 'd': case 'i': case 'o': case 'u': case 'x': case 'X':
		if (*p == 'c' && longs)
			used -= 2;
		spec[used] = *p;
		add_formatted(t, spec, star, nr_stars, longs && *p != 'c' ? 'l' : 'i', next_argument(args, longs && *p != 'c' ? 8 : 4));
		break;
	case 'a': case 'A': case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
		used -= longs ? 2 : 0;
		spec[used] = *p;
		add_formatted(t, spec, star, nr_stars, 'f', next_argument(args, 8));
		break;
	case 'p':
		used -= longs ? 2 : 0;
		spec[used] = *p;
		add_formatted(t, spec, star, nr_stars, 'p', next_argument(args, 8));
		break;
	case 's':
		used -= longs ? 2 : 0;
		spec[used] = *p;
		add_string(t, spec, star, nr_stars, next_argument(args, 8));
		break;
	default:
		return NULL;
	}
	++*count;
	return p + 1;
}

static uint32_t format_text(struct text *t, const char *format, uint64_t args)
{
	uint32_t count = 0;

	while (*format) {
		size_t plain = strcspn(format, "%");
		uint64_t at = args;
		uint32_t n = count;
		const char *end;

		add(t, format, plain);
		format += plain;
		if (!*format)
			break;
		if (format[1] == '%') {
			add(t, "%", 1);
			format += 2;
			continue;
		}
		end = convert(t, format + 1, &at, &n);
		if (!end) {
			add(t, format, 1);
			format++;
			continue;
		}
		args = at;
		count = n;
		format = end;
	}
	return count;
}

/* --- the messages ---------------------------------------------------------------------------- */
static void drop_first(void)
{
	struct message *m = ring.first;

	ring.first = m->next;
	if (!ring.first)
		ring.end = &ring.first;
	ring.bytes -= m->size;
	free(m);
}

static void keep(const char *text, size_t size, bool is_error)
{
	struct message *m;

	pthread_mutex_lock(&ring.lock);
	m = ring.off ? NULL : malloc(sizeof(*m) + size);
	if (m) {
		*m = (struct message){ .size = size, .is_error = is_error };
		memcpy(m->text, text, size);
		*ring.end = m;
		ring.end = &m->next;
		ring.bytes += size;
		while (ring.bytes > ring.limit && ring.first != m)
			drop_first();
	}
	pthread_mutex_unlock(&ring.lock);
}

void hg_print_flush(void)
{
	struct message *m, *next;

	pthread_mutex_lock(&ring.lock);
	m = ring.first;
	/* Written under the lock, so that two threads that wait keep the order. */
	for (; m; m = next) {
		next = m->next;
		fwrite(m->text, 1, m->size, m->is_error ? stderr : stdout);
		free(m);
	}
	ring.first = NULL;
	ring.end = &ring.first;
	ring.bytes = 0;
	pthread_mutex_unlock(&ring.lock);
}

void hg_print_limit(size_t bytes)
{
	pthread_mutex_lock(&ring.lock);
	ring.limit = bytes;
	pthread_mutex_unlock(&ring.lock);
}

void hg_print_enable(bool on)
{
	pthread_mutex_lock(&ring.lock);
	ring.off = !on;
	pthread_mutex_unlock(&ring.lock);
}

/* --- helpers of kernel code ------------------------------------------------------------------ */
/* A string of the kernel's, malloc'ed; its memory was looked at before, so that this does not fault. */
static char *copy_string(uint64_t s, size_t size)
{
	char *copy = malloc(size + 1);

	if (copy) {
		read_device(copy, s, size);
		copy[size] = 0;
	}
	return copy;
}

static uint32_t print_lane(uint64_t format, uint64_t args)
{
	struct text look = { 0 }, t = { .capacity = 256 };
	uint32_t count;
	size_t size;
	char *copy;

	if (!format)
		return UINT32_MAX;	/* -1, as CUDA documents */
	size = device_strnlen(format, SIZE_MAX);
	/*
	 * A fault in the middle would lose what is allocated here. So everything is read once before; the format itself
	 * stays where it is, for it has been read.
	 */
	format_text(&look, (const char *)(uintptr_t)format, args);
	copy = copy_string(format, size);
	t.data = malloc(t.capacity);
	if (!copy || !t.data) {
		free(copy);
		free(t.data);
		return UINT32_MAX - 1;	/* -2: an internal error */
	}
	count = format_text(&t, copy, args);
	if (!t.failed)
		keep(t.data, t.size, false);
	free(copy);
	free(t.data);
	return t.failed ? UINT32_MAX - 1 : count;
}

void hg_print_format(uint32_t mask, const uint64_t *format, const uint64_t *args, uint32_t *count)
{
	for (uint32_t left = mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);

		count[lane] = print_lane(format[lane], args[lane]);
	}
}

/* As much of a string as fits. */
static void short_string(char *to, size_t size, uint64_t s)
{
	size_t n = s ? device_strnlen(s, size - 1) : 0;

	read_device(to, s, n);
	to[n] = 0;
}

void hg_print_assert(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t mask, const uint64_t *text,
		     const uint32_t *line)
{
	for (uint32_t left = mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);
		char what[1024], file[512], function[512], all[2300];
		int n;

		short_string(what, sizeof(what), text[lane]);
		short_string(file, sizeof(file), text[HG_WARP + lane]);
		short_string(function, sizeof(function), text[2 * HG_WARP + lane]);
		n = snprintf(all, sizeof(all), "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.\n", file,
			     line[lane], function, env->ctaid[0], env->ctaid[1], env->ctaid[2], f->tid[lane],
			     f->tid[HG_WARP + lane], f->tid[2 * HG_WARP + lane], what);
		if (n > 0)
			keep(all, (size_t)n, true);
		if (left == mask)
			snprintf(assertion, sizeof(assertion), "assertion '%.60s' failed in %.60s:%u, thread (%u,%u,%u)", what,
				 file, line[lane], f->tid[lane], f->tid[HG_WARP + lane], f->tid[2 * HG_WARP + lane]);
	}
	if (mask)
		hg_cpu_fault_raise(HG_CPU_FAULT_ASSERT, 0);
}

const char *hg_print_assertion(void)
{
	return assertion;
}
