/* test_sides.c - what launches do to memory, seen while a log is replayed, and compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_test.h"
#include "logdb/words.h"
#include "replay/replay.h"
#include "replay/sides.h"
#include "tests/unit/logdb/helper.h"

/* comparing, without a replay */

static struct hg_sides *sides;

static void two_sides(void)
{
	sides = hg_sides_new(1, 2);
	cr_assert(sides);
}

static void launch(int side, uint64_t seq, const char *kernel)
{
	cr_assert_eq(hg_side_launch_add(&sides->side[side], seq, kernel, (uint32_t)seq + 100), HG_OK);
	sides->side[side].launch[sides->side[side].nr_launches - 1].ended = true;
}

static void buffer(int side, uint64_t addr, uint64_t before, uint64_t after)
{
	const struct hg_side_buffer b = { .addr = addr, .size = 64, .before = before, .after = after };

	cr_assert_eq(hg_side_buffer_add(&sides->side[side], &b), HG_OK);
}

/* The same launch on both sides, with one buffer. */
static void both(uint64_t seq, const char *kernel, uint64_t before0, uint64_t after0, uint64_t before1, uint64_t after1)
{
	launch(0, seq, kernel);
	buffer(0, 0x1000, before0, after0);
	launch(1, seq, kernel);
	buffer(1, 0x1000, before1, after1);
}

static struct hg_agreement compared(void)
{
	struct hg_agreement a;

	cr_assert_eq(hg_side_compare(&sides->side[0], &sides->side[1], &a), HG_OK);
	return a;
}

static void counts(const struct hg_agreement *a, const char *kernel, uint64_t launches, uint64_t agree, uint64_t differ, uint64_t other)
{
	const struct hg_agreement_kernel *k = &a->kernel[hg_sides_kernel(sides, kernel)];

	cr_assert_eq(k->launches, launches, "%s: %lu launches", kernel, k->launches);
	cr_assert_eq(k->agree, agree, "%s: %lu agree", kernel, k->agree);
	cr_assert_eq(k->differ, differ, "%s: %lu differ", kernel, k->differ);
	cr_assert_eq(k->other_input, other, "%s: %lu from other input", kernel, k->other_input);
}

static void end_sides(struct hg_agreement *a)
{
	hg_agreement_free(a);
	hg_sides_free(sides);
}

Test(sides, blame_the_launch_that_began_with_the_same_and_not_those_after_it)
{
	struct hg_agreement a;

	two_sides();
	both(10, "good", 1, 2, 1, 2);
	both(11, "bad", 2, 3, 2, 33);
	both(12, "good", 3, 4, 33, 44);
	both(13, "healer", 4, 5, 44, 5);
	both(14, "bad", 5, 6, 5, 66);
	a = compared();
	counts(&a, "good", 2, 1, 0, 1);
	counts(&a, "bad", 2, 0, 2, 0);
	counts(&a, "healer", 1, 1, 0, 0);
	cr_assert_eq(a.seq, 11u);
	cr_assert_eq(a.stack, 111u);
	cr_assert_eq(a.by, hg_sides_kernel(sides, "bad"));
	cr_assert(a.is_made);
	cr_assert_eq(a.addr, 0x1000u);
	cr_assert_eq(a.kernel[a.by].seq, 11u);
	cr_assert_eq(a.kernel[a.by].addr, 0x1000u);
	end_sides(&a);
}

Test(sides, a_launch_that_does_not_touch_what_differs_agrees)
{
	struct hg_agreement a;

	two_sides();
	for (int side = 0; side < 2; side++) {
		launch(side, 5, "k");
		buffer(side, 0x1000, side ? 7 : 8, side ? 7 : 8);	/* read at most */
		buffer(side, 0x2000, 1, 2);
		launch(side, 6, "k");
		buffer(side, 0x1000, side ? 7 : 8, side ? 9 : 8);	/* written on one side alone */
		buffer(side, 0x2000, 2, 2);
	}
	a = compared();
	counts(&a, "k", 2, 1, 0, 1);
	cr_assert_eq(a.seq, 5u, "where memory is not the same any more: %lu", a.seq);
	cr_assert(!a.is_made);
	cr_assert_eq(a.last_equal, 0u);
	end_sides(&a);
}

Test(sides, what_no_launch_made_is_said_with_the_last_that_was_equal)
{
	struct hg_agreement a;

	two_sides();
	both(20, "k", 1, 2, 1, 2);
	both(25, "k", 3, 4, 30, 40);
	a = compared();
	counts(&a, "k", 2, 1, 0, 1);
	cr_assert_eq(a.seq, 25u);
	cr_assert(!a.is_made);
	cr_assert_eq(a.last_equal, 20u);
	end_sides(&a);
}

Test(sides, launches_that_one_side_did_not_come_to_do_not_count_as_equal)
{
	struct hg_agreement a;

	two_sides();
	both(1, "k", 1, 2, 1, 2);
	launch(0, 2, "k");
	buffer(0, 0x1000, 2, 3);
	both(3, "k", 3, 4, 3, 4);
	sides->side[1].launch[1].ended = false;
	a = compared();
	counts(&a, "k", 3, 1, 0, 0);
	cr_assert_eq(a.seq, 0u);
	end_sides(&a);
}

/* Their agreement says nothing of the kernel. */
Test(sides, launches_that_change_nothing_are_not_counted_among_those_that_do)
{
	struct hg_agreement a;

	two_sides();
	for (int side = 0; side < 2; side++)
		launch(side, 1, "reaches_nothing");
	both(2, "reads", 1, 1, 1, 1);
	both(3, "writes", 1, 2, 1, 2);
	both(4, "writes", 2, 2, 2, 2);
	both(5, "writes", 2, 2, 2, 3);
	a = compared();
	counts(&a, "reaches_nothing", 1, 1, 0, 0);
	cr_assert_eq(a.kernel[hg_sides_kernel(sides, "reaches_nothing")].changed, 0u);
	counts(&a, "reads", 1, 1, 0, 0);
	cr_assert_eq(a.kernel[hg_sides_kernel(sides, "reads")].changed, 0u);
	counts(&a, "writes", 3, 2, 1, 0);
	cr_assert_eq(a.kernel[hg_sides_kernel(sides, "writes")].changed, 2u);
	end_sides(&a);
}

Test(sides, a_buffer_that_one_side_alone_reaches_is_other_input)
{
	struct hg_agreement a;

	two_sides();
	both(1, "k", 1, 2, 1, 2);
	buffer(1, 0x3000, 5, 5);
	both(2, "k", 2, 2, 2, 3);
	buffer(1, 0x1040, 5, 5);
	a = compared();
	counts(&a, "k", 2, 1, 0, 1);
	cr_assert_eq(a.seq, 1u);
	cr_assert(!a.is_made);
	cr_assert_eq(a.addr, 0x3000u);
	end_sides(&a);
}

/* while a log is replayed */

#define BASE (HG_ARENA_BASE + 0x50000000)
enum { SIZE = 4096 };

static const char ptx[] =
	".version 8.0\n.target sm_80\n.address_size 64\n"
	".global .align 4 .u32 counter;\n"
	/* *p += v */
	".visible .entry add(.param .u64 p, .param .u64 v)\n{\n.reg .b64 %rd<4>;\n.reg .b32 %r<5>;\n"
	"ld.param.u64 %rd1, [p];\nld.param.u64 %rd2, [v];\ncvt.u32.u64 %r1, %rd2;\n"
	"ld.global.u32 %r2, [%rd1];\nadd.u32 %r3, %r2, %r1;\nst.global.u32 [%rd1], %r3;\nret;\n}\n"
	/* **p += v, and the variable, too */
	".visible .entry far(.param .u64 p, .param .u64 v)\n{\n.reg .b64 %rd<4>;\n.reg .b32 %r<5>;\n"
	"ld.param.u64 %rd1, [p];\nld.global.u64 %rd3, [%rd1];\nld.param.u64 %rd2, [v];\ncvt.u32.u64 %r1, %rd2;\n"
	"ld.global.u32 %r2, [%rd3];\nadd.u32 %r3, %r2, %r1;\nst.global.u32 [%rd3], %r3;\nst.global.u32 [counter], %r3;\nret;\n}\n";

struct run {
	struct hg_recorder *recorder;
	char dir[4300];
	uint64_t ctx, function[2], seq[8];
	int nr;
};

/* The nth log of a test. */
static struct run start(int nth)
{
	static const char *base;
	struct run r = { .nr = 0 };
	uint64_t module, zero[SIZE / 8] = { 0 }, points[1] = { BASE + SIZE + 8 };

	if (!nth)
		base = test_dir();
	snprintf(r.dir, sizeof(r.dir), "%s%d", base, nth);
	r.recorder = test_start_with(r.dir, HG_CALLS_ALL, false);
	r.ctx = test_ctx(r.recorder);
	for (int i = 0; i < 3; i++)
		cr_assert(test_alloc(r.recorder, r.ctx, BASE + (uint64_t)i * SIZE, SIZE));
	cr_assert(test_h2d(r.recorder, r.ctx, BASE, zero, SIZE));
	cr_assert(test_h2d(r.recorder, r.ctx, BASE + 16, points, 8));
	module = test_module(r.recorder, r.ctx, ptx, sizeof(ptx));
	r.function[0] = test_function(r.recorder, r.ctx, module, "add");
	r.function[1] = test_function(r.recorder, r.ctx, module, "far");
	return r;
}

static void record(struct run *r, int function, uint64_t p, uint64_t v)
{
	uint64_t seq = hg_recorder_seq(r->recorder);
	struct hg_rec *rec = hg_recorder_begin(r->recorder, hg_call_by_id(HG_ID_cuLaunchKernel), seq, HG_LAUNCH_NR_WORDS, 16);

	cr_assert(rec);
	memset(rec->word, 0, HG_LAUNCH_NR_WORDS * sizeof(rec->word[0]));
	rec->ctx = r->ctx;
	rec->word[HG_LAUNCH_FUNCTION] = r->function[function];
	for (int i = HG_LAUNCH_GRID_X; i <= HG_LAUNCH_BLOCK_Z; i++)
		rec->word[i] = 1;
	rec->word[HG_LAUNCH_PARAMS] = HG_BLOB(HG_BLOB_INLINE, 16);
	rec->word[HG_LAUNCH_NR_WORDS] = p;
	rec->word[HG_LAUNCH_NR_WORDS + 1] = v;
	hg_recorder_commit(r->recorder, rec);
	r->seq[r->nr++] = seq;
}

static void never_taken(uint64_t start, uint64_t end, void *arg)
{
	(void)arg;
	cr_assert(false, "0x%lx-0x%lx is taken", start, end);
}

static void replay_on(struct run *r, int side)
{
	struct hg_replay_options opt = { .target = &hg_target_cpu, .side = &sides->side[side] };
	struct hg_log *log;
	struct hg_replay *replay;
	enum hg_status st;

	if (r->recorder)
		hg_recorder_stop(r->recorder);
	r->recorder = NULL;
	sides->side[side].count = 0;
	log = test_open(r->dir);
	cr_assert_eq(hg_replay_open(log, &opt, never_taken, NULL, &replay), HG_OK);
	st = hg_replay_run(replay);
	cr_assert_eq(st, HG_OK, "%s: %s", hg_status_text(st), hg_replay_report(replay)->stopped);
	cr_assert_null(hg_replay_report(replay)->stopped, "%s", hg_replay_report(replay)->stopped);
	cr_assert_eq(hg_side_end(&sides->side[side], st, hg_replay_report(replay)), HG_OK);
	hg_replay_close(replay);
	hg_log_close(log);
}

static const struct hg_side_buffer *find(const struct hg_side *s, size_t at, uint64_t addr)
{
	for (size_t i = 0; i < s->launch[at].nr; i++)
		if (s->buffer[s->launch[at].first + i].addr == addr)
			return &s->buffer[s->launch[at].first + i];
	return NULL;
}

Test(sides, a_launch_reaches_what_its_parameters_lead_to_and_all_variables)
{
	const struct hg_side_buffer *b, *counter = NULL;
	struct hg_sides *every;
	const struct hg_side *s;
	struct run r = start(0);

	record(&r, 0, BASE + 2 * SIZE, 1);
	record(&r, 1, BASE + 16, 5);
	sides = every = hg_sides_new(1, 1);
	replay_on(&r, 0);
	s = &every->side[0];
	cr_assert_eq(s->nr_launches, 2u);
	cr_assert_eq(s->launch[0].seq, r.seq[0]);
	cr_assert(s->launch[0].ended && s->launch[1].ended);
	/* the third buffer and the variable */
	cr_assert_eq(s->launch[0].nr, 2u);
	b = find(s, 0, BASE + 2 * SIZE);
	cr_assert(b && b->size == SIZE && b->before != b->after);
	/* the first, which holds a pointer into the second, and the variable */
	cr_assert_eq(s->launch[1].nr, 3u);
	b = find(s, 1, BASE);
	cr_assert(b && b->before == b->after);
	b = find(s, 1, BASE + SIZE);
	cr_assert(b && b->before != b->after, "by a pointer that lies in a buffer");
	for (size_t i = 0; i < 3; i++)
		if (s->buffer[s->launch[1].first + i].size == 4)
			counter = &s->buffer[s->launch[1].first + i];
	cr_assert(counter && counter->before != counter->after);
	hg_sides_free(every);
}

Test(sides, a_wrong_result_is_found_and_its_bytes_are_shown)
{
	struct hg_side_detail d;
	struct hg_agreement a;
	struct run r[2];

	two_sides();
	for (int i = 0; i < 2; i++) {
		r[i] = start(i);
		record(&r[i], 0, BASE + 2 * SIZE, 1);
		record(&r[i], 1, BASE + 16, i ? 0x700 : 5);	/* as if one target added it wrongly */
		record(&r[i], 0, BASE + SIZE + 8, 1);
		record(&r[i], 0, BASE + 2 * SIZE, 1);
		replay_on(&r[i], i);
	}
	a = compared();
	counts(&a, "add", 3, 2, 0, 1);
	counts(&a, "far", 1, 0, 1, 0);
	cr_assert_eq(a.seq, r[0].seq[1]);
	cr_assert(a.is_made);
	/* the buffer that is named may be that of the variable */
	cr_assert(find(&sides->side[1], 1, a.addr));
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(hg_side_ask(&sides->side[i], a.seq, BASE + SIZE, SIZE), HG_OK);
		replay_on(&r[i], i);
		cr_assert_eq(sides->side[i].nr_launches, 4u, "nothing is noted twice");
	}
	hg_side_detail(&sides->side[0], &sides->side[1], a.seq, BASE + SIZE, &d);
	cr_assert(d.is_seen);
	cr_assert_eq(d.first, 8u);
	cr_assert_eq(d.nr_bytes, 2u);
	cr_assert_eq(d.value, 0x700u);
	cr_assert_eq(d.other, 5u);
	end_sides(&a);
}

Test(sides, every_second_launch_is_looked_at)
{
	struct run r = start(0);

	for (uint64_t i = 0; i < 5; i++)
		record(&r, 0, BASE + 2 * SIZE, 1);
	sides = hg_sides_new(2, 1);
	replay_on(&r, 0);
	cr_assert_eq(sides->side[0].nr_launches, 3u);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(sides->side[0].launch[i].seq, r.seq[2 * i]);
	/* one addition is missing between two looks */
	cr_assert_neq(find(&sides->side[0], 0, BASE + 2 * SIZE)->after, find(&sides->side[0], 1, BASE + 2 * SIZE)->before);
	hg_sides_free(sides);
}
