/* expand_lanes.c - match and redux by votes: a bit of all lanes' values at a time. */
#include "translate/support/support.h"

#define EACH_BIT _Pragma("clang loop unroll(disable)")

/* The lanes of `members` that run. */
static inline u32 those_of(u32 members)
{
	return (u32)__nvvm_vote_ballot_sync(members, 1);
}

static inline u32 ballot(u32 members, u32 bit)
{
	return (u32)__nvvm_vote_ballot_sync(members, bit != 0);
}

struct lanes { u32 lanes; };

static inline u32 equal_to(u32 value, u32 members, u32 same)
{
	EACH_BIT
	for (u32 i = 0; i < 32; i++, value >>= 1)
		same &= ballot(members, value & 1) ^ ((value & 1) - 1);
	return same;
}

EXPANSION hg_match_any_b32(u32 value, u32 members, struct lanes *restrict out)
{
	out->lanes = equal_to(value, members, those_of(members));
}

EXPANSION hg_match_any_b64(u64 value, u32 members, struct lanes *restrict out)
{
	u32 same = equal_to((u32)value, members, those_of(members));

	out->lanes = equal_to((u32)(value >> 32), members, same);
}

/* The lanes, or none if any has another value than the first of them. */
EXPANSION hg_match_all_b64(u64 value, u32 members, struct lanes *restrict out)
{
	u32 lanes = those_of(members), first = (u32)__builtin_ctz(lanes);
	u32 lo = (u32)__nvvm_shfl_sync_idx_i32((int)members, (int)(u32)value, (int)first, 31);
	u32 hi = (u32)__nvvm_shfl_sync_idx_i32((int)members, (int)(u32)(value >> 32), (int)first, 31);

	out->lanes = ballot(members, value == ((u64)hi << 32 | lo)) == lanes ? lanes : 0;
}

struct result { u32 value; };

EXPANSION hg_redux_add(u32 value, u32 members, struct result *restrict out)
{
	u32 sum = 0;

	EACH_BIT
	for (u32 i = 0; i < 32; i++)
		sum += (u32)__builtin_popcount(ballot(members, value >> i & 1)) << i;
	out->value = sum;
}

/* table: bits 0 to 2, what to give where no lane, some lanes, all lanes have the bit; 3: where their number is odd */
enum { NONE = 1, SOME = 2, ALL = 4, ODD = 8 };

EXPANSION hg_redux_bits(u32 value, u32 members, u32 table, struct result *restrict out)
{
	u32 r = 0, lanes = those_of(members);

	EACH_BIT
	for (u32 i = 0; i < 32; i++) {
		u32 ones = ballot(members, value >> i & 1);
		u32 bit = table & ODD ? (u32)__builtin_popcount(ones) & 1 : ones == lanes ? table / ALL & 1 : ones ? table / SOME & 1 : 0;

		r |= bit << i;
	}
	out->value = r;
}

/*
 * The greatest of unsigned numbers: the candidates that have a bit, from the highest on, outdo those that have not. The others of redux
 * are made of this by turning bits over.
 */
static inline u32 greatest(u32 value, u32 members, u32 candidates)
{
	u32 r = 0;

	EACH_BIT
	for (u32 i = 0; i < 32; i++) {
		u32 ones = ballot(members, value >> 31) & candidates;

		value <<= 1;
		r <<= 1;
		if (ones) {
			candidates = ones;
			r |= 1;
		}
	}
	return r;
}

EXPANSION hg_redux_max(u32 value, u32 members, u32 turn, struct result *restrict out)
{
	out->value = greatest(value ^ turn, members, those_of(members)) ^ turn;
}

/*
 * f32 as a number whose order is that of the values, -0 below +0; turn: ~0 for the least. NaNs stay out, or with `nan` one of them is all there is. A
 * lane that is alone keeps what it has.
 */
EXPANSION hg_redux_f32(u32 value, u32 members, u32 turn, u32 nan, struct result *restrict out)
{
	u32 lanes = those_of(members), is_nan = (value & 0x7fffffff) > 0x7f800000, nans = ballot(members, is_nan);
	u32 key = (value >> 31 ? ~value : value | 0x80000000) ^ turn, r;

	r = greatest(key, members, lanes & ~nans) ^ turn;
	r = r >> 31 ? r & 0x7fffffff : ~r;
	if (nans == lanes || (nan && nans))
		r = 0x7fffffff;
	out->value = lanes & (lanes - 1) ? r : value;
}
