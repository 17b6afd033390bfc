/* logdb.c - reading a log. */
#define _GNU_SOURCE
#include "logdb/logdb.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/msg.h"
#include "logdb/logdb_impl.h"
#include "logdb/walk.h"

static enum hg_status corrupt(const struct hg_log *log, const char *what)
{
	pr_err("the log '%s' is damaged: %s", log->dir, what);
	return HG_ERR_CORRUPT;
}

enum hg_status hg_log_get(struct hg_log *log, enum hg_log_db db, const void *key, size_t size, MDB_val *out)
{
	MDB_val k = { .mv_size = size, .mv_data = (void *)key };

	return hg_from_mdb(log->mdb->get(log->txn, log->dbi[db], &k, out), "read the log");
}

static uint64_t meta_u64(struct hg_log *log, const char *key, uint64_t otherwise)
{
	uint64_t v = otherwise;
	MDB_val d;

	if (!hg_log_get(log, HG_DB_META, key, strlen(key), &d) && d.mv_size == sizeof(v))
		memcpy(&v, d.mv_data, sizeof(v));
	return v;
}

static char *meta_str(struct hg_log *log, const char *key)
{
	MDB_val d;

	if (hg_log_get(log, HG_DB_META, key, strlen(key), &d) || !d.mv_size)
		return NULL;
	return strndup(d.mv_data, d.mv_size);
}

/* Opening */

static enum hg_status open_dir(struct hg_log *log, const char *dir)
{
	struct stat s;

	if (!realpath(dir, log->dir)) {
		pr_err("cannot open the log '%s': %s", dir, strerror(errno));
		return errno == ENOENT ? HG_ERR_NOTFOUND : HG_ERR_IO;
	}
	log->dirfd = open(log->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (log->dirfd < 0) {
		pr_err("cannot open the log '%s': %s", dir, strerror(errno));
		return HG_ERR_IO;
	}
	if (fstatat(log->dirfd, "log.mdb", &s, 0) || !S_ISREG(s.st_mode)) {
		pr_err("'%s' is not a log: it has no file 'log.mdb'", dir);
		return HG_ERR_NOTFOUND;
	}
	return HG_OK;
}

/* The process keeps a lock on `control` for as long as it lives. */
static bool is_live(const struct hg_log *log)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = openat(log->dirfd, "control", O_RDONLY | O_CLOEXEC);
	bool live;

	if (fd < 0)
		return false;
	live = !fcntl(fd, F_GETLK, &l) && l.l_type != F_UNLCK;
	close(fd);
	return live;
}

static enum hg_status walk(struct hg_log *log, uint64_t txnid)
{
	enum hg_status st;
	int fd = openat(log->dirfd, "log.mdb", O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		pr_err("cannot open '%s/log.mdb': %s", log->dir, strerror(errno));
		return HG_ERR_IO;
	}
	st = hg_mdb_walk(fd, log->dir, txnid);
	close(fd);
	return st;
}

static enum hg_status open_env(struct hg_log *log)
{
	unsigned int flags = MDB_RDONLY | MDB_NOSUBDIR | MDB_NOTLS | (log->live ? 0 : MDB_NOLOCK);
	char path[PATH_MAX + 16];
	enum hg_status st;

	snprintf(path, sizeof(path), "%s/log.mdb", log->dir);
	st = hg_from_mdb(log->mdb->env_create(&log->env), "open the log");
	if (!st)
		st = hg_from_mdb(log->mdb->env_set_maxdbs(log->env, HG_DB_COUNT), "open the log");
	/* LMDB takes as much as there is, and not the size that a hostile file asks for; a live log may grow meanwhile */
	if (!st && !log->live)
		st = hg_from_mdb(log->mdb->env_set_mapsize(log->env, 1 << 20), "open the log");
	if (!st)
		st = hg_from_mdb(log->mdb->env_open(log->env, path, flags, 0600), "open the log");
	if (!st)
		st = hg_from_mdb(log->mdb->txn_begin(log->env, NULL, MDB_RDONLY, &log->txn), "read the log");
	return st;
}

static enum hg_status open_dbs(struct hg_log *log)
{
	static const struct {
		const char *name;
		unsigned int flags;
	} db[] = {
#define X(id, text, flags_) [HG_DB_##id] = { text, flags_ },
		HG_LOG_DBS(X)
#undef X
	};

	for (int i = 0; i < HG_DB_COUNT; i++) {
		enum hg_status st = hg_from_mdb(log->mdb->dbi_open(log->txn, db[i].name, db[i].flags, &log->dbi[i]),
						"open the log's tables");
		unsigned int flags;

		if (st == HG_ERR_NOTFOUND)
			return corrupt(log, "a table is missing");
		if (st)
			return st;
		if (log->mdb->dbi_flags(log->txn, log->dbi[i], &flags) || flags != db[i].flags)
			return corrupt(log, "a table is of the wrong kind");
	}
	return HG_OK;
}

/* The log's own rows */

const struct hg_call_row *hg_log_row(const struct hg_log *log, unsigned int call)
{
	if (call >= HG_CALL_ID_LIMIT)
		return NULL;
	return log->row[call] ? log->row[call] : hg_call_row(call);
}

static void row_free(struct hg_call_row *row)
{
	if (!row)
		return;
	free((void *)row->desc->name);
	free((void *)row->desc->args);
	free((void *)row->desc->signature);
	free((void *)row->desc);
	free(row);
}

static enum hg_op op_by_name(const char *name)
{
	for (int op = 0; op < HG_OP_COUNT; op++)
		if (!strcmp(hg_op_name((enum hg_op)op), name))
			return (enum hg_op)op;
	/* an operation of a newer hgshim: shown, and not replayed */
	return HG_OP_NONE;
}

static enum hg_status load_row(struct hg_log *log, uint64_t id, const MDB_val *d)
{
	const struct hg_call_desc *own = id < HG_CALL_ID_LIMIT ? hg_call_by_id((unsigned int)id) : NULL;
	const char *op, *name, *args, *signature;
	struct hg_call_desc *desc;
	struct hg_call_row *row;
	struct hg_reader r;

	hg_reader_init(&r, d->mv_data, d->mv_size);
	hg_read_u32(&r);
	op = hg_read_str(&r);
	name = hg_read_str(&r);
	args = hg_read_str(&r);
	signature = hg_read_str(&r);
	if (r.failed || id >= HG_CALL_ID_LIMIT)
		return corrupt(log, "a row of its table of calls does not decode");
	if (own && !strcmp(own->name, name) && !strcmp(own->args, args) && !strcmp(own->signature, signature) &&
	    !strcmp(hg_op_name(own->op), op))
		return HG_OK;

	row = calloc(1, sizeof(*row));
	desc = calloc(1, sizeof(*desc));
	if (!row || !desc) {
		free(row);
		free(desc);
		return HG_ERR_NOMEM;
	}
	row->desc = desc;
	desc->id = (uint16_t)id;
	desc->op = op_by_name(op);
	desc->irregular = true;
	desc->name = strdup(name);
	desc->args = strdup(args);
	desc->signature = strdup(signature);
	row->nr_args = hg_signature_parse(signature, args, row->arg);
	if (!desc->name || !desc->args || !desc->signature || row->nr_args < 0 || log->row[id]) {
		row_free(row);
		return corrupt(log, "a row of its table of calls makes no sense");
	}
	log->row[id] = row;
	return HG_OK;
}

/* Calls f for each entry of a table with u64 keys, or ends with its result. */
static enum hg_status each_u64(struct hg_log *log, enum hg_log_db db,
			       enum hg_status (*f)(struct hg_log *log, uint64_t key, const MDB_val *d))
{
	MDB_cursor *cursor;
	MDB_val k, d;
	enum hg_status st;
	int rc;

	st = hg_from_mdb(log->mdb->cursor_open(log->txn, log->dbi[db], &cursor), "read the log");
	if (st)
		return st;
	for (rc = log->mdb->cursor_get(cursor, &k, &d, MDB_FIRST); !rc && !st;
	     rc = log->mdb->cursor_get(cursor, &k, &d, MDB_NEXT)) {
		uint64_t key;

		memcpy(&key, k.mv_data, sizeof(key));
		st = f(log, key, &d);
	}
	log->mdb->cursor_close(cursor);
	if (!st && rc != MDB_NOTFOUND)
		st = hg_from_mdb(rc, "read the log");
	return st;
}

static enum hg_status load_object(struct hg_log *log, uint64_t id, const MDB_val *d)
{
	return hg_track_decode(&log->track, id, d->mv_data, d->mv_size);
}

static enum hg_status load_all(struct hg_log *log)
{
	uint64_t version = meta_u64(log, HG_META_VERSION, 0);
	enum hg_status st;

	if (!version)
		return corrupt(log, "it does not say its version");
	if (version > HG_LOG_VERSION) {
		pr_err("the log '%s' has version %" PRIu64 ", and this hgshim reads up to %d", log->dir, version,
		       HG_LOG_VERSION);
		return HG_ERR_VERSION;
	}
	log->horizon = meta_u64(log, HG_META_HORIZON, HG_ID_FIRST);
	log->holes_to = meta_u64(log, HG_META_HOLES_TO, 0);
	log->nr_late = meta_u64(log, HG_META_LATE, 0);
	log->gap_seq = meta_u64(log, HG_META_GAP_SEQ, 0);
	log->mode = meta_u64(log, HG_META_CALLS, HG_CALLS_TAIL);
	log->program = meta_str(log, HG_META_PROGRAM);
	log->executor = meta_str(log, HG_META_EXECUTOR);
	log->executor_now = meta_str(log, HG_META_EXECUTOR_NOW);
	log->gap_why = meta_str(log, HG_META_GAP_WHY);
	log->off_why = meta_str(log, HG_META_OFF_WHY);

	st = each_u64(log, HG_DB_SCHEMA, load_row);
	if (!st)
		st = each_u64(log, HG_DB_OBJECTS, load_object);
	if (!st && !log->live)
		st = hg_log_recover(log);
	for (size_t i = 0; i < log->nr_recovered && !st; i++) {
		const struct hg_rec *rec = log->recovered[i];
		struct hg_rec_view v;

		st = hg_rec_view_row(rec, rec->size, hg_log_row(log, rec->call), &v);
		if (!st)
			st = hg_track_apply(&log->track, &v);
	}
	return st;
}

enum hg_status hg_log_open(const char *dir, struct hg_log **out)
{
	struct hg_log *log;
	enum hg_status st;

	log = calloc(1, sizeof(*log));
	if (!log)
		return HG_ERR_NOMEM;
	log->dirfd = -1;
	log->pack_fd = -1;
	st = open_dir(log, dir);
	if (!st)
		st = hg_mdb_load(&log->mdb);
	if (st)
		goto err;
	log->live = is_live(log);
	/* LMDB trusts its file: look first, unless a live writer would change it under us */
	if (!log->live)
		st = walk(log, 0);
	if (!st)
		st = open_env(log);
	if (!st && log->live)
		st = walk(log, log->mdb->txn_id(log->txn));
	if (!st)
		st = open_dbs(log);
	if (!st)
		st = load_all(log);
	if (st)
		goto err;
	*out = log;
	return HG_OK;

err:
	hg_log_close(log);
	return st;
}

enum hg_status hg_log_share(const struct hg_mdb *mdb, MDB_env *env, const MDB_dbi *dbi, const char *dir, int dirfd,
			    void (*end)(void *arg), void *arg, struct hg_log **out)
{
	struct hg_log *log = calloc(1, sizeof(*log));
	enum hg_status st;

	if (!log) {
		end(arg);
		return HG_ERR_NOMEM;
	}
	log->mdb = mdb;
	log->env = env;
	log->end = end;
	log->end_arg = arg;
	log->pack_fd = -1;
	log->live = true;
	memcpy(log->dbi, dbi, sizeof(log->dbi));
	snprintf(log->dir, sizeof(log->dir), "%s", dir);
	/* where the writer's own are, out of the application's way */
	log->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, dirfd);
	if (log->dirfd < 0) {
		pr_err("cannot open the log '%s': %s", dir, strerror(errno));
		st = HG_ERR_IO;
		goto err;
	}
	st = hg_from_mdb(mdb->txn_begin(env, NULL, MDB_RDONLY, &log->txn), "read the log");
	if (!st)
		st = load_all(log);
	if (st)
		goto err;
	*out = log;
	return HG_OK;

err:
	hg_log_close(log);
	return st;
}

static void snap_free(struct hg_log_snap *s)
{
	free(s->manifest);
	free(s->regions);
	free(s->digests);
	free(s->keys);
	free(s);
}

void hg_log_close(struct hg_log *log)
{
	if (!log)
		return;
	if (log->txn)
		log->mdb->txn_abort(log->txn);
	if (log->end)
		log->end(log->end_arg);
	else if (log->env)
		log->mdb->env_close(log->env);
	for (unsigned int i = 0; i < HG_CALL_ID_LIMIT; i++)
		row_free(log->row[i]);
	hg_track_release(&log->track);
	while (log->snaps) {
		struct hg_log_snap *next = log->snaps->next;

		snap_free(log->snaps);
		log->snaps = next;
	}
	while (log->images) {
		struct hg_log_image_copy *next = log->images->next;

		free(log->images->data);
		free(log->images);
		log->images = next;
	}
	free(log->recovered);
	free(log->special);
	free(log->ring);
	free(log->program);
	free(log->executor);
	free(log->executor_now);
	free(log->gap_why);
	free(log->off_why);
	free(log->chunk);
	free(log->block);
	if (log->pack_fd >= 0)
		close(log->pack_fd);
	if (log->dirfd >= 0)
		close(log->dirfd);
	free(log);
}

/* Information */

static void add_file_sizes(struct hg_log *log, struct hg_log_info *out)
{
	int fd = openat(log->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	while (d) {
		struct stat s;

		e = readdir(d);
		if (!e)
			break;
		if (fstatat(log->dirfd, e->d_name, &s, AT_SYMLINK_NOFOLLOW))
			continue;
		if (!strcmp(e->d_name, "log.mdb"))
			out->bytes_lmdb = (uint64_t)s.st_size;
		else if (!strncmp(e->d_name, "pack-", 5))
			out->bytes_packs += (uint64_t)s.st_size;
		else if (!strncmp(e->d_name, "payload-", 8))
			out->bytes_payload += (uint64_t)s.st_size;
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

static uint64_t entries(struct hg_log *log, enum hg_log_db db)
{
	MDB_stat stat;

	return log->mdb->stat(log->txn, log->dbi[db], &stat) ? 0 : stat.ms_entries;
}

static void seq_range(struct hg_log *log, struct hg_log_info *out)
{
	MDB_cursor *cursor;
	MDB_val k, d;
	struct hg_block b;

	if (log->mdb->cursor_open(log->txn, log->dbi[HG_DB_CALLS], &cursor))
		return;
	if (!log->mdb->cursor_get(cursor, &k, &d, MDB_FIRST))
		memcpy(&out->first_seq, k.mv_data, sizeof(out->first_seq));
	if (!log->mdb->cursor_get(cursor, &k, &d, MDB_LAST) && d.mv_size >= sizeof(b)) {
		memcpy(&b, d.mv_data, sizeof(b));
		out->last_seq = b.last_seq;
	}
	log->mdb->cursor_close(cursor);
	if (log->nr_recovered) {
		if (!out->first_seq)
			out->first_seq = log->recovered[0]->seq;
		out->last_seq = log->recovered[log->nr_recovered - 1]->seq;
	}
}

/* An image has a key for each of its parts; the first one's index is 0. */
static uint64_t count_images(struct hg_log *log)
{
	MDB_cursor *cursor;
	MDB_val k, d;
	uint64_t n = 0;
	int rc;

	if (log->mdb->cursor_open(log->txn, log->dbi[HG_DB_IMAGES], &cursor))
		return 0;
	for (rc = log->mdb->cursor_get(cursor, &k, &d, MDB_FIRST); !rc;
	     rc = log->mdb->cursor_get(cursor, &k, &d, MDB_NEXT))
		n += k.mv_size == 20 && !memcmp((const char *)k.mv_data + 16, "\0\0\0\0", 4);
	log->mdb->cursor_close(cursor);
	for (size_t i = 0; i < log->nr_special; i++)
		n += log->special[i]->call == HG_REC_IMAGE && !log->special[i]->word[HG_IMAGE_INDEX];
	return n;
}

void hg_log_info(struct hg_log *log, struct hg_log_info *out)
{
	memset(out, 0, sizeof(*out));
	out->version = (uint32_t)meta_u64(log, HG_META_VERSION, 0);
	out->pid = (uint32_t)meta_u64(log, HG_META_PID, 0);
	out->live = log->live;
	out->program = log->program ? log->program : "";
	out->executor = log->executor ? log->executor : "";
	out->executor_now = log->executor_now ? log->executor_now : out->executor;
	out->executor_seq = log->executor_now ? meta_u64(log, HG_META_EXECUTOR_SEQ, 0) : 0;
	out->started_unix_ns = meta_u64(log, HG_META_STARTED, 0);
	out->nr_recovered = log->nr_recovered;
	out->nr_records = meta_u64(log, HG_META_RECORDS, 0) + log->nr_recovered;
	out->nr_dropped = meta_u64(log, HG_META_DROPPED, 0) + log->nr_ring_dropped + log->nr_lost;
	seq_range(log, out);
	for (size_t i = 0; i < log->track.nr_obj; i++)
		out->nr_objects_live += !log->track.obj[i]->died;
	out->nr_snapshots = entries(log, HG_DB_SNAPSHOTS);
	out->nr_images = count_images(log);
	add_file_sizes(log, out);

	if (log->mode == HG_CALLS_OBJECTS)
		out->snapshots_only_why = "HGSHIM_CALLS=objects";
	else if (log->gap_seq)
		out->snapshots_only_why = log->gap_why ? log->gap_why : "records are missing";
	else if (log->ring_gap)
		out->snapshots_only_why = "the log could not keep up: launches were dropped";
	else if (log->off_why)
		out->snapshots_only_why = log->off_why;
	else if (log->ring_damaged)
		out->snapshots_only_why = "the ring is damaged";
	out->snapshots_only = out->snapshots_only_why != NULL;
}

static bool is_call_of(const struct hg_rec *rec, const void *symbol, size_t size)
{
	return rec->call == HG_REC_UNSUPPORTED && rec->word[0] == size && !memcmp(&rec->word[1], symbol, size);
}

/* Adds up what is stored and what is in the ring. */
static int one_unsupported(struct hg_log *log, const void *name, size_t size, uint64_t count,
			   int (*each)(const char *symbol, uint64_t count, void *arg), void *arg)
{
	char symbol[512];

	if (size >= sizeof(symbol))
		return 0;
	memcpy(symbol, name, size);
	symbol[size] = '\0';
	for (size_t i = 0; i < log->nr_special; i++)
		count += is_call_of(log->special[i], name, size);
	return each(symbol, count, arg);
}

int hg_log_unsupported(struct hg_log *log, int (*each)(const char *symbol, uint64_t count, void *arg), void *arg)
{
	MDB_cursor *cursor;
	MDB_val k, d;
	int rc, stop = 0;

	if (log->mdb->cursor_open(log->txn, log->dbi[HG_DB_UNSUPPORTED], &cursor))
		return 0;
	for (rc = log->mdb->cursor_get(cursor, &k, &d, MDB_FIRST); !rc && !stop;
	     rc = log->mdb->cursor_get(cursor, &k, &d, MDB_NEXT)) {
		uint64_t count = 0;

		if (d.mv_size == sizeof(count))
			memcpy(&count, d.mv_data, sizeof(count));
		stop = one_unsupported(log, k.mv_data, k.mv_size, count, each, arg);
	}
	log->mdb->cursor_close(cursor);
	/* symbols that the writer never came to, at their first mention */
	for (size_t i = 0; i < log->nr_special && !stop; i++) {
		const struct hg_rec *rec = log->special[i];
		bool again = rec->call != HG_REC_UNSUPPORTED || !rec->word[0] ||
			     !hg_log_get(log, HG_DB_UNSUPPORTED, &rec->word[1], rec->word[0], &d);

		for (size_t k2 = 0; k2 < i && !again; k2++)
			again = is_call_of(log->special[k2], &rec->word[1], rec->word[0]);
		if (!again)
			stop = one_unsupported(log, &rec->word[1], rec->word[0], 0, each, arg);
	}
	return stop;
}

/* Records */

enum hg_status hg_log_block(struct hg_log *log, uint64_t key, const MDB_val *v, uint64_t first, uint64_t last,
			    enum hg_status (*each)(const struct hg_rec_view *v, void *arg), void *arg)
{
	const unsigned char *at;
	struct hg_block b;
	size_t left;
	uint64_t previous = 0;

	if (v->mv_size < sizeof(b))
		return corrupt(log, "a block of records is cut short");
	memcpy(&b, v->mv_data, sizeof(b));
	left = v->mv_size - sizeof(b);
	if (b.magic != HG_BLOCK_MAGIC || b.bytes != left)
		return corrupt(log, "a block of records has a wrong header");
	if (hg_hash64((const char *)v->mv_data + sizeof(b), left) != b.checksum)
		return corrupt(log, "a block of records does not have its checksum");

	/* copied: LMDB aligns to two bytes, and the caller may keep nothing anyway */
	if (left > log->block_capacity) {
		unsigned char *block = realloc(log->block, left);

		if (!block)
			return HG_ERR_NOMEM;
		log->block = block;
		log->block_capacity = left;
	}
	if (left)
		memcpy(log->block, (const char *)v->mv_data + sizeof(b), left);
	at = log->block;
	for (uint32_t i = 0; i < b.nr_records; i++) {
		const struct hg_rec *rec = (const struct hg_rec *)at;
		struct hg_rec_view view;
		enum hg_status st;

		if (left < sizeof(*rec) || rec->size > left || rec->size < sizeof(*rec) || rec->size & 7)
			return corrupt(log, "a block of records is cut short");
		if ((!i && rec->seq != key) || rec->seq <= previous)
			return corrupt(log, "records are out of order");
		previous = rec->seq;
		if (rec->seq >= first && rec->seq <= last) {
			st = hg_rec_view_row(rec, rec->size, hg_log_row(log, rec->call), &view);
			if (!st)
				st = each(&view, arg);
			if (st)
				return st;
		}
		at += rec->size;
		left -= rec->size;
	}
	if (left || previous != b.last_seq)
		return corrupt(log, "a block of records has a wrong header");
	return HG_OK;
}

static enum hg_status stored_calls(struct hg_log *log, uint64_t first, uint64_t last,
				   enum hg_status (*each)(const struct hg_rec_view *v, void *arg), void *arg)
{
	MDB_val k = { .mv_size = sizeof(first), .mv_data = &first }, d;
	MDB_cursor *cursor;
	enum hg_status st;
	int rc;

	st = hg_from_mdb(log->mdb->cursor_open(log->txn, log->dbi[HG_DB_CALLS], &cursor), "read the log");
	if (st)
		return st;
	/* the block before the first one that begins behind `first` may reach into the range */
	rc = log->mdb->cursor_get(cursor, &k, &d, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		rc = log->mdb->cursor_get(cursor, &k, &d, MDB_LAST);
	else if (!rc && log->mdb->cursor_get(cursor, &k, &d, MDB_PREV) == MDB_NOTFOUND)
		rc = log->mdb->cursor_get(cursor, &k, &d, MDB_FIRST);
	for (; !rc && !st; rc = log->mdb->cursor_get(cursor, &k, &d, MDB_NEXT)) {
		uint64_t key;

		memcpy(&key, k.mv_data, sizeof(key));
		if (key > last)
			break;
		st = hg_log_block(log, key, &d, first, last, each, arg);
	}
	log->mdb->cursor_close(cursor);
	if (!st && rc && rc != MDB_NOTFOUND)
		st = hg_from_mdb(rc, "read the log");
	return st;
}

enum hg_status hg_log_calls(struct hg_log *log, uint64_t first, uint64_t last,
			    enum hg_status (*each)(const struct hg_rec_view *v, void *arg), void *arg)
{
	enum hg_status st = stored_calls(log, first, last, each, arg);

	for (size_t i = 0; i < log->nr_recovered && !st; i++) {
		const struct hg_rec *rec = log->recovered[i];
		struct hg_rec_view v;

		if (rec->seq < first || rec->seq > last)
			continue;
		st = hg_rec_view_row(rec, rec->size, hg_log_row(log, rec->call), &v);
		if (!st)
			st = each(&v, arg);
	}
	return st;
}

/* Objects */

enum hg_status hg_log_objects(struct hg_log *log, uint64_t seq,
			      enum hg_status (*each)(const struct hg_object *o, void *arg), void *arg)
{
	enum hg_status st = HG_OK;

	for (size_t i = 0; i < log->track.nr_obj && !st; i++) {
		const struct hg_tracked *t = log->track.obj[i];
		struct hg_rec_view *set = NULL;
		struct hg_object o = {
			.id = t->id, .kind = t->kind, .handle = t->handle, .size = t->size, .parent = t->parent,
			.born_seq = t->born, .died_seq = t->died, .name = t->name,
		};

		if (seq ? t->born > seq || (t->died && t->died <= seq) : t->died != 0)
			continue;
		st = hg_rec_view_row(t->created, t->created->size, hg_log_row(log, t->created->call), &o.created);
		if (st)
			break;
		if (t->nr_set) {
			set = calloc(t->nr_set, sizeof(*set));
			if (!set)
				return HG_ERR_NOMEM;
		}
		for (size_t k = 0; k < t->nr_set && !st; k++) {
			const struct hg_rec *rec = t->set[k];

			/* what was set behind the state asked for is not part of it */
			if (seq && rec->seq > seq)
				continue;
			st = hg_rec_view_row(rec, rec->size, hg_log_row(log, rec->call), &set[o.nr_set++]);
		}
		o.set = set;
		if (!st)
			st = each(&o, arg);
		free(set);
	}
	return st;
}

static enum hg_status each_kernel(struct hg_log *log, uint64_t id, const MDB_val *d,
				  enum hg_status (*each)(const struct hg_log_kernel *k, void *arg), void *arg)
{
	struct hg_log_kernel k = { .id = id };
	struct hg_reader r;
	const void *image;

	hg_reader_init(&r, d->mv_data, d->mv_size);
	k.module = hg_read_u64(&r);
	image = hg_read_bytes(&r, sizeof(k.image));
	k.name = hg_read_str(&r);
	if (r.failed)
		return corrupt(log, "an entry of its table of kernels does not decode");
	memcpy(k.image, image, sizeof(k.image));
	return each(&k, arg);
}

/* A kernel of the recovered tail, which the writer had not come to. */
static enum hg_status recovered_kernel(struct hg_log *log, const struct hg_tracked *o,
				       enum hg_status (*each)(const struct hg_log_kernel *k, void *arg), void *arg)
{
	struct hg_log_kernel k = { .id = o->id, .name = o->name };
	const struct hg_tracked *m = o;
	struct hg_rec_view v;

	while (m->parent && m->kind != HG_KIND_LIBRARY) {
		const struct hg_tracked *parent = hg_track_find(&log->track, m->parent);

		if (!parent || parent->kind == HG_KIND_CTX)
			break;
		m = parent;
	}
	k.module = m->id;
	if (!hg_rec_view_row(m->created, m->created->size, hg_log_row(log, m->created->call), &v))
		for (int i = 0; i < v.nr_args; i++)
			if (v.arg[i].kind == HG_KIND_IMAGE && hg_blob_enc(v.rec->word[i]) == HG_BLOB_IMAGE)
				memcpy(k.image, v.blob[i], sizeof(k.image));
	return each(&k, arg);
}

enum hg_status hg_log_kernels(struct hg_log *log, enum hg_status (*each)(const struct hg_log_kernel *k, void *arg),
			      void *arg)
{
	MDB_cursor *cursor;
	MDB_val k, d;
	enum hg_status st;
	int rc;

	st = hg_from_mdb(log->mdb->cursor_open(log->txn, log->dbi[HG_DB_KERNELS], &cursor), "read the log");
	if (st)
		return st;
	for (rc = log->mdb->cursor_get(cursor, &k, &d, MDB_FIRST); !rc && !st;
	     rc = log->mdb->cursor_get(cursor, &k, &d, MDB_NEXT)) {
		uint64_t id;

		memcpy(&id, k.mv_data, sizeof(id));
		st = each_kernel(log, id, &d, each, arg);
	}
	log->mdb->cursor_close(cursor);
	for (size_t i = 0; i < log->track.nr_obj && !st; i++) {
		const struct hg_tracked *o = log->track.obj[i];

		if (o->kind == HG_KIND_FUNCTION && o->name && o->born >= log->horizon)
			st = recovered_kernel(log, o, each, arg);
	}
	return st;
}

/* Contents */

static enum hg_status read_payload(struct hg_log *log, const struct hg_payload_ref *ref, uint64_t length, void **out)
{
	unsigned char *data;
	char name[32];
	uint64_t in_file = 0, in_ring = 0;
	struct stat s;
	int fd;

	if (ref->offset > UINT64_C(1) << 48)
		return corrupt(log, "a reference into a payload file makes no sense");
	snprintf(name, sizeof(name), HG_PAYLOAD_NAME, ref->file);
	fd = openat(log->dirfd, name, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !fstat(fd, &s) && (uint64_t)s.st_size > ref->offset)
		in_file = (uint64_t)s.st_size - ref->offset;
	for (size_t i = 0; i < log->nr_special; i++)
		if (log->special[i]->call == HG_REC_PAYLOAD && log->special[i]->word[HG_PAYLOAD_FILE] == ref->file)
			in_ring += log->special[i]->word[HG_PAYLOAD_LENGTH];
	/* before any memory is asked for: a hostile length */
	if (length > in_file + in_ring) {
		pr_err("the log '%s' does not have the data of a copy to the device any more ('%s')", log->dir, name);
		if (fd >= 0)
			close(fd);
		return HG_ERR_NOTFOUND;
	}
	data = calloc(1, length ? length : 1);
	if (!data) {
		if (fd >= 0)
			close(fd);
		return HG_ERR_NOMEM;
	}
	for (uint64_t at = 0; fd >= 0 && at < length;) {
		ssize_t n = pread(fd, data + at, length - at, (off_t)(ref->offset + at));

		if (n <= 0)
			break;
		at += (uint64_t)n;
	}
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < log->nr_special; i++) {
		const struct hg_rec *rec = log->special[i];
		uint64_t from, to;

		if (rec->call != HG_REC_PAYLOAD || rec->word[HG_PAYLOAD_FILE] != ref->file)
			continue;
		from = rec->word[HG_PAYLOAD_OFFSET];
		to = from + rec->word[HG_PAYLOAD_LENGTH];
		if (from >= ref->offset && to <= ref->offset + length)
			memcpy(data + (from - ref->offset), &rec->word[HG_PAYLOAD_NR_WORDS], to - from);
	}
	if (hg_hash64(data, length) != ref->digest) {
		free(data);
		return corrupt(log, "the data of a copy to the device does not have its checksum");
	}
	*out = data;
	return HG_OK;
}

enum hg_status hg_log_blob(struct hg_log *log, const struct hg_rec_view *v, int arg, void **data, size_t *size)
{
	uint64_t word, length;
	struct hg_payload_ref ref;
	const void *from;
	enum hg_status st;
	void *copy;

	if (arg < 0 || arg >= v->nr_args || !hg_arg_is_blob(&v->arg[arg]))
		return HG_ERR_INVALID;
	word = v->rec->word[arg];
	length = hg_blob_len(word);
	switch (hg_blob_enc(word)) {
	case HG_BLOB_INLINE:
		from = v->blob[arg];
		break;
	case HG_BLOB_IMAGE:
		st = hg_log_image(log, v->blob[arg], &from, &length);
		if (st)
			return st;
		break;
	case HG_BLOB_PAYLOAD:
		memcpy(&ref, v->blob[arg], sizeof(ref));
		st = read_payload(log, &ref, length, &copy);
		if (st)
			return st;
		*data = copy;
		*size = length;
		return HG_OK;
	default:
		return HG_ERR_NOTFOUND;
	}
	copy = malloc(length ? length : 1);
	if (!copy)
		return HG_ERR_NOMEM;
	if (length)
		memcpy(copy, from, length);
	*data = copy;
	*size = length;
	return HG_OK;
}

/* A part of an image, from LMDB or from the ring; false when there is none. */
static bool image_part(struct hg_log *log, const unsigned char key[16], uint32_t index, const unsigned char **data,
		       size_t *size, uint64_t *total)
{
	unsigned char full[20];
	MDB_val d;

	memcpy(full, key, 16);
	for (int i = 0; i < 4; i++)
		full[16 + i] = (unsigned char)(index >> (24 - 8 * i));
	if (!hg_log_get(log, HG_DB_IMAGES, full, sizeof(full), &d) && d.mv_size >= sizeof(struct hg_image_part)) {
		struct hg_image_part part;

		memcpy(&part, d.mv_data, sizeof(part));
		*total = part.total;
		*data = (const unsigned char *)d.mv_data + sizeof(part);
		*size = d.mv_size - sizeof(part);
		return true;
	}
	for (size_t i = 0; i < log->nr_special; i++) {
		const struct hg_rec *rec = log->special[i];

		if (rec->call == HG_REC_IMAGE && rec->word[HG_IMAGE_INDEX] == index &&
		    !memcmp(&rec->word[HG_IMAGE_KEY0], key, 16)) {
			*total = rec->word[HG_IMAGE_TOTAL];
			*data = (const unsigned char *)&rec->word[HG_IMAGE_NR_WORDS];
			*size = rec->word[HG_IMAGE_LENGTH];
			return true;
		}
	}
	return false;
}

enum hg_status hg_log_image(struct hg_log *log, const unsigned char key[16], const void **data, size_t *size)
{
	struct hg_log_image_copy *copy;
	struct hg_writer w = { 0 };
	const unsigned char *part;
	uint64_t total = 0;
	struct hg_key128 hash;
	size_t part_size;

	for (copy = log->images; copy; copy = copy->next)
		if (!memcmp(copy->key.bytes, key, 16))
			goto found;
	for (uint32_t i = 0; image_part(log, key, i, &part, &part_size, &total); i++) {
		hg_write_bytes(&w, part, part_size);
		if (w.failed || w.size >= total)
			break;
	}
	hash = hg_hash128(w.data, w.size);
	if (w.failed || w.size != total || memcmp(hash.bytes, key, 16)) {
		bool failed = w.failed;

		hg_writer_release(&w);
		return failed ? HG_ERR_NOMEM : corrupt(log, "a code image is missing or does not have its checksum");
	}
	copy = calloc(1, sizeof(*copy));
	if (!copy) {
		hg_writer_release(&w);
		return HG_ERR_NOMEM;
	}
	memcpy(copy->key.bytes, key, 16);
	copy->data = w.data;
	copy->size = w.size;
	copy->next = log->images;
	log->images = copy;
found:
	*data = copy->data;
	*size = copy->size;
	return HG_OK;
}

/* Snapshots */

static enum hg_status parse_manifest(struct hg_log *log, uint64_t number, const MDB_val *d, struct hg_log_snap **out)
{
	struct hg_log_snap *s = calloc(1, sizeof(*s));
	enum hg_status st = HG_ERR_NOMEM;
	uint64_t checksum;
	struct hg_reader r;
	uint32_t version, flags, has_coverage, nr;
	const char *coverage;

	if (!s)
		return HG_ERR_NOMEM;
	s->manifest = malloc(d->mv_size ? d->mv_size : 1);
	if (!s->manifest)
		goto err;
	memcpy(s->manifest, d->mv_data, d->mv_size);
	st = HG_ERR_CORRUPT;
	if (d->mv_size < sizeof(checksum))
		goto damaged;
	memcpy(&checksum, (char *)s->manifest + d->mv_size - sizeof(checksum), sizeof(checksum));
	if (hg_hash64(s->manifest, d->mv_size - sizeof(checksum)) != checksum)
		goto damaged;
	hg_reader_init(&r, s->manifest, d->mv_size - sizeof(checksum));
	version = hg_read_u32(&r);
	flags = hg_read_u32(&r);
	s->pub.number = number;
	s->pub.seq = hg_read_u64(&r);
	s->pub.taken_unix_ns = hg_read_u64(&r);
	s->pub.stall_ns = hg_read_u64(&r);
	s->pub.bytes = hg_read_u64(&r);
	s->pub.bytes_written = hg_read_u64(&r);
	has_coverage = hg_read_u32(&r);
	nr = hg_read_u32(&r);
	coverage = hg_read_str(&r);
	s->pub.partial = flags & 1;
	s->pub.coverage = has_coverage ? coverage : NULL;
	/* a region takes 44 bytes at least */
	if (r.failed || version != 1 || nr > hg_reader_left(&r) / 44)
		goto damaged;
	s->regions = calloc(nr + 1, sizeof(*s->regions));
	s->digests = calloc(nr + 1, sizeof(*s->digests));
	s->keys = calloc(nr + 1, sizeof(*s->keys));
	st = HG_ERR_NOMEM;
	if (!s->regions || !s->digests || !s->keys)
		goto err;
	st = HG_ERR_CORRUPT;
	for (uint32_t i = 0; i < nr; i++) {
		struct hg_region *region = &s->regions[i];
		uint32_t nr_chunks;

		region->addr = hg_read_u64(&r);
		region->size = hg_read_u64(&r);
		region->object = hg_read_u64(&r);
		region->kind = (enum hg_region_kind)hg_read_u32(&r);
		nr_chunks = hg_read_u32(&r);
		s->digests[i] = hg_read_u64(&r);
		region->name = hg_read_str(&r);
		s->keys[i] = hg_read_bytes(&r, (size_t)nr_chunks * 16);
		if (r.failed || region->size / HG_CHUNK_SIZE + !!(region->size % HG_CHUNK_SIZE) != nr_chunks ||
		    region->addr + region->size < region->addr)
			goto damaged;
		if (!region->name[0])
			region->name = NULL;
	}
	if (hg_reader_left(&r))
		goto damaged;
	s->pub.nr_regions = nr;
	s->pub.regions = s->regions;
	s->pub.digests = s->digests;
	*out = s;
	return HG_OK;

damaged:
	pr_err("the log '%s' is damaged: snapshot %" PRIu64 " does not decode", log->dir, number);
err:
	snap_free(s);
	return st;
}

enum hg_status hg_log_snapshot(struct hg_log *log, uint64_t number, const struct hg_snapshot **out)
{
	struct hg_log_snap *s;
	MDB_cursor *cursor;
	MDB_val k, d;
	enum hg_status st;

	if (!number) {
		st = hg_from_mdb(log->mdb->cursor_open(log->txn, log->dbi[HG_DB_SNAPSHOTS], &cursor), "read the log");
		if (st)
			return st;
		st = hg_from_mdb(log->mdb->cursor_get(cursor, &k, &d, MDB_LAST), "read the log");
		if (!st)
			memcpy(&number, k.mv_data, sizeof(number));
		log->mdb->cursor_close(cursor);
		if (st)
			return st;
	}
	for (s = log->snaps; s; s = s->next)
		if (s->pub.number == number)
			break;
	if (!s) {
		st = hg_log_get(log, HG_DB_SNAPSHOTS, &number, sizeof(number), &d);
		if (st == HG_ERR_NOTFOUND)
			pr_err("the log '%s' has no snapshot %" PRIu64, log->dir, number);
		if (!st)
			st = parse_manifest(log, number, &d, &s);
		if (st)
			return st;
		s->next = log->snaps;
		log->snaps = s;
	}
	*out = &s->pub;
	return HG_OK;
}

uint64_t hg_log_snapshot_next(struct hg_log *log, uint64_t after)
{
	uint64_t number = after + 1;
	MDB_val k = { .mv_size = sizeof(number), .mv_data = &number }, d;
	MDB_cursor *cursor;
	bool found;

	if (log->mdb->cursor_open(log->txn, log->dbi[HG_DB_SNAPSHOTS], &cursor))
		return 0;
	found = !log->mdb->cursor_get(cursor, &k, &d, MDB_SET_RANGE);
	if (found)
		memcpy(&number, k.mv_data, sizeof(number));
	log->mdb->cursor_close(cursor);
	return found ? number : 0;
}

static enum hg_status open_pack(struct hg_log *log, uint32_t pack)
{
	char name[32];

	if (log->pack_fd >= 0 && log->pack == pack)
		return HG_OK;
	if (log->pack_fd >= 0)
		close(log->pack_fd);
	snprintf(name, sizeof(name), HG_PACK_NAME, pack);
	log->pack = pack;
	log->pack_fd = openat(log->dirfd, name, O_RDONLY | O_CLOEXEC);
	if (log->pack_fd < 0) {
		pr_err("cannot open '%s/%s': %s", log->dir, name, strerror(errno));
		return errno == ENOENT ? HG_ERR_CORRUPT : HG_ERR_IO;
	}
	return HG_OK;
}

enum hg_status hg_log_chunk(struct hg_log *log, const unsigned char key[16], size_t size, const unsigned char **data)
{
	struct hg_chunk chunk;
	struct hg_key128 hash;
	enum hg_status st;
	MDB_val d;

	if (!log->chunk) {
		log->chunk = malloc(HG_CHUNK_SIZE);
		if (!log->chunk)
			return HG_ERR_NOMEM;
	}
	if (log->chunk_size == size && !memcmp(log->chunk_key.bytes, key, 16)) {
		*data = log->chunk;
		return HG_OK;
	}
	st = hg_log_get(log, HG_DB_CHUNKS, key, 16, &d);
	if (st == HG_ERR_NOTFOUND)
		return corrupt(log, "a chunk of a snapshot is missing");
	if (st)
		return st;
	if (d.mv_size != sizeof(chunk))
		return corrupt(log, "an entry of its table of chunks does not decode");
	memcpy(&chunk, d.mv_data, sizeof(chunk));
	if (chunk.size != size || size > HG_CHUNK_SIZE || chunk.offset > UINT64_C(1) << 62)
		return corrupt(log, "an entry of its table of chunks makes no sense");
	st = open_pack(log, chunk.pack);
	if (st)
		return st;
	log->chunk_size = 0;
	for (size_t at = 0; at < size;) {
		ssize_t n = pread(log->pack_fd, log->chunk + at, size - at, (off_t)(chunk.offset + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			pr_err("cannot read '%s/" HG_PACK_NAME "': %s", log->dir, chunk.pack, strerror(errno));
			return HG_ERR_IO;
		}
		if (!n)
			return corrupt(log, "a pack file is cut short");
		at += (size_t)n;
	}
	hash = hg_hash128(log->chunk, size);
	if (memcmp(hash.bytes, key, 16))
		return corrupt(log, "a chunk of a snapshot does not have its checksum");
	log->chunk_key = hash;
	log->chunk_size = size;
	*data = log->chunk;
	return HG_OK;
}

enum hg_status hg_log_region_read(struct hg_log *log, const struct hg_snapshot *snapshot, size_t region,
				  uint64_t offset, void *dst, size_t size)
{
	static const unsigned char zero[16];
	const struct hg_log_snap *s = (const struct hg_log_snap *)snapshot;
	const struct hg_region *r;
	unsigned char *out = dst;

	if (region >= snapshot->nr_regions)
		return HG_ERR_INVALID;
	r = &snapshot->regions[region];
	if (offset > r->size || size > r->size - offset)
		return HG_ERR_INVALID;
	while (size) {
		uint64_t index = offset / HG_CHUNK_SIZE;
		size_t at = offset % HG_CHUNK_SIZE;
		uint64_t left = r->size - index * HG_CHUNK_SIZE;
		size_t chunk_size = left < HG_CHUNK_SIZE ? (size_t)left : HG_CHUNK_SIZE;
		size_t n = chunk_size - at < size ? chunk_size - at : size;
		const unsigned char *key = s->keys[region] + index * 16, *data;
		enum hg_status st;

		if (!memcmp(key, zero, sizeof(zero))) {
			memset(out, 0, n);
		} else {
			st = hg_log_chunk(log, key, chunk_size, &data);
			if (st)
				return st;
			memcpy(out, data + at, n);
		}
		out += n;
		offset += n;
		size -= n;
	}
	return HG_OK;
}

/* Stacks */

enum hg_status hg_log_stack(struct hg_log *log, uint32_t id,
			    int (*each)(uint64_t pc, const char *text, void *arg), void *arg)
{
	uint64_t key = id;
	struct hg_reader r;
	enum hg_status st;
	uint32_t depth;
	MDB_val d;

	st = hg_log_get(log, HG_DB_STACKS, &key, sizeof(key), &d);
	if (st == HG_ERR_NOTFOUND) {
		/* never symbolised, then: the process is gone */
		for (size_t i = 0; i < log->nr_special; i++) {
			const struct hg_rec *rec = log->special[i];

			if (rec->call != HG_REC_STACK || rec->word[HG_STACK_ID] != id)
				continue;
			for (unsigned int n = HG_STACK_NR_WORDS; n < rec->nr_words; n++)
				if (each(rec->word[n], NULL, arg))
					break;
			return HG_OK;
		}
	}
	if (st)
		return st;
	hg_reader_init(&r, d.mv_data, d.mv_size);
	depth = hg_read_u32(&r);
	for (uint32_t i = 0; i < depth; i++) {
		uint64_t pc = hg_read_u64(&r);
		const char *text = hg_read_str(&r);

		if (r.failed)
			return corrupt(log, "a call site does not decode");
		if (each(pc, text[0] ? text : NULL, arg))
			break;
	}
	return HG_OK;
}
