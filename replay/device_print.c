/* device_print.c - what kernels print, and what an assertion of theirs says. */
#include "replay/device_print.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/cpu_fault.h"
#include "translate/cpu_rt.h"
#include "translate/gpu_abi.h"
#include "translate/print_format.h"

#define DEFAULT_LIMIT (1u << 20)

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

/*
 * Where the arguments come from: device memory at `at`, one behind the other, each at a multiple of its size; or, with `record`, the
 * words of a record of a GPU (translate/gpu_abi.h), of which nothing is believed.
 */
struct arguments {
	uint64_t at;
	const struct hg_gpu_record *record;
	bool failed;			/* the record has no such argument */
};

static uint64_t next_argument(struct arguments *a, size_t size)
{
	const unsigned char *words = (const unsigned char *)(a->record + 1);
	uint64_t v = 0;

	if (a->record) {
		if (a->at >= a->record->nr_args)
			a->failed = true;
		else
			memcpy(&v, words + a->at++ * 8, size);
		return v;
	}
	a->at = (a->at + size - 1) & ~(uint64_t)(size - 1);
	read_device(&v, a->at, size);
	a->at += size;
	return v;
}

/* A width or precision that no text has room for. What a damaged record says must not keep the program busy. */
#define RECORD_WIDTH_MAX 1000000
#define RECORD_TEXT_MAX (16u << 20)

static bool is_too_wide(const char *plain, size_t size, const int *star)
{
	size_t digits = 0;

	for (size_t i = 0; i < size; i++) {
		digits = plain[i] >= '0' && plain[i] <= '9' ? digits + 1 : 0;
		if (digits > 6)
			return true;
	}
	for (int i = 0; i < 2; i++)
		if (star[i] > RECORD_WIDTH_MAX || star[i] < -RECORD_WIDTH_MAX)
			return true;
	return false;
}

/* A string in a record by its offset there, NUL-terminated; NULL when it is not. */
static const char *record_string(const struct hg_gpu_record *r, uint64_t offset)
{
	const char *s;

	if (offset < sizeof(*r) || offset >= r->size)
		return NULL;
	s = (const char *)r + offset;
	return memchr(s, 0, r->size - offset) ? s : NULL;
}

/* A string of the kernel's; the first pass only measures it. */
static void add_string(struct text *t, const struct hg_conversion *c, const char *spec, const int *star, struct arguments *args)
{
	uint64_t s = next_argument(args, 8);
	size_t max = SIZE_MAX, n;
	const char *known = "(null)";
	char *copy;

	/* With a precision the string need not end. */
	if (c->is_cut && c->is_star_cut)
		max = star[c->nr_stars - 1] < 0 ? SIZE_MAX : (size_t)star[c->nr_stars - 1];
	else if (c->is_cut)
		max = c->precision;
	if (args->record && s) {
		known = record_string(args->record, s);
		args->failed |= !known;
	}
	if (!s || args->record) {
		if (known)
			add_formatted(t, spec, star, c->nr_stars, 's', (uintptr_t)known);
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
	add_formatted(t, spec, star, c->nr_stars, 's', (uintptr_t)copy);
	free(copy);
}

/* The conversion behind a '%'. Gives where it ends, or NULL for what CUDA's printf does not know, which is then printed as it stands. */
static const char *convert(struct text *t, const char *format, struct arguments *args, uint32_t *count)
{
	char spec[HG_CONVERSION_MAX + 8] = "%";
	int star[2] = { 0, 0 };
	struct hg_conversion c;
	size_t used = 1;

	if (!hg_conversion_read(format, &c))
		return NULL;
	for (unsigned int i = 0; i < c.nr_stars; i++)
		star[i] = (int)next_argument(args, 4);
	if (args->record && (t->size > RECORD_TEXT_MAX || is_too_wide(format, c.plain, star)))
		args->failed = true;
	if (args->failed)
		return format + c.size;
	memcpy(spec + used, format, c.plain);
	used += c.plain;
	for (unsigned int i = 0; i < c.nr_h; i++)
		spec[used++] = 'h';
	for (int i = 0; i < 2 && c.kind == HG_CONVERT_LONG; i++)
		spec[used++] = 'l';
	spec[used] = c.letter;
	switch (c.kind) {
	case HG_CONVERT_INT: add_formatted(t, spec, star, c.nr_stars, 'i', next_argument(args, 4)); break;
	case HG_CONVERT_LONG: add_formatted(t, spec, star, c.nr_stars, 'l', next_argument(args, 8)); break;
	case HG_CONVERT_DOUBLE: add_formatted(t, spec, star, c.nr_stars, 'f', next_argument(args, 8)); break;
	case HG_CONVERT_POINTER: add_formatted(t, spec, star, c.nr_stars, 'p', next_argument(args, 8)); break;
	case HG_CONVERT_STRING: add_string(t, &c, spec, star, args); break;
	}
	*count += c.nr_stars + 1;
	return format + c.size;
}

static uint32_t format_text(struct text *t, const char *format, struct arguments *args)
{
	uint32_t count = 0;

	while (*format) {
		size_t plain = strcspn(format, "%");
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
		end = convert(t, format + 1, args, &count);
		if (!end) {
			add(t, format, 1);
			format++;
			continue;
		}
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

size_t hg_print_get_limit(void)
{
	size_t bytes;

	pthread_mutex_lock(&ring.lock);
	bytes = ring.limit;
	pthread_mutex_unlock(&ring.lock);
	return bytes;
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
	format_text(&look, (const char *)(uintptr_t)format, &(struct arguments){ .at = args });
	copy = copy_string(format, size);
	t.data = malloc(t.capacity);
	if (!copy || !t.data) {
		free(copy);
		free(t.data);
		return UINT32_MAX - 1;	/* -2: an internal error */
	}
	count = format_text(&t, copy, &(struct arguments){ .at = args });
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

/* As CUDA words it: file, line, function, block, thread, what was asserted. */
#define ASSERTION "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.\n"

void hg_print_assertion_of(const char *what, const char *file, uint32_t line, const char *function, const uint32_t block[3],
			   const uint32_t thread[3])
{
	char all[2300];
	int n = snprintf(all, sizeof(all), ASSERTION, file, line, function, block[0], block[1], block[2], thread[0], thread[1],
			 thread[2], what);

	if (n > 0)
		keep(all, (size_t)n < sizeof(all) ? (size_t)n : sizeof(all) - 1, true);
}

void hg_print_assertion_text(char *out, size_t size, const char *what, const char *file, uint32_t line, const uint32_t thread[3])
{
	snprintf(out, size, "assertion '%.60s' failed in %.60s:%u, thread (%u,%u,%u)", what, file, line, thread[0], thread[1], thread[2]);
}

void hg_print_assert(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t mask, const uint64_t *text,
		     const uint32_t *line)
{
	for (uint32_t left = mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctz(left);
		const uint32_t thread[3] = { f->tid[lane], f->tid[HG_WARP + lane], f->tid[2 * HG_WARP + lane] };
		char what[1024], file[512], function[512];

		short_string(what, sizeof(what), text[lane]);
		short_string(file, sizeof(file), text[HG_WARP + lane]);
		short_string(function, sizeof(function), text[2 * HG_WARP + lane]);
		hg_print_assertion_of(what, file, line[lane], function, env->ctaid, thread);
		if (left == mask)
			hg_print_assertion_text(assertion, sizeof(assertion), what, file, line[lane], thread);
	}
	if (mask)
		hg_cpu_fault_raise(HG_CPU_FAULT_ASSERT, 0);
}

const char *hg_print_assertion(void)
{
	return assertion;
}

/* --- records of GPUs --------------------------------------------------------------------------- */
/* False: it is not as it must be. r->size bytes are there. */
static bool print_record(const struct hg_gpu_record *r)
{
	struct arguments args = { .record = r };
	struct text t = { .capacity = 256 };
	const char *format = NULL;

	if (r->kind == HG_GPU_RECORD_ASSERT)
		format = ASSERTION;
	else if (r->kind == HG_GPU_RECORD_PRINT)
		format = record_string(r, r->format);
	if (!format || r->nr_args > (r->size - sizeof(*r)) / 8)
		return false;
	t.data = malloc(t.capacity);
	if (!t.data)
		return true;	/* nothing is wrong with the record */
	format_text(&t, format, &args);
	if (!t.failed && !args.failed)
		keep(t.data, t.size, r->kind == HG_GPU_RECORD_ASSERT);
	free(t.data);
	return !args.failed;
}

bool hg_print_records(const void *records, size_t size, bool *asserted)
{
	const unsigned char *p = records;
	size_t at = 0;

	*asserted = false;
	while (at < size) {
		struct hg_gpu_record head;

		if (size - at < sizeof(head))
			break;
		memcpy(&head, p + at, sizeof(head));
		if (head.size % 8 || head.size < sizeof(head) || head.size > size - at || !print_record((const void *)(p + at)))
			break;
		*asserted |= head.kind == HG_GPU_RECORD_ASSERT;
		at += head.size;
	}
	if (at < size)
		pr_warn("what kernels printed is damaged from byte %zu of %zu on", at, size);
	return at == size;
}
