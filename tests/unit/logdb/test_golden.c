/* test_golden.c - logs of earlier versions must be read for ever; rows and versions of later ones are handled. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/msg.h"
#include "logdb/format.h"
#include "logdb/mdb.h"
#include "tests/unit/logdb/helper.h"

/* Tests run in the repository's root. */
#define GOLDEN "tests/golden/v1"

struct text {
	char *data;
	size_t size;
	FILE *f;
};

static enum hg_status print_call(const struct hg_rec_view *v, void *arg)
{
	struct text *t = arg;

	hg_rec_print(v, t->f);
	fputc('\n', t->f);
	return HG_OK;
}

static enum hg_status find_payload(const struct hg_rec_view *v, void *arg)
{
	struct hg_log *log = arg;
	unsigned char want[2000];
	void *data;
	size_t size;

	if (v->desc->op != HG_OP_H2D)
		return HG_OK;
	memset(want, 0x5a, sizeof(want));
	cr_assert_eq(hg_log_blob(log, v, 1, &data, &size), HG_OK);
	cr_assert_eq(size, sizeof(want));
	cr_assert_eq(memcmp(data, want, size), 0);
	free(data);
	return HG_OK;
}

static enum hg_status count_object(const struct hg_object *o, void *arg)
{
	uint64_t *n = arg;

	(*n)++;
	if (o->kind == HG_KIND_FUNCTION) {
		cr_assert_str_eq(o->name, "_Z6vecaddPKfS0_Pfi");
		cr_assert_eq(o->nr_set, 1);
		cr_assert_eq(o->set[0].rec->word[2], 98304);
	}
	return HG_OK;
}

static void compare_memory(struct hg_log *log, uint64_t number, unsigned char flip)
{
	const struct hg_snapshot *s;
	unsigned char got[20000];

	cr_assert_eq(hg_log_snapshot(log, number, &s), HG_OK);
	cr_assert_eq(s->regions[0].addr, 0x200000000000);
	cr_assert_eq(s->regions[0].size, sizeof(got));
	cr_assert_eq(s->regions[0].object, 20);
	cr_assert_str_eq(s->coverage, "{\"objects\":1}");
	cr_assert_eq(hg_log_region_read(log, s, 0, 0, got, sizeof(got)), HG_OK);
	for (size_t i = 0; i < sizeof(got); i++)
		cr_assert_eq(got[i], (unsigned char)((i * i >> 7) ^ (i ? 0 : flip)), "byte %zu", i);
}

Test(golden, a_log_of_version_1_is_read)
{
	static const char calls[] =
		"25 t1 cuMemcpyHtoD_v2(dstDevice=0x200000000000, srcHost=<2000 bytes, xxh3 9abe315176b7f1db, payload-2 at 0>, "
		"ByteCount=2000) = 0\n"
		"26 t1 cuStreamSynchronize(hStream=#22) = 0\n"
		"27 t1 cuLaunchKernel(f=#18, gx=0, gy=0, gz=0, bx=0, by=0, bz=0, shared=0, stream=NULL, flags=0, "
		"params=<8 bytes: 0000000000000000>) = 0\n";
	struct text t = { 0 };
	struct hg_log_info info;
	uint64_t now = 0, then = 0;
	struct hg_log *log = test_open(GOLDEN);

	hg_log_info(log, &info);
	cr_assert_eq(info.version, 1);
	cr_assert_eq(info.nr_records, 16);
	cr_assert_eq(info.nr_snapshots, 2);
	cr_assert_eq(info.nr_images, 1);
	cr_assert(!info.live && !info.snapshots_only);
	t.f = open_memstream(&t.data, &t.size);
	cr_assert_eq(hg_log_calls(log, 0, UINT64_MAX, print_call, &t), HG_OK);
	fclose(t.f);
	cr_assert_eq(strncmp(t.data, calls, sizeof(calls) - 1), 0, "%s", t.data);
	cr_assert_eq(hg_log_calls(log, 0, UINT64_MAX, find_payload, log), HG_OK);
	cr_assert_eq(hg_log_objects(log, 0, count_object, &now), HG_OK);
	cr_assert_eq(now, 5);
	/* the memory freed between the snapshots is there in the first */
	cr_assert_eq(hg_log_objects(log, 23, count_object, &then), HG_OK);
	cr_assert_eq(then, 6);
	compare_memory(log, 1, 0);
	compare_memory(log, 2, 1);
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
	free(t.data);
}

/* Writes into a finished log as another version of hgshim would have. */
static void put(const char *dir, const char *table, unsigned int flags, const void *key, size_t key_size,
		const void *data, size_t size)
{
	const struct hg_mdb *mdb;
	MDB_val k = { key_size, (void *)key }, d = { size, (void *)data };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	char path[4300];

	snprintf(path, sizeof(path), "%s/log.mdb", dir);
	cr_assert_eq(hg_mdb_load(&mdb), HG_OK);
	cr_assert_eq(mdb->env_create(&env), 0);
	cr_assert_eq(mdb->env_set_maxdbs(env, HG_DB_COUNT), 0);
	cr_assert_eq(mdb->env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600), 0);
	cr_assert_eq(mdb->txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb->dbi_open(txn, table, flags, &dbi), 0);
	cr_assert_eq(mdb->put(txn, dbi, &k, &d, 0), 0);
	cr_assert_eq(mdb->txn_commit(txn), 0);
	mdb->env_close(env);
}

static char said[2048];

static void keep(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	strncat(said, line, sizeof(said) - strlen(said) - 1);
}

Test(golden, a_log_of_a_later_version_is_refused_by_its_number)
{
	const char *dir = test_dir();
	uint64_t version = 99;
	struct hg_log *log;

	hg_recorder_stop(test_start(dir));
	put(dir, "meta", 0, "version", 7, &version, sizeof(version));
	hg_msg_sink_set(keep, NULL);
	cr_assert_eq(hg_log_open(dir, &log), HG_ERR_VERSION);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_not_null(strstr(said, "99"));
}

static void put_row(const char *dir, uint64_t id, const char *op, const char *name, const char *args, const char *signature)
{
	struct hg_writer w = { 0 };

	hg_write_u32(&w, 0);
	hg_write_str(&w, op);
	hg_write_str(&w, name);
	hg_write_str(&w, args);
	hg_write_str(&w, signature);
	put(dir, "schema", MDB_INTEGERKEY, &id, sizeof(id), w.data, w.size);
	hg_writer_release(&w);
}

Test(golden, a_call_that_this_hgshim_does_not_know_is_decoded_by_the_logs_own_table)
{
	static const struct hg_call_desc later = { .name = "cuLater", .op = HG_OP_NONE, .id = 500 };
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	uint64_t seq = hg_recorder_seq(r);
	struct hg_rec *rec = hg_recorder_begin(r, &later, seq, 2, 0);
	struct text t = { 0 };
	struct hg_log *log;

	rec->word[0] = 0x1234;
	rec->word[1] = 77;
	hg_recorder_commit(r, rec);
	hg_recorder_stop(r);
	put_row(dir, 500, "A_LATER_OP", "cuLater_v3", "(where, much)", "dptr size");
	log = test_open(dir);
	t.f = open_memstream(&t.data, &t.size);
	cr_assert_eq(hg_log_calls(log, 0, UINT64_MAX, print_call, &t), HG_OK);
	fclose(t.f);
	cr_assert_str_eq(t.data, "16 t1 cuLater_v3(where=0x1234, much=77) = 0\n");
	cr_assert_eq(test_nr_problems(log), 0);
	hg_log_close(log);
}

Test(golden, a_row_that_has_changed_since_is_decoded_as_it_was)
{
	const char *dir = test_dir();
	struct hg_recorder *r = test_start(dir);
	struct text t = { 0 };
	struct hg_log *log;

	test_alloc(r, 0, 0x1000, 64);
	hg_recorder_stop(r);
	put_row(dir, HG_ID_cuMemAlloc_v2, "ALLOC", "cuMemAlloc_v2", "(pointer, amount)", ">dptr size");
	log = test_open(dir);
	t.f = open_memstream(&t.data, &t.size);
	cr_assert_eq(hg_log_calls(log, 0, UINT64_MAX, print_call, &t), HG_OK);
	fclose(t.f);
	cr_assert_str_eq(t.data, "16 t1 cuMemAlloc_v2(pointer=0x1000, amount=64) = 0\n");
	hg_log_close(log);
}

Test(golden, a_row_that_makes_no_sense_is_damage)
{
	const char *dir = test_dir();
	struct hg_log *log;

	hg_recorder_stop(test_start(dir));
	put_row(dir, 500, "NONE", "cuX", "(a, b)", "dptr");
	hg_msg_sink_set(keep, NULL);
	cr_assert_eq(hg_log_open(dir, &log), HG_ERR_CORRUPT);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_neq(said[0], '\0');
}
