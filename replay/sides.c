/* sides.c - what launches did to memory: collected while a log is replayed, and compared with the same on another target. */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/msg.h"
#include "replay/replay_priv.h"
#include "replay/sides.h"

#define PART (4u << 20)

/* lists */

struct hg_sides *hg_sides_new(uint64_t each, size_t nr_sides)
{
	struct hg_sides *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->side = calloc(nr_sides, sizeof(*s->side));
	if (!s->side) {
		free(s);
		return NULL;
	}
	s->each = each;
	s->nr_sides = nr_sides;
	for (size_t i = 0; i < nr_sides; i++)
		s->side[i].sides = s;
	return s;
}

void hg_sides_free(struct hg_sides *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nr_sides; i++) {
		struct hg_side *side = &s->side[i];

		for (size_t p = 0; p < side->nr_probes; p++)
			free(side->probe[p].bytes);
		free(side->probe);
		for (size_t k = 0; k < side->nr_refused; k++)
			free(side->refused[k].why);
		free(side->refused);
		free(side->launch);
		free(side->buffer);
		free(side->stopped);
		free(side->part);
	}
	for (size_t i = 0; i < s->nr_kernels; i++)
		free(s->kernel[i]);
	free(s->kernel);
	free(s->side);
	free(s);
}

uint32_t hg_sides_kernel(struct hg_sides *s, const char *name)
{
	char **grown;

	for (size_t i = 0; i < s->nr_kernels; i++)
		if (!strcmp(s->kernel[i], name))
			return (uint32_t)i;
	grown = realloc(s->kernel, (s->nr_kernels + 1) * sizeof(*grown));
	if (!grown)
		return UINT32_MAX;
	s->kernel = grown;
	s->kernel[s->nr_kernels] = strdup(name);
	return s->kernel[s->nr_kernels] ? (uint32_t)s->nr_kernels++ : UINT32_MAX;
}

/* Room for one more; false: no memory. */
static bool grow(void *array, size_t nr, size_t *capacity, size_t size)
{
	void **p = array;
	size_t wanted = *capacity ? 2 * *capacity : 256;
	void *grown;

	if (nr < *capacity)
		return true;
	grown = realloc(*p, wanted * size);
	if (!grown)
		return false;
	*p = grown;
	*capacity = wanted;
	return true;
}

enum hg_status hg_side_launch_add(struct hg_side *s, uint64_t seq, const char *kernel, uint32_t stack)
{
	uint32_t k = hg_sides_kernel(s->sides, kernel);

	if (k == UINT32_MAX || !grow(&s->launch, s->nr_launches, &s->launch_capacity, sizeof(*s->launch)))
		return HG_ERR_NOMEM;
	s->launch[s->nr_launches++] = (struct hg_side_launch){
		.seq = seq, .kernel = k, .stack = stack, .first = s->nr_buffers,
	};
	return HG_OK;
}

enum hg_status hg_side_buffer_add(struct hg_side *s, const struct hg_side_buffer *b)
{
	if (!grow(&s->buffer, s->nr_buffers, &s->buffer_capacity, sizeof(*s->buffer)))
		return HG_ERR_NOMEM;
	s->buffer[s->nr_buffers++] = *b;
	s->launch[s->nr_launches - 1].nr++;
	return HG_OK;
}

enum hg_status hg_side_ask(struct hg_side *s, uint64_t seq, uint64_t addr, uint64_t size)
{
	struct hg_side_probe *grown;
	size_t at = s->nr_probes;

	for (size_t i = 0; i < s->nr_probes; i++)
		if (s->probe[i].seq == seq && s->probe[i].addr == addr)
			return HG_OK;
	grown = realloc(s->probe, (s->nr_probes + 1) * sizeof(*grown));
	if (!grown)
		return HG_ERR_NOMEM;
	s->probe = grown;
	while (at && s->probe[at - 1].seq > seq)
		at--;
	memmove(&s->probe[at + 1], &s->probe[at], (s->nr_probes - at) * sizeof(*grown));
	s->probe[at] = (struct hg_side_probe){ .seq = seq, .addr = addr, .size = size };
	s->nr_probes++;
	return HG_OK;
}

/* what a launch can reach */

struct reach {
	struct span {
		uint64_t addr, size, digest;
		bool is_reached;
	} *span;			/* all live memory, by address */
	size_t nr, capacity;
	size_t *todo, nr_todo;		/* reached, and not read yet */
};

static enum hg_status add_span(const struct hg_region *region, void *arg)
{
	struct reach *reach = arg;

	if (!region->size)
		return HG_OK;
	if (!grow(&reach->span, reach->nr, &reach->capacity, sizeof(*reach->span)))
		return HG_ERR_NOMEM;
	reach->span[reach->nr++] = (struct span){
		.addr = region->addr, .size = region->size, .is_reached = region->kind == HG_REGION_GLOBAL,
	};
	return HG_OK;
}

static int by_address(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

static void reach_words(struct reach *reach, const unsigned char *bytes, size_t size)
{
	uint64_t low = reach->span[0].addr, high = reach->span[reach->nr - 1].addr + reach->span[reach->nr - 1].size;

	for (size_t i = 0; i + 8 <= size; i += 8) {
		size_t from = 0, to = reach->nr;
		struct span *span;
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		if (word < low || word >= high)
			continue;
		while (to - from > 1) {
			size_t middle = (from + to) / 2;

			if (reach->span[middle].addr <= word)
				from = middle;
			else
				to = middle;
		}
		span = &reach->span[from];
		if (word - span->addr >= span->size || span->is_reached)
			continue;
		span->is_reached = true;
		reach->todo[reach->nr_todo++] = from;
	}
}

/* Digest of memory; `reach`, which may be NULL, learns of what its words point into. */
static enum hg_status read_span(struct hg_side *s, uint64_t addr, uint64_t size, XXH3_state_t *state, struct reach *reach,
				uint64_t *digest)
{
	enum hg_status st;

	XXH3_64bits_reset(state);
	for (uint64_t at = 0; at < size; at += PART) {
		size_t n = size - at < PART ? size - at : PART;

		st = hg_driver_read(s->part, addr + at, n);
		if (st)
			return st;
		XXH3_64bits_update(state, s->part, n);
		if (reach)
			reach_words(reach, s->part, n);
	}
	*digest = XXH3_64bits_digest(state);
	return HG_OK;
}

static enum hg_status look(struct hg_side *s, XXH3_state_t *state, struct reach *reach, const unsigned char *params, size_t size)
{
	enum hg_status st = hg_driver_regions(add_span, reach);

	if (st || !reach->nr)
		return st;
	qsort(reach->span, reach->nr, sizeof(*reach->span), by_address);
	reach->todo = malloc(reach->nr * sizeof(*reach->todo));
	if (!reach->todo)
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < reach->nr; i++)
		if (reach->span[i].is_reached)
			reach->todo[reach->nr_todo++] = i;
	reach_words(reach, params, size);
	while (reach->nr_todo && !st) {
		struct span *span = &reach->span[reach->todo[--reach->nr_todo]];

		st = read_span(s, span->addr, span->size, state, reach, &span->digest);
	}
	for (size_t i = 0; i < reach->nr && !st; i++)
		if (reach->span[i].is_reached)
			st = hg_side_buffer_add(s, &(struct hg_side_buffer){ .addr = reach->span[i].addr,
				.size = reach->span[i].size, .before = reach->span[i].digest });
	return st;
}

/* It goes where it would have gone, too. */
static void listen_to(enum hg_msg_level level, const char *line, void *arg)
{
	struct hg_side *s = arg;

	if (level == HG_MSG_ERR)
		snprintf(s->said, sizeof(s->said), "%s", line);
	hg_msg_sink_set(NULL, NULL);
	hg_msg(level, "%s", line);
	hg_msg_sink_set(listen_to, s);
}

/* With memory read, or nothing to be read. */
static enum hg_status before(struct hg_side *s, enum hg_status st)
{
	s->said[0] = '\0';
	if (!st)
		hg_msg_sink_set(listen_to, s);
	return st;
}

enum hg_status rp_side_before(struct hg_replay *r, const struct hg_rec_view *v, const struct hg_kernel_info *k,
			      const unsigned char *params, size_t size)
{
	struct hg_side *s = r->opt.side;
	struct reach reach = { 0 };
	XXH3_state_t *state;
	enum hg_status st;

	s->is_looking = s->count++ % s->sides->each == 0;
	if (!s->is_looking)
		return before(s, HG_OK);
	st = hg_driver_quiesce(UINT32_MAX);
	if (st || s->nr_probes)
		return before(s, st);
	state = XXH3_createState();
	if (!s->part)
		s->part = malloc(PART);
	st = s->part && state ? hg_side_launch_add(s, v->rec->seq, k->name, v->rec->stack) : HG_ERR_NOMEM;
	if (!st)
		st = look(s, state, &reach, params, size);
	free(reach.span);
	free(reach.todo);
	XXH3_freeState(state);
	return before(s, st);
}

static enum hg_status keep_probes(struct hg_side *s, uint64_t seq)
{
	for (size_t i = 0; i < s->nr_probes; i++) {
		struct hg_side_probe *p = &s->probe[i];
		enum hg_status st;

		if (p->seq != seq || p->bytes || !hg_driver_has(p->addr, p->size))
			continue;
		p->bytes = malloc(p->size);
		if (!p->bytes)
			return HG_ERR_NOMEM;
		st = hg_driver_read(p->bytes, p->addr, p->size);
		if (st)
			return st;
	}
	return HG_OK;
}

bool rp_side_is_looking(const struct hg_replay *r)
{
	return r->opt.side && r->opt.side->is_looking;
}

enum hg_status rp_side_after(struct hg_replay *r, const struct hg_rec_view *v)
{
	struct hg_side *s = r->opt.side;
	struct hg_side_launch *l;
	enum hg_status st = HG_OK;
	XXH3_state_t *state;

	if (s->nr_probes)
		return keep_probes(s, v->rec->seq);
	l = &s->launch[s->nr_launches - 1];
	state = XXH3_createState();
	if (!state)
		return HG_ERR_NOMEM;
	for (size_t i = l->first; i < l->first + l->nr && !st; i++)
		st = read_span(s, s->buffer[i].addr, s->buffer[i].size, state, NULL, &s->buffer[i].after);
	XXH3_freeState(state);
	l->ended = !st;
	return st;
}

static enum hg_status add_refused(const char *kernel, const char *why, void *arg)
{
	struct hg_side *s = arg;
	struct hg_side_refused *grown = realloc(s->refused, (s->nr_refused + 1) * sizeof(*grown)), *row;

	if (!grown)
		return HG_ERR_NOMEM;
	s->refused = grown;
	row = &s->refused[s->nr_refused];
	row->kernel = hg_sides_kernel(s->sides, kernel);
	row->why = strdup(why);
	if (row->kernel == UINT32_MAX || !row->why) {
		free(row->why);
		return HG_ERR_NOMEM;
	}
	s->nr_refused++;
	return HG_OK;
}

enum hg_status rp_side_launched(struct hg_replay *r, const struct hg_kernel_info *k, CUresult result)
{
	struct hg_side *s = r->opt.side;

	if (!s)
		return HG_OK;
	hg_msg_sink_set(NULL, NULL);
	if (result != CUDA_ERROR_NOT_SUPPORTED)
		return HG_OK;
	if (!s->said[0])
		snprintf(s->said, sizeof(s->said), "kernel '%s' cannot be launched", k->name);
	return add_refused(k->name, s->said, s);
}

enum hg_status hg_side_end(struct hg_side *s, enum hg_status st, const struct hg_replay_report *report)
{
	s->status = st;
	free(s->part);
	s->part = NULL;
	if (!report)
		return HG_OK;
	if (report->stopped) {
		s->stopped = strdup(report->stopped);
		if (!s->stopped)
			return HG_ERR_NOMEM;
	}
	return hg_driver_refused(add_refused, s);
}

/* comparing */

/* What one launch left on two sides. */
struct launch_pair {
	bool other_input, other_output, changed;
	const struct hg_side_buffer *first;	/* that it left otherwise, or had otherwise to begin with */
};

static void note(struct launch_pair *p, const struct hg_side_buffer *b, bool is_output)
{
	/* a buffer that was left otherwise says more than one that was otherwise before */
	if (!p->first || (is_output && !p->other_output))
		p->first = b;
	p->other_output |= is_output;
	p->other_input |= !is_output;
}

static void compare_launch(const struct hg_side *other, const struct hg_side_launch *a, const struct hg_side *s,
			   const struct hg_side_launch *b, struct launch_pair *out)
{
	const struct hg_side_buffer *x = &other->buffer[a->first], *x_end = x + a->nr;
	const struct hg_side_buffer *y = &s->buffer[b->first], *y_end = y + b->nr;

	*out = (struct launch_pair){ 0 };
	while (x < x_end || y < y_end) {
		if (y == y_end || (x < x_end && (x->addr < y->addr || (x->addr == y->addr && x->size < y->size)))) {
			note(out, x++, false);	/* reached on one side alone: by a pointer that the other does not hold */
		} else if (x == x_end || x->addr != y->addr || x->size != y->size) {
			note(out, y++, false);
		} else {
			if (x->before != y->before)
				note(out, y, false);
			out->changed |= x->before != x->after || y->before != y->after;
			/* what the launch has not touched does not count against it */
			if (x->after != y->after && (x->before == y->before || x->before != x->after || y->before != y->after))
				note(out, y, true);
			x++;
			y++;
		}
	}
}

static void count_launch(struct hg_agreement *out, struct hg_agreement_kernel *k, const struct hg_side_launch *l,
			 const struct launch_pair *p, uint64_t last_equal)
{
	k->changed += p->changed;
	if (!p->other_output)
		k->agree++;
	else if (p->other_input)
		k->other_input++;
	else if (!k->differ++) {
		k->seq = l->seq;
		k->addr = p->first->addr;
		k->size = p->first->size;
	}
	if (out->seq || !p->first)
		return;
	out->seq = l->seq;
	out->by = l->kernel;
	out->stack = l->stack;
	out->is_made = !p->other_input;
	out->last_equal = last_equal;
	out->addr = p->first->addr;
	out->size = p->first->size;
}

enum hg_status hg_side_compare(const struct hg_side *other, const struct hg_side *s, struct hg_agreement *out)
{
	uint64_t last_equal = 0;
	size_t at = 0;

	*out = (struct hg_agreement){ .kernel = calloc(s->sides->nr_kernels + 1, sizeof(*out->kernel)) };
	if (!out->kernel)
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < other->nr_launches; i++) {
		const struct hg_side_launch *a = &other->launch[i];
		struct launch_pair pair;

		if (!a->ended)
			continue;
		out->kernel[a->kernel].launches++;
		while (at < s->nr_launches && s->launch[at].seq < a->seq)
			at++;
		if (at == s->nr_launches || s->launch[at].seq != a->seq || !s->launch[at].ended)
			continue;
		compare_launch(other, a, s, &s->launch[at], &pair);
		count_launch(out, &out->kernel[a->kernel], a, &pair, last_equal);
		if (!pair.first)
			last_equal = a->seq;
	}
	return HG_OK;
}

void hg_agreement_free(struct hg_agreement *a)
{
	free(a->kernel);
	a->kernel = NULL;
}

static const struct hg_side_probe *probe_find(const struct hg_side *s, uint64_t seq, uint64_t addr)
{
	for (size_t i = 0; i < s->nr_probes; i++)
		if (s->probe[i].seq == seq && s->probe[i].addr == addr && s->probe[i].bytes)
			return &s->probe[i];
	return NULL;
}

void hg_side_detail(const struct hg_side *other, const struct hg_side *s, uint64_t seq, uint64_t addr, struct hg_side_detail *out)
{
	const struct hg_side_probe *a = probe_find(other, seq, addr), *b = probe_find(s, seq, addr);
	struct rp_difference d = { 0 };
	uint64_t word;
	size_t n;

	*out = (struct hg_side_detail){ 0 };
	if (!a || !b || a->size != b->size)
		return;
	rp_differ(&d, 0, b->bytes, a->bytes, a->size);
	if (!d.any)
		return;
	*out = (struct hg_side_detail){ .is_seen = true, .first = d.first, .nr_bytes = d.nr_bytes, .max_ulp = d.max_ulp };
	word = d.first & ~UINT64_C(3);
	n = a->size - word < sizeof(out->value) ? a->size - word : sizeof(out->value);
	memcpy(&out->value, b->bytes + word, n);
	memcpy(&out->other, a->bytes + word, n);
}
