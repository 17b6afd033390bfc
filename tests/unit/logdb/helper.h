/* helper.h - small logs for tests: a directory, a recorder, records. */
#ifndef HG_TESTS_LOGDB_HELPER_H
#define HG_TESTS_LOGDB_HELPER_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>

#include "logdb/logdb.h"
#include "logdb/recorder.h"

/* A new directory that is not there yet, and goes when the test ends. */
const char *test_dir(void);
void test_remove(const char *dir);
/* A recorder into that directory with payload and tail mode; ends the test if it does not start. */
struct hg_recorder *test_start(const char *dir);
struct hg_recorder *test_start_with(const char *dir, enum hg_calls_mode calls, bool stacks);
struct hg_log *test_open(const char *dir);

/* One record each; they give the number it got, 0 if it was not recorded. */
uint64_t test_ctx(struct hg_recorder *r);
uint64_t test_alloc(struct hg_recorder *r, uint64_t ctx, uint64_t addr, uint64_t size);
uint64_t test_free(struct hg_recorder *r, uint64_t ctx, uint64_t addr);
uint64_t test_launch(struct hg_recorder *r, uint64_t ctx, uint64_t function, uint64_t mark);
uint64_t test_module(struct hg_recorder *r, uint64_t ctx, const void *image, size_t size);
uint64_t test_function(struct hg_recorder *r, uint64_t ctx, uint64_t module, const char *name);
uint64_t test_func_set(struct hg_recorder *r, uint64_t ctx, uint64_t function, uint32_t attribute, int value);
uint64_t test_h2d(struct hg_recorder *r, uint64_t ctx, uint64_t addr, const void *data, size_t size);
/* A record of any row with these words and no blobs. */
uint64_t test_record(struct hg_recorder *r, enum hg_call_id id, uint64_t ctx, const uint64_t *word, unsigned int n);

/*
 * Runs f on the recorder's checkpoint thread, as a request would: only there are the log's descriptors. A
 * recorder that was started with a config of the test's own needs .checkpoint = test_checkpoint.
 */
enum hg_status test_on_checkpoint(struct hg_recorder *r, enum hg_status (*f)(struct hg_recorder *r, void *arg), void *arg);
enum hg_status test_checkpoint(const struct hg_control *request, void *arg);

/* Memory of a device that is an ordinary buffer at a made-up address. */
struct test_memory {
	uint64_t addr;
	unsigned char *data;
	size_t size;
};
enum hg_status test_read(void *dst, uint64_t addr, size_t size, void *memory);
/* A snapshot of one region, on the checkpoint thread. */
enum hg_status test_snapshot(struct hg_recorder *r, const struct test_memory *m, uint64_t object, uint64_t *number,
			     uint64_t *written);

/* All records of a log by number. */
struct test_calls {
	uint64_t seq[100000];
	uint16_t call[100000];
	size_t nr;
};
const struct test_calls *test_calls(struct hg_log *log);
uint64_t test_nr_problems(struct hg_log *log);	/* what hg_log_check says; each is printed */
/* Runs f in a child; its wait status. */
int test_child(void (*f)(void *arg), void *arg);

#endif
