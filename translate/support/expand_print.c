/*
 * expand_print.c - printf and assert of device code on GPUs: they leave records for the host, as translate/gpu_abi.h lays them out. Strings and
 * formats may change while they are read: what was measured bounds what is written. Measuring and writing stand one behind the other, for a loop about both
 * would read the same addresses again, and nobody could tell it from one that waits for another lane (gpu_plan.h).
 */
#include "translate/support/gpu.h"

#include "translate/print_format.h"

#define INLINE static inline __attribute__((always_inline))

/* Of an assertion's texts: no more of them is told. */
#define MESSAGE_MAX 1023
#define NAME_MAX 511

/* A record while it is measured (data is 0), then while it is written. */
struct record {
	unsigned char *data;
	u64 nr_args, strings;		/* so far; bytes of strings, NULs counted */
	u64 max_args, max_strings;	/* room that there is */
};

INLINE void add_word(struct record *r, u64 value)
{
	if (r->data && r->nr_args < r->max_args)
		((u64 *)(r->data + sizeof(struct hg_gpu_record)))[r->nr_args] = value;
	r->nr_args++;
}

/* At most `max` characters of a string, none of NULL; gives its place. */
INLINE u64 add_string(struct record *r, const char *s, u64 max)
{
	u64 place = sizeof(struct hg_gpu_record) + r->max_args * 8 + r->strings, left = 0, n = 0;
	char *to = 0;

	if (r->data) {
		/* there is room for a NUL, or nothing is added */
		left = r->strings < r->max_strings ? r->max_strings - r->strings - 1 : 0;
		if (r->strings >= r->max_strings)
			return 0;
		max = max < left ? max : left;
		to = (char *)(r->data + place);
	}
	for (; s && n < max && s[n]; n++)
		if (to)
			to[n] = s[n];
	if (to)
		to[n] = 0;
	r->strings += n + 1;
	return place;
}

static u64 argument(const char **at, u32 size)
{
	u64 a = ((u64)*at + size - 1) & ~(u64)(size - 1);

	*at = (const char *)a + size;
	return size == 4 ? *(const u32 *)a : *(const u64 *)a;
}

/* Gives the number of arguments. */
INLINE u32 walk(struct record *r, const char *format, const char *args)
{
	u32 count = 0;

	for (const char *p = format; *p; p++) {
		struct hg_conversion c;
		int star = 0;
		u64 value;

		if (*p != '%')
			continue;
		if (p[1] == '%') {
			p++;
			continue;
		}
		if (!hg_conversion_read(p + 1, &c))
			continue;
		p += c.size;
		for (u32 i = 0; i < c.nr_stars; i++) {
			star = (int)argument(&args, 4);
			add_word(r, (u32)star);
		}
		value = argument(&args, c.kind == HG_CONVERT_INT ? 4 : 8);
		if (c.kind == HG_CONVERT_STRING && value) {
			u64 max = ~0ULL >> 1;

			if (c.is_cut && !c.is_star_cut)
				max = c.precision;
			else if (c.is_star_cut && star >= 0)
				max = (u64)star;
			value = add_string(r, (const char *)value, max);
		}
		add_word(r, value);
		count += c.nr_stars + 1;
	}
	return count;
}

/* Takes room for what was measured and makes r ready to write it; 0: there is none. */
static struct hg_gpu_record *take_room(struct hg_gpu_state *s, struct record *r, u32 kind)
{
	u64 size = (sizeof(struct hg_gpu_record) + r->nr_args * 8 + r->strings + 7) & ~7ULL;
	u32 bytes = s->print_bytes, old = *(volatile u32 *)&s->print_head, seen;
	struct hg_gpu_record *head;

	for (;; old = seen) {
		if (old > bytes || size > bytes - old)
			return 0;
		seen = swap_if32(&s->print_head, old, old + (u32)size);
		if (seen == old)
			break;
	}
	head = (struct hg_gpu_record *)(s->print + old);
	*head = (struct hg_gpu_record){ .size = (u32)size, .kind = kind, .nr_args = (u32)r->nr_args };
	*r = (struct record){ .data = (unsigned char *)head, .max_args = r->nr_args, .max_strings = r->strings };
	return head;
}

struct count { u32 count; };

/* What vprintf gives: the number of arguments; -1: no format, or no room. */
static u32 print(struct hg_gpu_state *s, const char *format, const char *args)
{
	struct record r = { 0 };
	struct hg_gpu_record *head;
	u32 count;

	if (!format)
		return ~0u;
	add_string(&r, format, ~0ULL >> 1);
	walk(&r, format, args);
	head = take_room(s, &r, HG_GPU_RECORD_PRINT);
	if (!head)
		return ~0u;
	head->format = (u32)add_string(&r, format, ~0ULL >> 1);
	count = walk(&r, format, args);
	/* a format that has fewer arguments now */
	while (r.nr_args < r.max_args)
		add_word(&r, 0);
	return count;
}

/* Addresses of the program's are numbers here: clang takes a kernel's pointers for such to global memory. */
EXPANSION hg_gpu_print(struct hg_gpu_state *s, u64 format, u64 args, struct count *restrict out)
{
	out->count = print(s, (const char *)format, (const char *)args);
}

static void copy_text(char *to, const char *s, u32 size)
{
	u32 n = 0;

	for (; s && n < size - 1 && s[n]; n++)
		to[n] = s[n];
	to[n] = 0;
}

INLINE void tell_assertion(struct record *r, const char *message, const char *file, u32 line,
								const char *function)
{
	add_word(r, add_string(r, file, NAME_MAX));
	add_word(r, line);
	add_word(r, add_string(r, function, NAME_MAX));
	for (u32 i = 0; i < 3; i++)
		add_word(r, block_index(i));
	for (u32 i = 0; i < 3; i++)
		add_word(r, thread_index(i));
	add_word(r, add_string(r, message, MESSAGE_MAX));
}

/* Ends the lane. ptx_line: of the call, in the PTX text. */
EXPANSION hg_gpu_assert(struct hg_gpu_state *s, u64 message_addr, u64 file_addr, u32 line, u64 function_addr, u32 ptx_line,
			struct count *restrict none)
{
	const char *message = (const char *)message_addr, *file = (const char *)file_addr, *function = (const char *)function_addr;
	struct record r = { 0 };

	(void)none;
	tell_assertion(&r, message, file, line, function);
	if (take_room(s, &r, HG_GPU_RECORD_ASSERT))
		tell_assertion(&r, message, file, line, function);
	if (fault_begin(s, HG_GPU_ASSERT, ptx_line)) {
		s->assert_line = line;
		copy_text(s->text[0], message, sizeof(s->text[0]));
		copy_text(s->text[1], file, sizeof(s->text[1]));
		copy_text(s->text[2], function, sizeof(s->text[2]));
		fault_told(s);
	}
	__builtin_trap();
}
