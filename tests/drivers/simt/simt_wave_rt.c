/* simt_wave_rt.c - what the code of waves calls: which lanes go on, and operations between lanes. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/drivers/simt/simt_wave.h"
#include "tests/drivers/simt/simt_float.h"

#define PATIENCE 32		/* rounds of loops that may wait, between two yields */
#define MAX_STEPS 128		/* …unless they are long ones */
#define POISON 0xa5

static const struct simt_wave_grid *grid_of(const struct simt_item *self)
{
	return (const struct simt_wave_grid *)self->env->params;
}

static uint64_t bit(uint32_t lane)
{
	return UINT64_C(1) << lane;
}

/* How many of the wave's lanes are work-items. */
static uint32_t nr_items(const struct simt_wave *w)
{
	uint32_t first = w->number * w->lanes, left = grid_of(w->self)->items - first;

	return left < w->lanes ? left : w->lanes;
}

static uint64_t lanes_at_first(const struct simt_wave *w)
{
	return nr_items(w) == 64 ? UINT64_MAX : bit(nr_items(w)) - 1;
}

/* ---- which lanes go on ---- */

void simt_wave_begin(struct simt_item *self, struct simt_wave *w, unsigned char *frames, uint32_t stride, uint32_t lanes)
{
	const struct simt_wave_grid *g = grid_of(self);
	uint32_t first = self->tid[0] * lanes;
	uint32_t x = first % g->block[0], y = first / g->block[0] % g->block[1], z = first / g->block[0] / g->block[1];

	/* the first wave of a block runs before the others do */
	if (!first)
		memset(self->env->shared, POISON, self->env->shared_bytes);
	w->self = self;
	w->number = self->tid[0];
	w->frames = frames;
	w->stride = stride;
	w->lanes = lanes;
	w->alive = lanes_at_first(w);
	w->mask = w->alive;
	w->place = w->low = w->high = 0;
	w->patience = PATIENCE;
	w->steps = 0;
	w->held = w->held_since = 0;
	for (uint32_t i = 0; i < nr_items(w); i++) {
		w->at[i] = 0;
		w->tid[i][0] = x;
		w->tid[i][1] = y;
		w->tid[i][2] = z;
		if (++x == g->block[0]) {
			x = 0;
			if (++y == g->block[1]) {
				y = 0;
				z++;
			}
		}
	}
}

int32_t simt_wave_next(struct simt_wave *w)
{
	uint64_t alive = 0, mask = 0;
	int32_t first = WAVE_ENDED;

	w->steps++;
	/* they were all of the wave, and stayed together */
	if (w->low == w->high && w->mask == w->alive && w->low != WAVE_ENDED) {
		w->place = w->low;
		return w->place;
	}
	for (uint64_t left = w->alive; left; left &= left - 1) {
		int32_t at = w->at[__builtin_ctzll(left)];

		if (at == WAVE_ENDED)
			continue;
		alive |= left & -left;
		if (at < first) {
			first = at;
			mask = 0;
		}
		if (at == first)
			mask |= left & -left;
	}
	w->alive = alive;
	w->mask = mask;
	w->held &= ~mask;
	w->place = first;
	return first;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Others of the wave wait for this group: for ever, if it waits for them. */
static void wave_yield(struct simt_wave *w)
{
	uint64_t others = w->alive & ~w->mask, now;
	char what[160];

	w->patience = PATIENCE;
	w->steps = 0;
	if (others) {
		now = now_ns();
		w->held &= others;
		if (!w->held) {
			w->held = others;
			w->held_since = now;
		} else if (now - w->held_since > grid_of(w->self)->patience_ns) {
			snprintf(what, sizeof(what), "wave %u does not progress: lanes 0x%llx loop, and 0x%llx cannot go on before them",
				 w->number, (unsigned long long)w->mask, (unsigned long long)w->held);
			simt_trap(w->self, what);
		}
	}
	simt_yield(w->self);
}

void simt_wave_round(struct simt_wave *w)
{
	if (!--w->patience || w->steps > MAX_STEPS)
		wave_yield(w);
}

/* ---- failures ---- */

void simt_wave_lds(struct simt_item *self, uint64_t offset, uint64_t size)
{
	char what[160];

	snprintf(what, sizeof(what), "%llu bytes at 0x%llx of %s, of which the block has %u", (unsigned long long)size,
		 (unsigned long long)offset, grid_of(self)->local_name, self->env->shared_bytes);
	simt_trap(self, what);
}

void simt_wave_trap(struct simt_item *self, uint32_t what)
{
	simt_trap(self, what == WAVE_TRAP ? "trap" : "code that cannot be reached");
}

/* ---- operations of lanes ---- */

static unsigned char *slot(const struct simt_wave *w, uint32_t lane, uint32_t offset)
{
	return w->frames + (size_t)w->stride * lane + offset;
}

static uint32_t word(const struct simt_wave *w, uint32_t lane, uint32_t offset)
{
	uint32_t v;

	memcpy(&v, slot(w, lane, offset), sizeof(v));
	return v;
}

static void set_word(const struct simt_wave *w, uint32_t lane, uint32_t offset, uint32_t v)
{
	memcpy(slot(w, lane, offset), &v, sizeof(v));
}

static void set(const struct simt_wave *w, uint32_t lane, uint32_t offset, const void *v, uint32_t size)
{
	/* most are of these sizes */
	switch (size) {
	case 4: memcpy(slot(w, lane, offset), v, 4); break;
	case 8: memcpy(slot(w, lane, offset), v, 8); break;
	case 16: memcpy(slot(w, lane, offset), v, 16); break;
	default: memcpy(slot(w, lane, offset), v, size);
	}
}

/* What an operand that is a scalar of the wave holds; all active lanes must agree. */
static uint32_t uniform(const struct simt_wave *w, uint32_t offset)
{
	uint32_t v = word(w, (uint32_t)__builtin_ctzll(w->mask), offset);

	for (uint64_t left = w->mask; left; left &= left - 1)
		if (word(w, (uint32_t)__builtin_ctzll(left), offset) != v)
			simt_trap(w->self, "an operand that must be the same for all lanes of the wave is not");
	return v;
}

#define NO_LANE UINT32_MAX

/* The lane that one of a wave reads by data-parallel primitives; NO_LANE: outside of its row or the wave. */
static uint32_t dpp_source(const struct simt_wave *w, uint32_t ctrl, uint32_t lane)
{
	uint32_t row = lane & ~15u, in_row = lane & 15, n = ctrl & 15;

	if (ctrl <= 0xff)				/* quad_perm */
		return (lane & ~3u) | (ctrl >> 2 * (lane & 3) & 3);
	if (ctrl >= 0x101 && ctrl <= 0x10f)		/* row_shl: from lanes above */
		return in_row + n > 15 ? NO_LANE : lane + n;
	if (ctrl >= 0x111 && ctrl <= 0x11f)		/* row_shr */
		return in_row < n ? NO_LANE : lane - n;
	if (ctrl >= 0x121 && ctrl <= 0x12f)		/* row_ror */
		return row | ((in_row + 16 - n) & 15);
	switch (ctrl) {
	case 0x130: return lane + 1 < w->lanes ? lane + 1 : NO_LANE;	/* wave_shl */
	case 0x134: return (lane + 1) % w->lanes;			/* wave_rol */
	case 0x138: return lane ? lane - 1 : NO_LANE;			/* wave_shr */
	case 0x13c: return (lane + w->lanes - 1) % w->lanes;		/* wave_ror */
	case 0x140: return row | (15 - in_row);				/* row_mirror */
	case 0x141: return (lane & ~7u) | (7 - (lane & 7));		/* row_half_mirror */
	/* the last lane of a row goes to all of the next one; lane 31 to all above it */
	case 0x142: return row ? row - 1 : NO_LANE;
	case 0x143: return lane >= 32 ? 31 : NO_LANE;
	}
	if (ctrl >= 0x150 && ctrl <= 0x15f)		/* row_share, row_newbcast */
		return row | n;
	if (ctrl >= 0x160 && ctrl <= 0x16f)		/* row_xmask */
		return row | (in_row ^ n);
	simt_trap(w->self, "a data-parallel primitive that does not exist");
}

static bool is_active(const struct simt_wave *w, uint32_t lane)
{
	return lane != NO_LANE && w->mask & bit(lane);
}

/* in: old, source */
static void dpp(struct simt_wave *w, uint32_t size, uint64_t imm, uint32_t out, uint32_t old, uint32_t in)
{
	static const unsigned char zero[16];
	uint32_t ctrl = (uint32_t)imm & 0xffff, rows = (uint32_t)(imm >> 16) & 15, banks = (uint32_t)(imm >> 20) & 15;
	bool bound = imm >> 24 & 1;

	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left), from = dpp_source(w, ctrl, lane);
		bool enabled = rows >> (lane / 16) & 1 && banks >> (lane % 16 / 4) & 1;

		if (enabled && is_active(w, from))
			set(w, lane, out, slot(w, from, in), size);
		else if (enabled && bound)
			set(w, lane, out, zero, size);
		else
			set(w, lane, out, slot(w, lane, old), size);
	}
}

/* in: old, source, and what lanes of a row choose: the wave's two words, or a number of each lane's own */
static void permlane(struct simt_wave *w, uint32_t op, uint32_t size, uint64_t imm, uint32_t out, uint32_t old, uint32_t in, uint32_t select)
{
	bool other = op == WAVE_PERMLANEX16 || op == WAVE_PERMLANEX16_VAR, own = op == WAVE_PERMLANE16_VAR || op == WAVE_PERMLANEX16_VAR;
	uint64_t sel = own ? 0 : uniform(w, select) | (uint64_t)uniform(w, select + 4) << 32;
	unsigned char inactive[16];

	memset(inactive, POISON, sizeof(inactive));
	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left);
		uint32_t n = own ? word(w, lane, select) & 15 : (uint32_t)(sel >> 4 * (lane & 15)) & 15;
		uint32_t from = ((lane & ~15u) ^ (other ? 16 : 0)) | n;

		if (is_active(w, from))
			set(w, lane, out, slot(w, from, in), size);
		else if (imm & 1)	/* fi: what the register of the inactive lane happens to hold */
			set(w, lane, out, inactive, size);
		else if (imm & 2)
			memset(slot(w, lane, out), 0, size);
		else
			set(w, lane, out, slot(w, lane, old), size);
	}
}

/* One lane's value, or poison for an inactive one, to all. */
static void from_lane(struct simt_wave *w, uint32_t size, uint32_t lane, uint32_t out, uint32_t in)
{
	unsigned char v[64];

	if (is_active(w, lane))
		memcpy(v, slot(w, lane, in), size);
	else
		memset(v, POISON, size);
	for (uint64_t left = w->mask; left; left &= left - 1)
		set(w, (uint32_t)__builtin_ctzll(left), out, v, size);
}

/* Through local data share's crossbar; inactive lanes give 0. in: address in bytes, value. */
static void bpermute(struct simt_wave *w, uint32_t out, uint32_t addr, uint32_t in)
{
	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left), from = word(w, lane, addr) / 4 % w->lanes;
		uint32_t v = is_active(w, from) ? word(w, from, in) : 0;

		set_word(w, lane, out, v);
	}
}

/* Each lane reads the one it names; what lanes that are not there hold is not defined. in: value, lane. */
static void shuffle(struct simt_wave *w, uint32_t size, uint32_t out, uint32_t in, uint32_t lane_of)
{
	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left), from = word(w, lane, lane_of);

		if (from < w->lanes && is_active(w, from))
			set(w, lane, out, slot(w, from, in), size);
		else
			memset(slot(w, lane, out), POISON, size);
	}
}

/* Of the whole work-group: a wave comes to it as one, and nobody has ended. */
static void group_barrier(struct simt_wave *w)
{
	const struct simt_wave_grid *g = grid_of(w->self);

	if (w->mask != w->alive)
		simt_trap(w->self, "a barrier that lanes of one sub-group do not reach together");
	if (w->mask != lanes_at_first(w))
		simt_trap(w->self, "a barrier that lanes miss which have ended");
	if (simt_barrier_count(w->self, 0, 0, true) >> 32 != (g->items + w->lanes - 1) / w->lanes)
		simt_trap(w->self, "a barrier that a sub-group misses which has ended");
}

static void permute(struct simt_wave *w, uint32_t out, uint32_t addr, uint32_t in)
{
	uint32_t got[SIMT_MAX_LANES] = { 0 };

	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left);

		got[word(w, lane, addr) / 4 % w->lanes] = word(w, lane, in);
	}
	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left);

		set(w, lane, out, &got[lane], sizeof(got[lane]));
	}
}

static void swizzle(struct simt_wave *w, uint64_t imm, uint32_t out, uint32_t in)
{
	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(left), from, v;

		if (imm & 0x8000)
			from = (lane & ~3u) | ((uint32_t)imm >> 2 * (lane & 3) & 3);
		else
			from = (lane & ~31u) | (((lane & 31 & (uint32_t)imm) | ((uint32_t)imm >> 5 & 31)) ^ ((uint32_t)imm >> 10 & 31));
		v = is_active(w, from) ? word(w, from, in) : 0;
		set_word(w, lane, out, v);
	}
}

static void ballot(struct simt_wave *w, uint32_t size, uint32_t out, uint32_t in)
{
	uint64_t yes[2] = { 0, 0 };	/* SPIR-V's has 128 bits */

	for (uint64_t left = w->mask; left; left &= left - 1)
		if (word(w, (uint32_t)__builtin_ctzll(left), in))
			yes[0] |= left & -left;
	for (uint64_t left = w->mask; left; left &= left - 1)
		set(w, (uint32_t)__builtin_ctzll(left), out, yes, size);
}

static void to_all(struct simt_wave *w, uint32_t out, uint64_t v)
{
	for (uint64_t left = w->mask; left; left &= left - 1)
		set(w, (uint32_t)__builtin_ctzll(left), out, &v, sizeof(v));
}

static void reduce(struct simt_wave *w, bool max, uint32_t out, uint32_t in)
{
	uint32_t r = max ? 0 : UINT32_MAX;

	for (uint64_t left = w->mask; left; left &= left - 1) {
		uint32_t v = word(w, (uint32_t)__builtin_ctzll(left), in);

		if (max ? v > r : v < r)
			r = v;
	}
	for (uint64_t left = w->mask; left; left &= left - 1)
		set(w, (uint32_t)__builtin_ctzll(left), out, &r, sizeof(r));
}

void simt_wave_op(struct simt_wave *w, uint32_t op, uint32_t size, uint64_t imm, uint32_t out, uint32_t a, uint32_t b, uint32_t c)
{
	switch (op) {
	case WAVE_BALLOT: ballot(w, size, out, a); break;
	case WAVE_READFIRSTLANE: from_lane(w, size, (uint32_t)__builtin_ctzll(w->mask), out, a); break;
	case WAVE_READLANE: from_lane(w, size, uniform(w, b) % w->lanes, out, a); break;
	case WAVE_BPERMUTE: bpermute(w, out, a, b); break;
	case WAVE_PERMUTE: permute(w, out, a, b); break;
	case WAVE_SWIZZLE: swizzle(w, imm, out, a); break;
	case WAVE_DPP: dpp(w, size, imm, out, a, b); break;
	case WAVE_DPP8:
		for (uint64_t left = w->mask; left; left &= left - 1) {
			uint32_t lane = (uint32_t)__builtin_ctzll(left), from = (lane & ~7u) | ((uint32_t)imm >> 3 * (lane & 7) & 7);

			if (is_active(w, from))
				set(w, lane, out, slot(w, from, a), size);
			else
				memset(slot(w, lane, out), 0, size);
		}
		break;
	case WAVE_PERMLANE16: case WAVE_PERMLANEX16: case WAVE_PERMLANE16_VAR: case WAVE_PERMLANEX16_VAR:
		permlane(w, op, size, imm, out, a, b, c);
		break;
	case WAVE_PERMLANE64:
		for (uint64_t left = w->mask; left; left &= left - 1) {
			uint32_t lane = (uint32_t)__builtin_ctzll(left), from = w->lanes == 64 ? lane ^ 32 : lane;

			if (is_active(w, from))
				set(w, lane, out, slot(w, from, a), size);
			else
				memset(slot(w, lane, out), POISON, size);
		}
		break;
	case WAVE_REDUCE_UMIN: reduce(w, false, out, a); break;
	case WAVE_REDUCE_UMAX: reduce(w, true, out, a); break;
	case WAVE_SHUFFLE: shuffle(w, size, out, a, b); break;
	case WAVE_GROUP_BARRIER: group_barrier(w); break;
	case WAVE_BARRIER: simt_barrier(w->self, 0, 0); break;
	case WAVE_ENDPGM:
		/* whatever its other lanes were at */
		for (uint32_t i = 0; i < w->lanes; i++)
			w->at[i] = WAVE_ENDED;
		w->alive = 0;
		break;
	case WAVE_CLOCK: to_all(w, out, simt_clock()); break;
	case WAVE_TIMER: to_all(w, out, simt_timer() / 10); break;	/* of 100 MHz */
	case WAVE_MEET: break;	/* what the lanes did to memory before is done */
	default: simt_trap(w->self, "an operation of lanes that does not exist");
	}
}

#define SYMBOL(name) { #name, (void *)name }
const struct simt_symbol simt_wave_symbols[] = {
	SYMBOL(simt_wave_begin), SYMBOL(simt_wave_next), SYMBOL(simt_wave_round), SYMBOL(simt_wave_lds), SYMBOL(simt_wave_trap),
	SYMBOL(simt_wave_op), SYMBOL(simt_float_op), SYMBOL(simt_float_cvt),
};
const size_t simt_wave_nr_symbols = sizeof(simt_wave_symbols) / sizeof(simt_wave_symbols[0]);
