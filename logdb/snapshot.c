/* snapshot.c - memory to chunks, chunks to pack files, and the manifest last. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fault.h"
#include "common/msg.h"
#include "logdb/recorder_impl.h"

#define BUFFER_BYTES ((size_t)4 << 20)
#define NR_BUFFERS 3
#define HUGE_PAGE ((size_t)2 << 20)
#define BUFFER_STRIDE (BUFFER_BYTES + HUGE_PAGE)	/* one chunk behind BUFFER_BYTES, rounded up */
#define MEMORY_BYTES (NR_BUFFERS * BUFFER_STRIDE + HUGE_PAGE)
#define ALIGN ((size_t)4096)
#define DRAIN_MS 10000

/* Room for one chunk behind the part that is written: what crosses the end moves to the next buffer. */
struct buffer {
	unsigned char *data;
	size_t bytes;			/* to be written; 0: free */
};

struct used_chunk {
	struct hg_key128 key;
	struct hg_chunk chunk;
	bool is_new;
};

struct hg_snapshot_writer {
	struct hg_recorder *r;
	uint64_t number, seq, started_ns, bytes;

	struct hg_writer regions;	/* encoded */
	uint32_t nr_regions;

	struct used_chunk *used;
	size_t nr_used, used_capacity;
	struct hg_idmap by_key;		/* first half of the key -> index in `used` + 1 */
	MDB_txn *read_txn;		/* of the chunks that earlier snapshots wrote */

	int fd;
	char name[32];
	bool is_direct;
	uint64_t pack_bytes;		/* appended so far */

	void *memory;			/* of the buffers */
	struct buffer buffer[NR_BUFFERS];
	unsigned int filling;
	size_t fill;

	pthread_t io;
	bool has_io, io_stop;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int writing;
	uint64_t written;
	int io_error;			/* errno */
	bool io_error_told;
};

/* The pack file */

static int write_whole(struct hg_snapshot_writer *s, const unsigned char *data, size_t bytes, uint64_t at)
{
	while (bytes) {
		ssize_t n = hg_fault("snapshot.write") ? (errno = ENOSPC, -1) : pwrite(s->fd, data, bytes, (off_t)at);

		if (n > 0) {
			data += n;
			at += (size_t)n;
			bytes -= (size_t)n;
			/* what is left of a short write is not aligned any more */
			if (s->is_direct && (size_t)n % ALIGN) {
				s->is_direct = false;
				fcntl(s->fd, F_SETFL, 0);
			}
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EINVAL && s->is_direct) {
			s->is_direct = false;
			if (!fcntl(s->fd, F_SETFL, 0))
				continue;
		}
		return n < 0 ? errno : ENOSPC;
	}
	return 0;
}

static void *io_main(void *writer)
{
	struct hg_snapshot_writer *s = writer;

	pthread_setname_np(pthread_self(), "hgshim-pack");
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct buffer *b = &s->buffer[s->writing];
		uint64_t at = s->written;
		int err;

		if (!b->bytes) {
			if (s->io_stop)
				break;
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		err = s->io_error;
		pthread_mutex_unlock(&s->lock);
		if (!err)
			err = write_whole(s, b->data, b->bytes, at);
		pthread_mutex_lock(&s->lock);
		s->written += b->bytes;
		b->bytes = 0;
		s->writing = (s->writing + 1) % NR_BUFFERS;
		if (!s->io_error)
			s->io_error = err;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static enum hg_status told(struct hg_snapshot_writer *s, int err)
{
	if (!s->io_error_told)
		pr_err("cannot write the snapshot to '%s/%s': %s", s->r->dir, s->name, strerror(err));
	s->io_error_told = true;
	return err == ENOSPC || err == EDQUOT || err == EFBIG ? HG_ERR_NOSPC : HG_ERR_IO;
}

static enum hg_status open_pack(struct hg_snapshot_writer *s)
{
	int err;

	snprintf(s->name, sizeof(s->name), HG_PACK_NAME, (unsigned int)s->number);
	/* a leftover of an attempt that failed is nobody's */
	s->fd = openat(s->r->dirfd, s->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0600);
	s->is_direct = s->fd >= 0;
	if (s->fd < 0 && errno == EINVAL)
		s->fd = openat(s->r->dirfd, s->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return told(s, errno);
	err = pthread_create(&s->io, NULL, io_main, s);
	if (err)
		return told(s, err);
	s->has_io = true;
	return HG_OK;
}

/* Hands the filling buffer to the writing thread, and moves what lies behind BUFFER_BYTES to the next. */
static enum hg_status submit(struct hg_snapshot_writer *s, size_t bytes)
{
	struct buffer *b = &s->buffer[s->filling], *next;
	size_t rest = s->fill > bytes ? s->fill - bytes : 0;
	enum hg_status st;
	int err;

	if (s->fd < 0) {
		st = open_pack(s);
		if (st)
			return st;
	}
	pthread_mutex_lock(&s->lock);
	b->bytes = bytes;
	pthread_cond_broadcast(&s->changed);
	s->filling = (s->filling + 1) % NR_BUFFERS;
	next = &s->buffer[s->filling];
	while (next->bytes)
		pthread_cond_wait(&s->changed, &s->lock);
	err = s->io_error;
	pthread_mutex_unlock(&s->lock);
	/* the thread only reads the part in front of `rest` */
	memcpy(next->data, b->data + bytes, rest);
	s->fill = rest;
	return err ? told(s, err) : HG_OK;
}

static void stop_io(struct hg_snapshot_writer *s)
{
	if (!s->has_io)
		return;
	pthread_mutex_lock(&s->lock);
	s->io_stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->io, NULL);
	s->has_io = false;
}

static enum hg_status finish_pack(struct hg_snapshot_writer *s)
{
	size_t padded = (s->fill + ALIGN - 1) & ~(ALIGN - 1);
	enum hg_status st = HG_OK;

	if (s->fill) {
		memset(s->buffer[s->filling].data + s->fill, 0, padded - s->fill);
		s->fill = padded;
		st = submit(s, padded);
	}
	stop_io(s);
	if (!st && s->io_error)
		st = told(s, s->io_error);
	if (!st && s->fd >= 0) {
		if (hg_fault("snapshot.sync") || fdatasync(s->fd) || fsync(s->r->dirfd))
			st = told(s, errno ? errno : EIO);
	}
	return st;
}

/* Chunks */

static bool is_zero(const unsigned char *p, size_t size)
{
	return !p[0] && !memcmp(p, p + 1, size - 1);
}

static enum hg_status note_used(struct hg_snapshot_writer *s, const struct hg_key128 *key,
				const struct hg_chunk *chunk, bool is_new)
{
	uint64_t half;

	if (s->nr_used == s->used_capacity) {
		size_t capacity = s->used_capacity ? s->used_capacity * 2 : 1024;
		struct used_chunk *used = realloc(s->used, capacity * sizeof(*used));

		if (!used)
			return HG_ERR_NOMEM;
		s->used = used;
		s->used_capacity = capacity;
	}
	s->used[s->nr_used++] = (struct used_chunk){ .key = *key, .chunk = *chunk, .is_new = is_new };
	memcpy(&half, key->bytes, sizeof(half));
	return half ? hg_idmap_put(&s->by_key, half, s->nr_used) : HG_OK;
}

/* Is the chunk in a pack already, of this snapshot or of an earlier one? */
static enum hg_status is_known(struct hg_snapshot_writer *s, const struct hg_key128 *key, size_t size, bool *known)
{
	struct hg_recorder *r = s->r;
	MDB_val k = { .mv_size = sizeof(key->bytes), .mv_data = (void *)key->bytes }, d;
	struct hg_chunk chunk;
	uint64_t half, index;
	int rc;

	*known = false;
	memcpy(&half, key->bytes, sizeof(half));
	if (half && hg_idmap_get(&s->by_key, half, &index)) {
		*known = !memcmp(&s->used[index - 1].key, key, sizeof(*key));
		return HG_OK;
	}
	/* the lock keeps the writer from moving the map meanwhile */
	pthread_mutex_lock(&r->txn_lock);
	rc = r->mdb->get(s->read_txn, r->dbi[HG_DB_CHUNKS], &k, &d);
	memset(&chunk, 0, sizeof(chunk));
	if (!rc && d.mv_size == sizeof(chunk))
		memcpy(&chunk, d.mv_data, sizeof(chunk));
	pthread_mutex_unlock(&r->txn_lock);
	if (rc && rc != MDB_NOTFOUND)
		return hg_from_mdb(rc, "look a chunk up");
	if (rc || chunk.size != size)
		return HG_OK;
	*known = true;
	return note_used(s, key, &chunk, false);
}

static enum hg_status add_chunk(struct hg_snapshot_writer *s, const struct hg_region *region, uint64_t at,
				hg_read_fn read, void *arg, struct hg_hash_state *digest, struct hg_key128 *key)
{
	size_t size = region->size - at < HG_CHUNK_SIZE ? (size_t)(region->size - at) : HG_CHUNK_SIZE;
	unsigned char *data = s->buffer[s->filling].data + s->fill;
	struct hg_chunk chunk;
	enum hg_status st;
	bool known;

	st = read(data, region->addr + at, size, arg);
	if (st)
		return st;
	hg_hash_update(digest, data, size);
	memset(key, 0, sizeof(*key));
	if (is_zero(data, size))
		return HG_OK;
	*key = hg_hash128(data, size);
	st = is_known(s, key, size, &known);
	if (st || known)
		return st;
	chunk = (struct hg_chunk){ .pack = (uint32_t)s->number, .size = (uint32_t)size, .offset = s->pack_bytes };
	st = note_used(s, key, &chunk, true);
	if (st)
		return st;
	s->fill += size;
	s->pack_bytes += size;
	return s->fill >= BUFFER_BYTES ? submit(s, BUFFER_BYTES) : HG_OK;
}

enum hg_status hg_snapshot_region(struct hg_snapshot_writer *s, const struct hg_region *region,
				  hg_read_fn read, void *arg)
{
	uint64_t nr_chunks = (region->size + HG_CHUNK_SIZE - 1) / HG_CHUNK_SIZE;
	struct hg_writer keys = { 0 };
	struct hg_hash_state digest;
	enum hg_status st;

	hg_hash_begin(&digest);
	for (uint64_t i = 0; i < nr_chunks; i++) {
		struct hg_key128 key;

		st = add_chunk(s, region, i * HG_CHUNK_SIZE, read, arg, &digest, &key);
		if (st)
			goto out;
		hg_write_bytes(&keys, key.bytes, sizeof(key.bytes));
		if (i % 16 == 15)
			hg_recorder_progress(s->r, HG_CONTROL_COPYING, s->bytes + (i + 1) * HG_CHUNK_SIZE,
					     s->r->control->total);
	}
	hg_write_u64(&s->regions, region->addr);
	hg_write_u64(&s->regions, region->size);
	hg_write_u64(&s->regions, region->object);
	hg_write_u32(&s->regions, region->kind);
	hg_write_u32(&s->regions, (uint32_t)nr_chunks);
	hg_write_u64(&s->regions, hg_hash_end(&digest));
	hg_write_str(&s->regions, region->name ? region->name : "");
	hg_write_bytes(&s->regions, keys.data, keys.size);
	st = keys.failed || s->regions.failed ? HG_ERR_NOMEM : HG_OK;
	s->nr_regions++;
	s->bytes += region->size;
out:
	hg_writer_release(&keys);
	return st;
}

/* Life */

static void snapshot_free(struct hg_snapshot_writer *s)
{
	struct hg_recorder *r = s->r;

	stop_io(s);
	if (s->fd >= 0)
		close(s->fd);
	if (s->read_txn)
		r->mdb->txn_abort(s->read_txn);
	if (s->memory)
		munmap(s->memory, MEMORY_BYTES);
	hg_idmap_release(&s->by_key);
	hg_writer_release(&s->regions);
	free(s->used);
	free(s);
	pthread_mutex_unlock(&r->snapshot_lock);
}

/* In huge pages where there are any: O_DIRECT pins each page of a write by itself, which costs as much as the copy. */
static enum hg_status map_buffers(struct hg_snapshot_writer *s)
{
	void *p = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *first;

	if (p == MAP_FAILED)
		return HG_ERR_NOMEM;
	s->memory = p;
	madvise(p, MEMORY_BYTES, MADV_HUGEPAGE);
	first = (unsigned char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	for (int i = 0; i < NR_BUFFERS; i++)
		s->buffer[i].data = first + (size_t)i * BUFFER_STRIDE;
	return HG_OK;
}

enum hg_status hg_snapshot_begin(struct hg_recorder *r, struct hg_snapshot_writer **out)
{
	struct hg_snapshot_writer *s;
	enum hg_status st;

	if (atomic_load(&r->is_read)) {
		pr_err("the log is being read: no snapshot can begin");
		return HG_ERR_REFUSED;
	}
	st = hg_recorder_drain(r, DRAIN_MS);
	if (st)
		return st;
	s = calloc(1, sizeof(*s));
	if (!s)
		return HG_ERR_NOMEM;
	s->r = r;
	s->fd = -1;
	s->started_ns = hg_now_ns();
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	pthread_mutex_init(&s->by_key.lock, NULL);
	pthread_mutex_lock(&r->snapshot_lock);
	if (!r->env) {
		pr_err("recording is off: %s", r->off_why);
		st = HG_ERR_UNAVAILABLE;
		goto err_free;
	}
	s->number = r->nr_snapshots + 1;
	s->seq = atomic_load(&r->ring->seq) - 1;
	st = map_buffers(s);
	if (st)
		goto err_free;
	st = hg_from_mdb(r->mdb->txn_begin(r->env, NULL, MDB_RDONLY, &s->read_txn), "read the log");
	if (st)
		goto err_free;
	*out = s;
	return HG_OK;

err_free:
	snapshot_free(s);
	return st;
}

static enum hg_status put_chunks(struct hg_snapshot_writer *s, MDB_txn *txn)
{
	struct hg_recorder *r = s->r;

	for (size_t i = 0; i < s->nr_used; i++) {
		struct used_chunk *u = &s->used[i];
		MDB_val k = { .mv_size = sizeof(u->key.bytes), .mv_data = u->key.bytes };
		struct hg_chunk chunk = u->chunk;
		MDB_val d = { .mv_size = sizeof(chunk), .mv_data = &chunk };
		int rc;

		chunk.refs++;
		rc = r->mdb->put(txn, r->dbi[HG_DB_CHUNKS], &k, &d, 0);
		if (rc)
			return hg_from_mdb(rc, "write the snapshot's chunks");
	}
	return HG_OK;
}

static enum hg_status put_manifest(struct hg_snapshot_writer *s, MDB_txn *txn, const struct hg_writer *manifest)
{
	struct hg_recorder *r = s->r;
	MDB_val k = { .mv_size = sizeof(s->number), .mv_data = &s->number };
	MDB_val d = { .mv_size = manifest->size, .mv_data = manifest->data };
	enum hg_status st;

	st = hg_from_mdb(hg_fault("snapshot.commit") ? ENOSPC : r->mdb->put(txn, r->dbi[HG_DB_SNAPSHOTS], &k, &d, 0),
			 "write the snapshot's manifest");
	if (!st)
		st = hg_store_put_u64(r, txn, HG_META_GAP_SEQ, 0);
	if (!st)
		st = hg_store_put_u64(r, txn, HG_META_HOLES_TO, s->seq);
	return st;
}

/* One transaction, made durable before this returns. With txn_lock held. */
static enum hg_status commit_txn(struct hg_snapshot_writer *s, const struct hg_writer *manifest)
{
	struct hg_recorder *r = s->r;
	MDB_txn *txn;
	enum hg_status st;

	st = hg_store_reserve_map(r, manifest->size + s->nr_used * 256);
	if (st)
		return st;
	st = hg_from_mdb(r->mdb->txn_begin(r->env, NULL, 0, &txn), "begin the snapshot's transaction");
	if (st)
		return st;
	st = put_chunks(s, txn);
	if (!st)
		st = put_manifest(s, txn, manifest);
	if (!st)
		st = hg_from_mdb(r->mdb->txn_commit(txn), "commit the snapshot");
	else
		r->mdb->txn_abort(txn);
	if (!st)
		st = hg_from_mdb(hg_fault("snapshot.env_sync") ? EIO : r->mdb->env_sync(r->env, 1), "write the log out");
	return st;
}

/* After a commit that may not be durable: it must not count. */
static void take_back(struct hg_snapshot_writer *s)
{
	struct hg_recorder *r = s->r;
	MDB_val k = { .mv_size = sizeof(s->number), .mv_data = &s->number };
	MDB_txn *txn;
	int rc = r->mdb->txn_begin(r->env, NULL, 0, &txn);

	if (rc)
		return;
	r->mdb->del(txn, r->dbi[HG_DB_SNAPSHOTS], &k, NULL);
	for (size_t i = 0; i < s->nr_used; i++) {
		struct used_chunk *u = &s->used[i];
		MDB_val key = { .mv_size = sizeof(u->key.bytes), .mv_data = u->key.bytes };
		MDB_val d = { .mv_size = sizeof(u->chunk), .mv_data = &u->chunk };

		if (u->is_new)
			r->mdb->del(txn, r->dbi[HG_DB_CHUNKS], &key, NULL);
		else
			r->mdb->put(txn, r->dbi[HG_DB_CHUNKS], &key, &d, 0);
	}
	r->mdb->txn_commit(txn);
}

enum hg_status hg_snapshot_commit(struct hg_snapshot_writer *s, const char *coverage, bool partial,
				  uint64_t *number, uint64_t *bytes, uint64_t *bytes_written)
{
	struct hg_recorder *r = s->r;
	struct hg_writer m = { 0 };
	struct timespec now;
	enum hg_status st;

	st = finish_pack(s);
	if (st)
		goto fail;
	hg_recorder_progress(r, HG_CONTROL_COMMITTING, s->bytes, r->control->total);
	clock_gettime(CLOCK_REALTIME, &now);
	hg_write_u32(&m, 1);
	hg_write_u32(&m, partial ? 1 : 0);
	hg_write_u64(&m, s->seq);
	hg_write_u64(&m, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	hg_write_u64(&m, hg_now_ns() - s->started_ns);
	hg_write_u64(&m, s->bytes);
	hg_write_u64(&m, s->pack_bytes);
	hg_write_u32(&m, coverage ? 1 : 0);
	hg_write_u32(&m, s->nr_regions);
	hg_write_str(&m, coverage ? coverage : "");
	hg_write_bytes(&m, s->regions.data, s->regions.size);
	if (!m.failed)
		hg_write_u64(&m, hg_hash64(m.data, m.size));
	st = m.failed ? HG_ERR_NOMEM : HG_OK;
	if (st)
		goto fail;

	/* a reading transaction would keep the pages of the old state from being used */
	r->mdb->txn_abort(s->read_txn);
	s->read_txn = NULL;
	pthread_mutex_lock(&r->txn_lock);
	st = commit_txn(s, &m);
	if (st)
		take_back(s);
	else
		hg_store_gap_closed(r);
	pthread_mutex_unlock(&r->txn_lock);
	if (st)
		goto fail;

	r->nr_snapshots = s->number;
	r->control->snapshot = s->number;
	r->control->bytes = s->bytes;
	r->control->bytes_written = s->pack_bytes;
	/* the tail begins anew, with a payload file of its own */
	atomic_store(&r->payload_next, ((atomic_load(&r->payload_next) >> 40) + 1) << 40);
	atomic_store(&r->payload_used, 0);
	atomic_store(&r->payload_on, r->cfg.payload && r->cfg.calls != HG_CALLS_OBJECTS);
	atomic_store(&r->prune_seq, s->seq);

	*number = s->number;
	*bytes = s->bytes;
	*bytes_written = s->pack_bytes;
	hg_writer_release(&m);
	snapshot_free(s);
	return HG_OK;

fail:
	hg_writer_release(&m);
	hg_snapshot_abandon(s);
	return st;
}

void hg_snapshot_abandon(struct hg_snapshot_writer *s)
{
	if (!s)
		return;
	stop_io(s);
	if (s->fd >= 0)
		unlinkat(s->r->dirfd, s->name, 0);
	snapshot_free(s);
}
