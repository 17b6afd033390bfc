/* test_replay.c - logs written here, replayed and compared. */
#define XXH_INLINE_ALL
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "common/place.h"
#include "driver_test.h"
#include "replay/replay.h"
#include "replay/reserve.h"
#include "tests/unit/logdb/helper.h"

#define BASE (HG_ARENA_BASE + 0x40000000)
enum { SIZE = 8192 };

static unsigned char bytes[SIZE];
static struct test_memory memory = { .addr = BASE, .data = bytes, .size = SIZE };

struct fixture {
	const char *dir;
	struct hg_recorder *recorder;
	uint64_t ctx, alloc, snapshot;
};

static void on_taken(uint64_t start, uint64_t end, void *arg)
{
	uint64_t *nr = arg;

	cr_assert_lt(start, end);
	++*nr;
}

/* A context, a buffer of pseudo-random bytes, a snapshot of it. */
static struct fixture begin(enum hg_calls_mode calls)
{
	struct fixture f = { .dir = test_dir() };
	uint64_t written;

	f.recorder = test_start_with(f.dir, calls, false);
	f.ctx = test_ctx(f.recorder);
	f.alloc = test_alloc(f.recorder, f.ctx, BASE, SIZE);
	for (int i = 0; i < SIZE; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 256);
	cr_assert_eq(test_snapshot(f.recorder, &memory, f.alloc, &f.snapshot, &written), HG_OK);
	return f;
}

static void record_fill(struct fixture *f, uint64_t offset, unsigned char value, uint64_t n)
{
	uint64_t word[] = { BASE + offset, value, n };

	cr_assert(test_record(f->recorder, HG_ID_cuMemsetD8_v2, f->ctx, word, 3));
	memset(bytes + offset, value, n);
}

static void record_back(struct fixture *f, uint64_t offset, uint64_t n, uint64_t digest)
{
	uint64_t seq = hg_recorder_seq(f->recorder);
	struct hg_rec *rec = hg_recorder_begin(f->recorder, hg_call_by_id(HG_ID_cuMemcpyDtoH_v2), seq, 3, 8);

	cr_assert(rec);
	rec->ctx = f->ctx;
	rec->word[0] = HG_BLOB(HG_BLOB_DIGEST, n);
	rec->word[1] = BASE + offset;
	rec->word[2] = n;
	rec->word[3] = digest;
	hg_recorder_commit(f->recorder, rec);
}

static void second_snapshot(struct fixture *f)
{
	uint64_t number, written;

	cr_assert_eq(test_snapshot(f->recorder, &memory, f->alloc, &number, &written), HG_OK);
}

static struct hg_replay *replay;
static struct hg_log *open_log;

/* Ends the recording and replays; the replay stays open. */
static enum hg_status run(struct fixture *f, const struct hg_replay_options *more)
{
	struct hg_replay_options opt = more ? *more : (struct hg_replay_options){ .verify = true };
	uint64_t nr_taken = 0;
	enum hg_status st;

	if (f->recorder)
		hg_recorder_stop(f->recorder);
	f->recorder = NULL;
	opt.target = &hg_target_cpu;
	open_log = test_open(f->dir);
	st = hg_replay_open(open_log, &opt, on_taken, &nr_taken, &replay);
	return st ? st : hg_replay_run(replay);
}

static void end(void)
{
	hg_replay_close(replay);
	hg_log_close(open_log);
}

Test(replay, gives_the_bytes_of_the_snapshot_and_of_what_came_after)
{
	struct fixture f = begin(HG_CALLS_ALL);
	static unsigned char back[SIZE];

	record_fill(&f, 100, 0xab, 50);
	record_back(&f, 90, 100, XXH3_64bits(bytes + 90, 100));
	second_snapshot(&f);
	record_fill(&f, 4000, 0xcd, 1);
	cr_assert_eq(run(&f, &(struct hg_replay_options){ .verify = true, .has_snapshot = true, .snapshot = 1 }), HG_OK);
	cr_assert_eq(hg_replay_report(replay)->nr_buffers, 2u);
	cr_assert_eq(hg_replay_report(replay)->nr_buffers_differ, 0u);
	cr_assert_eq(hg_replay_report(replay)->nr_results, 1u);
	cr_assert_eq(hg_replay_report(replay)->nr_results_differ, 0u);
	cr_assert_null(hg_replay_report(replay)->stopped);
	cr_assert_eq(hg_driver_read(back, BASE, SIZE), HG_OK);
	cr_assert_eq(memcmp(back, bytes, SIZE), 0);
	end();
}

Test(replay, says_which_buffer_differs_and_where)
{
	struct fixture f = begin(HG_CALLS_ALL);

	record_fill(&f, 100, 0xab, 50);
	bytes[5000] ^= 1;	/* nothing that is in the log did this */
	bytes[5003] ^= 4;
	second_snapshot(&f);
	cr_assert_eq(run(&f, &(struct hg_replay_options){ .verify = true, .has_snapshot = true, .snapshot = 1 }),
		     HG_ERR_DIFFERS);
	cr_assert_eq(hg_replay_report(replay)->nr_buffers_differ, 1u);
	cr_assert_eq(hg_replay_report(replay)->buffer[0].verdict, HG_REPLAY_IDENTICAL);
	cr_assert_eq(hg_replay_report(replay)->buffer[1].verdict, HG_REPLAY_DIFFERS);
	cr_assert_eq(hg_replay_report(replay)->buffer[1].first, 5000u);
	cr_assert_eq(hg_replay_report(replay)->buffer[1].nr_bytes, 2u);
	cr_assert(hg_replay_report(replay)->stopped);
	end();
}

Test(replay, floats_may_differ_by_as_much_as_is_allowed)
{
	for (uint32_t ulp = 2; ulp <= 3; ulp++) {
		struct fixture f = begin(HG_CALLS_ALL);
		struct hg_replay_options opt = { .verify = true, .has_snapshot = true, .snapshot = 1, .ulp = ulp };
		float a, b;

		record_fill(&f, 0, 0x3f, 4);
		memcpy(&a, bytes, sizeof(a));
		b = a;
		for (int i = 0; i < 3; i++) {
			uint32_t bits;

			memcpy(&bits, &b, sizeof(bits));
			bits++;
			memcpy(&b, &bits, sizeof(b));
		}
		memcpy(bytes, &b, sizeof(b));
		second_snapshot(&f);
		cr_assert_eq(run(&f, &opt), ulp < 3 ? HG_ERR_DIFFERS : HG_OK);
		cr_assert_eq(hg_replay_report(replay)->buffer[1].max_ulp, 3u);
		end();
		test_remove(f.dir);
	}
}

Test(replay, stops_at_the_record_whose_result_differs)
{
	struct fixture f = begin(HG_CALLS_ALL);

	record_fill(&f, 0, 1, 10);
	record_back(&f, 0, 10, 12345);
	record_fill(&f, 0, 2, 10);
	cr_assert_eq(run(&f, NULL), HG_ERR_DIFFERS);
	cr_assert_eq(hg_replay_report(replay)->nr_results_differ, 1u);
	cr_assert(strstr(hg_replay_report(replay)->stopped, "cuMemcpyDtoH_v2"));
	end();
}

Test(replay, stops_where_the_driver_answers_otherwise)
{
	struct fixture f = begin(HG_CALLS_ALL);
	uint64_t word[] = { BASE + SIZE - 1, 0, 100 };

	cr_assert(test_record(f.recorder, HG_ID_cuMemsetD8_v2, f.ctx, word, 3));
	cr_assert_eq(run(&f, &(struct hg_replay_options){ 0 }), HG_ERR_DIFFERS);
	cr_assert(strstr(hg_replay_report(replay)->stopped, "CUDA_ERROR_INVALID_VALUE"));
	end();
}

Test(replay, goes_no_further_than_it_is_told)
{
	struct fixture f = begin(HG_CALLS_ALL);
	unsigned char back;

	record_fill(&f, 0, 1, 1);
	record_fill(&f, 0, 2, 1);
	record_fill(&f, 0, 3, 1);
	cr_assert_eq(run(&f, &(struct hg_replay_options){ .has_to = true, .to = f.alloc + 2 }), HG_OK);
	cr_assert_eq(hg_driver_read(&back, BASE, 1), HG_OK);
	cr_assert_eq(back, 2);
	end();
	cr_assert_eq(run(&f, &(struct hg_replay_options){ .has_to = true, .to = f.alloc + 100 }), HG_ERR_REFUSED);
	end();
}

Test(replay, says_that_records_are_missing_and_stops_before_them)
{
	struct fixture f = begin(HG_CALLS_ALL);
	unsigned char back;

	record_fill(&f, 0, 1, 1);
	/* a number that no record ever came for */
	(void)hg_recorder_seq(f.recorder);
	hg_recorder_cancel(f.recorder);
	record_fill(&f, 0, 2, 1);
	cr_assert_eq(run(&f, NULL), HG_OK);
	cr_assert_eq(hg_driver_read(&back, BASE, 1), HG_OK);
	/* a cancelled number is no missing record */
	cr_assert_eq(back, 2, "stopped: %s", hg_replay_report(replay)->stopped);
	end();
}

Test(replay, without_payload_goes_as_far_as_the_first_bytes_it_lacks)
{
	struct fixture f = begin(HG_CALLS_ALL);
	struct hg_rec *rec;
	unsigned char back;

	record_fill(&f, 0, 9, 1);
	rec = hg_recorder_begin(f.recorder, hg_call_by_id(HG_ID_cuMemcpyHtoD_v2), hg_recorder_seq(f.recorder), 3, 8);
	rec->ctx = f.ctx;
	rec->word[0] = BASE;
	rec->word[1] = HG_BLOB(HG_BLOB_DIGEST, 16);
	rec->word[2] = 16;
	rec->word[3] = 77;
	hg_recorder_commit(f.recorder, rec);
	cr_assert_eq(run(&f, NULL), HG_OK);
	cr_assert(strstr(hg_replay_report(replay)->stopped, "were not kept"));
	cr_assert_eq(hg_driver_read(&back, BASE, 1), HG_OK);
	cr_assert_eq(back, 9);
	end();
}

Test(replay, asks_for_its_addresses_and_says_which_are_taken)
{
	struct fixture f = begin(HG_CALLS_ALL);
	void *p = mmap((void *)(BASE + 4096), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	struct hg_replay_options opt = { .target = &hg_target_cpu };
	uint64_t nr_taken = 0;

	cr_assert_eq(p, (void *)(BASE + 4096));
	hg_recorder_stop(f.recorder);
	open_log = test_open(f.dir);
	cr_assert_eq(hg_replay_open(open_log, &opt, on_taken, &nr_taken, &replay), HG_ERR_NOSPC);
	cr_assert_eq(nr_taken, 1u);
	munmap(p, 4096);
	cr_assert_eq(hg_replay_open(open_log, &opt, on_taken, &nr_taken, &replay), HG_OK);
	cr_assert_eq(hg_replay_run(replay), HG_OK);
	end();
}

Test(replay, refuses_a_snapshot_that_is_not_there_and_going_back)
{
	struct fixture f = begin(HG_CALLS_ALL);
	struct hg_replay_options opt = { .target = &hg_target_cpu, .has_snapshot = true, .snapshot = 9 };

	hg_recorder_stop(f.recorder);
	open_log = test_open(f.dir);
	cr_assert_eq(hg_replay_open(open_log, &opt, on_taken, NULL, &replay), HG_ERR_REFUSED);
	opt = (struct hg_replay_options){ .target = &hg_target_cpu, .has_snapshot = true, .snapshot = 1, .has_to = true,
					  .to = HG_ID_FIRST };
	cr_assert_eq(hg_replay_open(open_log, &opt, on_taken, NULL, &replay), HG_ERR_REFUSED);
	hg_log_close(open_log);
}

Test(places, survive_the_blob_and_nothing_else_does)
{
	const struct hg_place place[] = { { "a", 1, 2 }, { NULL, 3, 4 }, { "a longer name", 5, 6 } };
	struct hg_writer w = { 0 };
	struct hg_place *got;
	size_t nr;

	hg_places_encode(&w, place, 3);
	cr_assert_eq(w.size % 8, 0u);
	cr_assert_eq(hg_places_decode(w.data, w.size, &got, &nr), HG_OK);
	cr_assert_eq(nr, 3u);
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(got[i].addr, place[i].addr);
		cr_assert_eq(got[i].size, place[i].size);
		cr_assert(place[i].name ? got[i].name && !strcmp(got[i].name, place[i].name) : !got[i].name);
	}
	free(got);
	for (size_t cut = 1; cut < w.size; cut++) {
		struct hg_place *part = NULL;
		enum hg_status st = hg_places_decode(w.data, cut, &part, &nr);

		cr_assert(st == HG_ERR_CORRUPT || (st == HG_OK && nr < 3), "cut at %zu", cut);
		if (!st)
			free(part);
	}
	memset(w.data + 16, 0xff, 4);	/* a name of 4 GiB */
	cr_assert_eq(hg_places_decode(w.data, w.size, &got, &nr), HG_ERR_CORRUPT);
	cr_assert_eq(hg_places_decode(NULL, 0, &got, &nr), HG_OK);
	cr_assert_eq(nr, 0u);
	hg_writer_release(&w);
}

Test(reserve, holds_what_was_added_and_lets_go_of_parts)
{
	struct hg_reserve r = { 0 };
	const uint64_t start = BASE, page = 4096;
	uint64_t nr_taken = 0;
	void *p;

	cr_assert_eq(hg_reserve_add(&r, start + 10, 100, page), HG_OK);
	cr_assert_eq(hg_reserve_add(&r, start + 2 * page, page, page), HG_OK);
	cr_assert_eq(hg_reserve_add(&r, start + page, page + 1, page), HG_OK);
	cr_assert_eq(hg_reserve_add(&r, 0, 1, page), HG_ERR_CORRUPT);
	cr_assert_eq(hg_reserve_add(&r, UINT64_MAX, 8, page), HG_ERR_CORRUPT);
	cr_assert_eq(hg_reserve_hold(&r, on_taken, &nr_taken), HG_OK);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(mmap((void *)(start + (uint64_t)i * page), page, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), MAP_FAILED);
	cr_assert_eq(hg_reserve_release(&r, start + page + 5, 10, page), HG_OK);
	p = mmap((void *)(start + page), page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	cr_assert_eq(p, (void *)(start + page));
	cr_assert_eq(mmap((void *)start, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
		     MAP_FAILED);
	cr_assert_eq(hg_reserve_forget(&r, start + 2 * page, page), HG_OK);
	hg_reserve_fini(&r);
	/* what was let go, or forgotten, is left alone; the rest is free */
	cr_assert_eq(msync(p, page, MS_ASYNC), 0);
	cr_assert_eq(msync((void *)(start + 2 * page), page, MS_ASYNC), 0);
	cr_assert_neq(mmap((void *)start, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
		      MAP_FAILED);
}
