/* recorder.c - the recording side: lanes, messages, start and stop. */
#define _GNU_SOURCE
#include "logdb/recorder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/msg.h"
#include "logdb/logdb_impl.h"
#include "logdb/recorder_impl.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define WAIT_OBJECT_MS 10000	/* a full lane: for a record that must not be lost */
#define WAIT_LAUNCH_MS 100	/* for one that may be */
#define WAIT_STOP_MS 2000
#define PAYLOAD_OFFSET_BITS 40

/*
 * What a thread needs on the path of every call. initial-exec: a lazily allocated TLS
 * block would call malloc from inside a driver call.
 */
struct lane {
	uint64_t generation;		/* of the recorder it belongs to; 0 none */
	struct hg_slot *slot;
	struct hg_slot *data_slot;	/* the slot whose head counts: `slot`, or the shared one */
	unsigned char *data;
	uint64_t head, limit, next;
	uint64_t mask;
	unsigned int index;		/* of the lane */
	uint32_t thread;
	uint64_t seq;			/* taken last */
	bool shared;
	bool drop_now;			/* the last wait for this lane was in vain */
};

static __thread __attribute__((tls_model("initial-exec"))) struct lane lane;

static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;
static bool has_exit_key;
static _Atomic uint64_t last_generation;
static struct hg_recorder *_Atomic newest;	/* chain of every recorder of this process */

uint64_t hg_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int hg_futex_wait(const atomic_uint *word, unsigned int value, unsigned int timeout_ms, bool shared)
{
	struct timespec ts = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L };

	return (int)syscall(SYS_futex, word, FUTEX_WAIT | (shared ? 0 : FUTEX_PRIVATE_FLAG), value, &ts, NULL, 0);
}

void hg_futex_wake(const atomic_uint *word, bool shared)
{
	syscall(SYS_futex, word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG), INT_MAX, NULL, NULL, 0);
}

/* Messages */

void hg_recorder_sink(enum hg_msg_level level, const char *line, void *recorder)
{
	static const char mark[] = "EWID";
	struct hg_recorder *r = recorder;
	size_t len = strlen(line);

	if (pthread_equal(pthread_self(), r->writer) && r->muted)
		return;
	pthread_mutex_lock(&r->message_lock);
	/* level, text, NUL; what has no room is lost rather than waited for */
	if (len + 2 <= sizeof(r->messages) - r->messages_size) {
		r->messages[r->messages_size] = mark[level];
		memcpy(r->messages + r->messages_size + 1, line, len + 1);
		r->messages_size += len + 2;
		atomic_store(&r->has_messages, true);
	}
	pthread_mutex_unlock(&r->message_lock);
}

static void print_messages(struct hg_recorder *r)
{
	char text[sizeof(r->messages)];
	size_t size;

	if (!atomic_load(&r->has_messages))
		return;
	pthread_mutex_lock(&r->message_lock);
	size = r->messages_size;
	memcpy(text, r->messages, size);
	r->messages_size = 0;
	atomic_store(&r->has_messages, false);
	pthread_mutex_unlock(&r->message_lock);
	for (size_t at = 0; at < size; at += strlen(text + at) + 1) {
		const char *level = strchr("EWID", text[at]);

		hg_msg(level ? (enum hg_msg_level)(level - "EWID") : HG_MSG_ERR, "%s", text + at + 1);
	}
}

void hg_recorder_off(struct hg_recorder *r, const char *fmt, ...)
{
	char why[sizeof(r->off_why)];
	bool was_on = true;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (!atomic_compare_exchange_strong(&r->on, &was_on, false))
		return;
	memcpy(r->off_why, why, sizeof(why));
	atomic_store(r->generation, 0);
	if (r->control)
		r->control->recording = 0;
	pr_warn("recording is off: %s", r->off_why);
	/* whoever waits for room must see it */
	atomic_fetch_add(&r->drained, 1);
	hg_futex_wake(&r->drained, false);
}

void hg_recorder_gap(struct hg_recorder *r, const char *why)
{
	const char *none = NULL;

	atomic_compare_exchange_strong(&r->gap_why, &none, why);
}

bool hg_recorder_is_on(const struct hg_recorder *r)
{
	return r && atomic_load_explicit(&r->on, memory_order_relaxed) &&
	       atomic_load_explicit(r->generation, memory_order_relaxed);
}

const char *hg_recorder_dir(const struct hg_recorder *r)
{
	return r->dir;
}

/* Lanes */

static void wake_writer(struct hg_recorder *r)
{
	if (atomic_exchange_explicit(&r->writer_sleeps, 0, memory_order_seq_cst))
		hg_futex_wake(&r->writer_sleeps, false);
}

static void thread_exit(void *recorder)
{
	struct hg_recorder *r = recorder;

	/* wiped by fork, or off: the slot is nobody's any more */
	if (lane.generation && lane.generation == atomic_load(r->generation)) {
		atomic_store_explicit(&lane.slot->pending, HG_SEQ_NONE, memory_order_release);
		atomic_store_explicit(&lane.slot->taken, 0, memory_order_release);
	}
	lane.generation = 0;
}

static void make_exit_key(void)
{
	has_exit_key = !pthread_key_create(&exit_key, thread_exit);
}

/* Gives the calling thread a slot. False when there is none or recording is off. */
static bool attach(struct hg_recorder *r)
{
	uint64_t generation = atomic_load(r->generation);
	struct hg_ring *ring = r->ring;
	unsigned int slot;

	if (!generation)
		return false;
	print_messages(r);
	for (slot = 0; slot < HG_RING_SLOTS; slot++) {
		uint32_t untaken = 0;

		if (slot != ring->nr_lanes &&
		    atomic_compare_exchange_strong(&ring->slot[slot].taken, &untaken, 1))
			break;
	}
	if (slot == HG_RING_SLOTS) {
		hg_recorder_gap(r, "more threads than the ring has slots");
		return false;
	}
	lane.shared = slot > ring->nr_lanes;
	lane.index = lane.shared ? ring->nr_lanes : slot;
	lane.slot = &ring->slot[slot];
	lane.data_slot = &ring->slot[lane.index];
	lane.data = (unsigned char *)ring + ring->lanes_at + lane.index * r->lane_bytes;
	lane.mask = r->lane_bytes - 1;
	lane.head = atomic_load_explicit(&lane.data_slot->head, memory_order_relaxed);
	lane.limit = atomic_load_explicit(&ring->tail[lane.index].tail, memory_order_acquire) + r->lane_bytes;
	lane.drop_now = false;
	if (!lane.thread || !lane.slot->thread || lane.generation != generation)
		lane.thread = atomic_fetch_add(&r->threads, 1) + 1;
	lane.slot->thread = lane.thread;
	lane.generation = generation;
#ifdef MADV_POPULATE_WRITE
	/* not one page fault at a time on the path of launches; older kernels refuse, which is harmless */
	if (!lane.shared)
		madvise(lane.data, r->lane_bytes, MADV_POPULATE_WRITE);
#endif
	if (has_exit_key)
		pthread_setspecific(exit_key, r);
	return true;
}

static inline bool is_attached(const struct hg_recorder *r)
{
	uint64_t generation = atomic_load_explicit(r->generation, memory_order_relaxed);

	return likely(generation && lane.generation == generation);
}

uint64_t hg_recorder_seq(struct hg_recorder *r)
{
	if (!is_attached(r) && !attach(r))
		return 0;
	atomic_store_explicit(&lane.slot->pending, atomic_load_explicit(&r->ring->seq, memory_order_relaxed),
			      memory_order_relaxed);
	/* releases the store above: whoever sees the new number sees `pending` */
	lane.seq = atomic_fetch_add_explicit(&r->ring->seq, 1, memory_order_seq_cst);
	return lane.seq;
}

uint32_t hg_recorder_thread(struct hg_recorder *r)
{
	if (!is_attached(r) && !attach(r))
		return 0;
	return lane.thread;
}

static void no_pending(void)
{
	atomic_store_explicit(&lane.slot->pending, HG_SEQ_NONE, memory_order_release);
}

/* Waits until the lane has room up to `end`, counted like head. */
static bool wait_room(struct hg_recorder *r, uint64_t end, unsigned int timeout_ms)
{
	uint64_t deadline = hg_now_ns() + timeout_ms * UINT64_C(1000000);

	for (;;) {
		unsigned int drained = atomic_load(&r->drained);

		lane.limit = atomic_load_explicit(&r->ring->tail[lane.index].tail, memory_order_acquire) +
			     r->lane_bytes;
		if (end <= lane.limit)
			return true;
		if (!atomic_load_explicit(r->generation, memory_order_relaxed) || hg_now_ns() > deadline)
			return false;
		print_messages(r);
		atomic_fetch_add(&r->waiters, 1);
		wake_writer(r);
		hg_futex_wait(&r->drained, drained, 10, false);
		atomic_fetch_sub(&r->waiters, 1);
	}
}

/*
 * Room for `size` bytes at the head, with padding in front if it would cross the lane's end; NULL
 * when there is none in time. With a shared lane, its lock is held from here to publish() or on NULL released.
 */
static void *reserve(struct hg_recorder *r, size_t size, unsigned int timeout_ms)
{
	uint64_t at, room, need;

	if (unlikely(lane.shared)) {
		pthread_mutex_lock(&r->shared_lock);
		lane.head = atomic_load_explicit(&lane.data_slot->head, memory_order_relaxed);
	}
	at = lane.head & lane.mask;
	room = lane.mask + 1 - at;
	need = likely(size <= room) ? size : room + size;
	if (unlikely(lane.head + need > lane.limit)) {
		/* under the shared lane's lock too: the others would find it full as well */
		if (size > r->lane_bytes / 2 || !wait_room(r, lane.head + need, timeout_ms)) {
			if (lane.shared)
				pthread_mutex_unlock(&r->shared_lock);
			return NULL;
		}
	}
	if (unlikely(need != size)) {
		struct hg_rec *pad = (struct hg_rec *)(lane.data + at);

		pad->size = (uint32_t)room;
		pad->call = HG_REC_PAD;
		at = 0;
	}
	lane.next = lane.head + need;
	return lane.data + at;
}

/* The writer wakes by itself in time for what it has seen (see nap_ms); this is for a sudden burst. */
static __attribute__((noinline)) void wake_if_late(struct hg_recorder *r)
{
	uint64_t tail = atomic_load_explicit(&r->ring->tail[lane.index].tail, memory_order_acquire);

	lane.limit = tail + r->lane_bytes;
	if (lane.head - tail > r->lane_bytes / 2 && atomic_load_explicit(&r->writer_sleeps, memory_order_relaxed))
		wake_writer(r);
}

/* Makes what was reserved visible to the writer. */
static void publish(struct hg_recorder *r)
{
	uint64_t was = lane.head;

	lane.head = lane.next;
	atomic_store_explicit(&lane.data_slot->head, lane.head, memory_order_release);
	if (unlikely(lane.shared))
		pthread_mutex_unlock(&r->shared_lock);
	/* another quarter of the lane is full: looked at rarely, for it is the writer's line */
	if (unlikely((was ^ lane.head) & ~(lane.mask >> 2)))
		wake_if_late(r);
}

static void fill_header(struct hg_rec *rec, size_t size, unsigned int call, unsigned int nr_words, uint64_t seq)
{
	rec->size = (uint32_t)size;
	rec->call = (uint16_t)call;
	rec->nr_words = (uint16_t)nr_words;
	rec->seq = seq;
	rec->ctx = 0;
	rec->thread = lane.thread;
	rec->result = 0;
	rec->stack = 0;
	rec->flags = 0;
}

static void drop(struct hg_recorder *r, uint64_t seq, bool state)
{
	lane.slot->dropped++;
	lane.slot->last_dropped = seq;
	if (state) {
		lane.slot->dropped_state = 1;
		hg_recorder_gap(r, "the log could not keep up: launches were dropped");
	}
	no_pending();
}

/* Says how many records are missing before the next one. */
static bool write_gap(struct hg_recorder *r, unsigned int timeout_ms)
{
	size_t size = sizeof(struct hg_rec) + 8 * HG_GAP_NR_WORDS;
	struct hg_rec *rec = reserve(r, size, timeout_ms);

	if (!rec)
		return false;
	fill_header(rec, size, HG_REC_GAP, HG_GAP_NR_WORDS, lane.slot->last_dropped);
	rec->word[HG_GAP_COUNT] = lane.slot->dropped;
	rec->word[HG_GAP_STATE] = lane.slot->dropped_state;
	publish(r);
	lane.slot->dropped = 0;
	lane.slot->dropped_state = 0;
	return true;
}

/* The lane is full, or records were dropped before this one. */
static __attribute__((noinline)) struct hg_rec *begin_slow(struct hg_recorder *r, const struct hg_call_desc *desc,
							   uint64_t seq, size_t size)
{
	bool may_drop = desc->op == HG_OP_LAUNCH || desc->op == HG_OP_SYNC || desc->op == HG_OP_NONE;
	unsigned int timeout_ms = WAIT_OBJECT_MS;
	struct hg_rec *rec = NULL;

	if (size > r->lane_bytes / 2) {
		hg_recorder_gap(r, "a record was larger than half a lane of the ring");
		drop(r, seq, true);
		return NULL;
	}
	/* after a wait in vain do not make the application wait for each launch again */
	if (may_drop)
		timeout_ms = lane.drop_now || desc->op == HG_OP_NONE ? 0 : WAIT_LAUNCH_MS;
	if (!lane.slot->dropped || write_gap(r, timeout_ms))
		rec = reserve(r, size, timeout_ms);
	lane.drop_now = !rec;
	if (rec)
		return rec;
	if (may_drop) {
		drop(r, seq, desc->op == HG_OP_LAUNCH);
	} else {
		no_pending();
		hg_recorder_off(r, "the log did not take a record for %d s", WAIT_OBJECT_MS / 1000);
	}
	return NULL;
}

struct hg_rec *hg_recorder_begin(struct hg_recorder *r, const struct hg_call_desc *desc, uint64_t seq,
				 unsigned int nr_words, size_t blob_bytes)
{
	size_t size = sizeof(struct hg_rec) + 8 * (size_t)nr_words + hg_pad8(blob_bytes);
	struct hg_rec *rec = NULL;

	if (!seq || !is_attached(r))
		return NULL;
	if (unlikely(r->skip_ops >> desc->op & 1)) {
		no_pending();
		return NULL;
	}
	if (likely(!lane.slot->dropped))
		rec = reserve(r, size, 0);
	if (unlikely(!rec)) {
		rec = begin_slow(r, desc, seq, size);
		if (!rec)
			return NULL;
	}
	fill_header(rec, size, desc->id, nr_words, seq);
	return rec;
}

void hg_recorder_commit(struct hg_recorder *r, struct hg_rec *rec)
{
	(void)rec;
	/* recording may have been turned off in between; the lane is then read by nobody */
	publish(r);
	no_pending();
}

/* A record of the ring only, `words` then `data`, visible when this returns. */
static enum hg_status put_special(struct hg_recorder *r, unsigned int call, uint64_t seq, const uint64_t *words,
				  unsigned int nr_words, const void *data, size_t bytes, unsigned int timeout_ms)
{
	size_t size = sizeof(struct hg_rec) + 8 * (size_t)nr_words + hg_pad8(bytes);
	struct hg_rec *rec = reserve(r, size, timeout_ms);

	if (!rec)
		return HG_ERR_TIMEOUT;
	fill_header(rec, size, call, nr_words, seq);
	if (nr_words)
		memcpy(rec->word, words, 8 * (size_t)nr_words);
	if (bytes)
		memcpy((unsigned char *)&rec->word[nr_words], data, bytes);
	publish(r);
	return HG_OK;
}

void hg_recorder_cancel(struct hg_recorder *r)
{
	uint64_t seq = lane.seq;

	if (!is_attached(r) || !seq)
		return;
	/* the number must not look like a record that was lost */
	if (put_special(r, HG_REC_CANCELLED, seq, NULL, 0, NULL, 0, WAIT_LAUNCH_MS))
		drop(r, seq, false);
	no_pending();
}

/* Payloads and images */

static size_t fragment_bytes(const struct hg_recorder *r)
{
	return r->lane_bytes / 4;
}

enum hg_status hg_recorder_payload(struct hg_recorder *r, const void *data, size_t size,
				   struct hg_payload_ref *ref)
{
	const unsigned char *bytes = data;
	uint64_t at, file, offset;

	if (!is_attached(r) && !attach(r))
		return HG_ERR_UNAVAILABLE;
	if (!atomic_load(&r->payload_on))
		return HG_ERR_NOSPC;
	if (size > r->payload_limit ||
	    atomic_fetch_add(&r->payload_used, size) > r->payload_limit - size) {
		atomic_fetch_sub(&r->payload_used, size > r->payload_limit ? 0 : size);
		hg_recorder_gap(r, "the limit for payload since the last snapshot was reached");
		return HG_ERR_NOSPC;
	}
	at = atomic_fetch_add(&r->payload_next, hg_pad8(size));
	file = at >> PAYLOAD_OFFSET_BITS;
	offset = at & ((UINT64_C(1) << PAYLOAD_OFFSET_BITS) - 1);
	for (size_t done = 0; done < size;) {
		size_t n = size - done < fragment_bytes(r) ? size - done : fragment_bytes(r);
		const uint64_t words[HG_PAYLOAD_NR_WORDS] = {
			[HG_PAYLOAD_FILE] = file, [HG_PAYLOAD_OFFSET] = offset + done, [HG_PAYLOAD_LENGTH] = n,
		};

		if (put_special(r, HG_REC_PAYLOAD, 0, words, HG_PAYLOAD_NR_WORDS, bytes + done, n, WAIT_OBJECT_MS)) {
			hg_recorder_gap(r, "a payload could not be written in time");
			return HG_ERR_TIMEOUT;
		}
		done += n;
	}
	*ref = (struct hg_payload_ref){ .file = (uint32_t)file, .offset = offset, .digest = hg_hash64(data, size) };
	return HG_OK;
}

enum hg_status hg_recorder_image(struct hg_recorder *r, const void *data, size_t size, unsigned char key[16])
{
	const unsigned char *bytes = data;
	struct hg_key128 hash;
	uint64_t half[2], known;
	size_t part = fragment_bytes(r);
	uint64_t index = 0;

	if (!is_attached(r) && !attach(r))
		return HG_ERR_UNAVAILABLE;
	hash = hg_hash128(data, size);
	memcpy(half, hash.bytes, sizeof(half));
	if (half[0] && hg_idmap_get(&r->images, half[0], &known) && known == half[1]) {
		memcpy(key, hash.bytes, sizeof(hash.bytes));
		return HG_OK;
	}
	for (size_t done = 0; done < size || !index; index++) {
		size_t n = size - done < part ? size - done : part;
		const uint64_t words[HG_IMAGE_NR_WORDS] = {
			[HG_IMAGE_KEY0] = half[0], [HG_IMAGE_KEY1] = half[1], [HG_IMAGE_TOTAL] = size,
			[HG_IMAGE_INDEX] = index, [HG_IMAGE_LENGTH] = n,
		};

		if (put_special(r, HG_REC_IMAGE, 0, words, HG_IMAGE_NR_WORDS, bytes + done, n, WAIT_OBJECT_MS)) {
			hg_recorder_off(r, "the log did not take a code image for %d s", WAIT_OBJECT_MS / 1000);
			return HG_ERR_TIMEOUT;
		}
		done += n;
	}
	/* only now: another thread may then refer to it without sending it again */
	if (half[0] && hg_idmap_put(&r->images, half[0], half[1]))
		pr_debug("an image is kept twice");
	memcpy(key, hash.bytes, sizeof(hash.bytes));
	return HG_OK;
}

#define MAX_FRAMES 48

uint32_t hg_recorder_stack(struct hg_recorder *r)
{
	void *pc[MAX_FRAMES];
	uint64_t words[HG_STACK_NR_WORDS + MAX_FRAMES];
	uint64_t hash, id;
	int n;

	if (!r->backtrace || (!is_attached(r) && !attach(r)))
		return 0;
	n = r->backtrace(pc, MAX_FRAMES);
	if (n <= 0)
		return 0;
	hash = hg_hash64(pc, (size_t)n * sizeof(pc[0])) | 1;
	if (hg_idmap_get(&r->stacks, hash, &id))
		return (uint32_t)id;
	id = atomic_fetch_add(&r->next_stack, 1);
	words[HG_STACK_ID] = id;
	words[HG_STACK_DEPTH] = (uint64_t)n;
	for (int i = 0; i < n; i++)
		words[HG_STACK_NR_WORDS + i] = (uint64_t)(uintptr_t)pc[i];
	if (put_special(r, HG_REC_STACK, 0, words, HG_STACK_NR_WORDS + (unsigned int)n, NULL, 0, WAIT_LAUNCH_MS) ||
	    hg_idmap_put(&r->stacks, hash, id))
		return 0;
	return (uint32_t)id;
}

void hg_recorder_unsupported(struct hg_recorder *r, const char *symbol)
{
	uint64_t len = strnlen(symbol, 255);

	if (!is_attached(r) && !attach(r))
		return;
	if (put_special(r, HG_REC_UNSUPPORTED, 0, &len, 1, symbol, len, 0))
		pr_debug("a call of '%s' was not counted", symbol);
}

/* Draining, progress */

enum hg_status hg_recorder_drain(struct hg_recorder *r, uint32_t timeout_ms)
{
	uint64_t target = atomic_load(&r->ring->seq);
	uint64_t deadline = hg_now_ns() + timeout_ms * UINT64_C(1000000);
	unsigned int first_pass = atomic_load(&r->drained);

	for (;;) {
		unsigned int drained = atomic_load(&r->drained);

		if (!hg_recorder_is_on(r)) {
			pr_err("recording is off: %s", r->off_why);
			return HG_ERR_UNAVAILABLE;
		}
		/* two passes more: fragments carry no number, and a pass may have begun before us */
		if (atomic_load_explicit(&r->stored, memory_order_acquire) >= target && drained - first_pass >= 2)
			return HG_OK;
		if (hg_now_ns() > deadline) {
			pr_err("the log was not written within %u ms", timeout_ms);
			return HG_ERR_TIMEOUT;
		}
		atomic_fetch_add(&r->waiters, 1);
		wake_writer(r);
		hg_futex_wait(&r->drained, drained, 10, false);
		atomic_fetch_sub(&r->waiters, 1);
	}
}

void hg_recorder_progress(struct hg_recorder *r, enum hg_control_state state, uint64_t done, uint64_t total)
{
	struct hg_control *c = r->control;

	c->state = state;
	c->done = done;
	c->total = total;
	atomic_fetch_add((atomic_uint *)&c->progress, 1);
	hg_futex_wake((atomic_uint *)&c->progress, true);
}

void hg_recorder_stalled(struct hg_recorder *r, uint64_t ns)
{
	r->control->stall_ns = ns;
}

void hg_recorder_explain(struct hg_recorder *r, const char *fmt, ...)
{
	va_list ap;

	if (r->explained)
		return;
	r->explained = true;
	va_start(ap, fmt);
	vsnprintf(r->control->message, sizeof(r->control->message), fmt, ap);
	va_end(ap);
}

/* The process's own log */

static void read_end(void *recorder)
{
	struct hg_recorder *r = recorder;

	atomic_store(&r->is_read, false);
	pthread_mutex_unlock(&r->snapshot_lock);
}

enum hg_status hg_recorder_log(struct hg_recorder *r, struct hg_log **out)
{
	if (atomic_load(&r->is_read)) {
		pr_err("the log is being read already");
		return HG_ERR_REFUSED;
	}
	/* held until the log is closed: LMDB must not be closed meanwhile */
	pthread_mutex_lock(&r->snapshot_lock);
	if (!r->env) {
		pthread_mutex_unlock(&r->snapshot_lock);
		pr_err("recording is off: %s", r->off_why);
		return HG_ERR_UNAVAILABLE;
	}
	/* the writer may just be about to move the map */
	pthread_mutex_lock(&r->txn_lock);
	atomic_store(&r->is_read, true);
	pthread_mutex_unlock(&r->txn_lock);
	return hg_log_share(r->mdb, r->env, r->dbi, r->dir, r->dirfd, read_end, r, out);
}

void hg_recorder_executor(struct hg_recorder *r, const char *name)
{
	bool is_read = atomic_load(&r->is_read);
	enum hg_status st = HG_OK;

	snprintf(r->executor, sizeof(r->executor), "%s", name);
	memcpy(r->control->executor, r->executor, sizeof(r->control->executor));
	/* this thread's own, then */
	if (!is_read)
		pthread_mutex_lock(&r->snapshot_lock);
	if (r->env)
		st = hg_store_executor(r, r->executor);
	if (!is_read)
		pthread_mutex_unlock(&r->snapshot_lock);
	if (st)
		pr_warn("the log does not say that target '%s' answers from now on: %s", name, hg_status_text(st));
}

/* Start */

static bool is_network_fs(int fd)
{
	static const uint32_t network[] = {
		0x6969 /* NFS */, 0x517b /* SMB */, 0xfe534d42 /* SMB2 */, 0xff534d42 /* CIFS */,
		0x01021997 /* 9p */, 0x00c36400 /* Ceph */, 0x0bd00bd0 /* Lustre */, 0x47504653 /* GPFS */,
		0x5346414f /* AFS */, 0x73757245 /* Coda */, 0x19830326 /* BeeGFS */,
	};
	struct statfs fs;

	if (hg_fault("recorder.netfs"))
		return true;
	if (fstatfs(fd, &fs))
		return false;
	for (size_t i = 0; i < sizeof(network) / sizeof(network[0]); i++)
		if ((uint32_t)fs.f_type == network[i])
			return true;
	return false;
}

/* mkdir -p; what is made is the user's alone. */
static enum hg_status make_dirs(const char *dir)
{
	char path[PATH_MAX];
	size_t len = strlen(dir);

	if (!len || len >= sizeof(path)) {
		pr_err("the log directory's name is too long or empty: '%s'", dir);
		return HG_ERR_INVALID;
	}
	memcpy(path, dir, len + 1);
	for (char *p = path + 1;; p++) {
		bool last = !*p;

		if (*p != '/' && !last)
			continue;
		*p = '\0';
		if (mkdir(path, 0700) && errno != EEXIST) {
			pr_err("cannot make the log directory '%s': %s", path, strerror(errno));
			return HG_ERR_IO;
		}
		if (last)
			return HG_OK;
		*p = '/';
	}
}

static bool holds_a_log(const char *dir)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/log.mdb", dir);
	return !access(path, F_OK);
}

/*
 * Makes the directory and, in it, the file `ring`: of two processes that were given the same name (one forked
 * from the other, say) only one makes it. False: the other one did. *st: what else went wrong.
 */
static bool claim(const char *dir, enum hg_status *st)
{
	char path[PATH_MAX + 16];
	int fd;

	*st = make_dirs(dir);
	if (*st)
		return true;
	snprintf(path, sizeof(path), "%s/ring", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return false;
	if (fd < 0) {
		pr_err("cannot create '%s': %s", path, strerror(errno));
		*st = HG_ERR_IO;
		return true;
	}
	close(fd);
	return true;
}

static void unclaim(const char *dir)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/ring", dir);
	unlink(path);
}

/* Makes the directory, and gives it another name where a log is already: that one is not ours to end. */
static enum hg_status choose_dir(struct hg_recorder *r, const char *dir)
{
	char name[PATH_MAX];
	enum hg_status st;

	if (snprintf(name, sizeof(name), "%s", dir) >= (int)sizeof(name) - 32) {
		pr_err("the log directory's name is too long: '%s'", dir);
		return HG_ERR_INVALID;
	}
	for (unsigned int i = 0; holds_a_log(name) || !claim(name, &st); i++) {
		if (i == 0)
			snprintf(name, sizeof(name), "%.*s.%d", PATH_MAX - 32, dir, (int)getpid());
		else
			snprintf(name, sizeof(name), "%.*s.%d.%u", PATH_MAX - 32, dir, (int)getpid(), i);
	}
	if (st)
		return st;
	if (!realpath(name, r->dir)) {
		pr_err("cannot open the log directory '%s': %s", name, strerror(errno));
		return HG_ERR_IO;
	}
	if (strcmp(name, dir))
		pr_warn("'%s' holds another log; this one is '%s'", dir, name);
	return HG_OK;
}

/* A file of the log, mapped shared, with its blocks allocated so that a full disk cannot kill a thread. */
static enum hg_status map_file(struct hg_recorder *r, const char *name, size_t size, void **out, int *out_fd)
{
	enum hg_status st = HG_ERR_IO;
	void *p;
	int fd, err;

	fd = openat(r->dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		pr_err("cannot create '%s/%s': %s", r->dir, name, strerror(errno));
		return HG_ERR_IO;
	}
	err = hg_fault("recorder.fallocate") ? ENOSPC : posix_fallocate(fd, 0, (off_t)size);
	if (err) {
		pr_err("cannot reserve %zu bytes for '%s/%s': %s", size, r->dir, name, strerror(err));
		st = err == ENOSPC || err == EDQUOT || err == EFBIG ? HG_ERR_NOSPC : HG_ERR_IO;
		goto err_unlink;
	}
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		pr_err("cannot map '%s/%s': %s", r->dir, name, strerror(errno));
		goto err_unlink;
	}
	/* a forked child must not write into our log */
	madvise(p, size, MADV_DONTFORK);
	*out = p;
	*out_fd = fd;
	return HG_OK;

err_unlink:
	unlinkat(r->dirfd, name, 0);
	close(fd);
	return st;
}

static void ring_size(unsigned int *nr_lanes, uint64_t *lane_bytes)
{
	const char *env = getenv("HGSHIM_RING");
	char *end;

	*nr_lanes = HG_RING_LANES;
	*lane_bytes = HG_RING_LANE_BYTES;
	if (env && *env) {
		unsigned long long bytes = strtoull(env, &end, 0);
		unsigned long lanes = *end == ':' ? strtoul(end + 1, NULL, 0) : HG_RING_LANES;

		if (bytes >= HG_RING_LANE_BYTES_MIN && bytes <= HG_RING_LANE_BYTES_MAX && !(bytes & (bytes - 1)) &&
		    lanes > 0 && lanes < HG_RING_SLOTS / 2) {
			*lane_bytes = bytes;
			*nr_lanes = (unsigned int)lanes;
		} else {
			pr_warn("HGSHIM_RING='%s' is not BYTES or BYTES:LANES with BYTES a power of two from %llu",
				env, (unsigned long long)HG_RING_LANE_BYTES_MIN);
		}
	}
}

static enum hg_status open_files(struct hg_recorder *r)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	unsigned int nr_lanes;
	uint64_t lane_bytes;
	enum hg_status st;
	void *p;
	int fd;

	r->dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->dirfd < 0) {
		pr_err("cannot open '%s': %s", r->dir, strerror(errno));
		return HG_ERR_IO;
	}
	if (!r->table_is_private) {
		int high = fcntl(r->dirfd, F_DUPFD_CLOEXEC, 1000);

		if (high >= 0) {
			close(r->dirfd);
			r->dirfd = high;
		}
	}
	if (is_network_fs(r->dirfd)) {
		pr_err("the log directory '%s' is on a network file system, where LMDB is not safe", r->dir);
		return HG_ERR_UNSUPPORTED;
	}
	ring_size(&nr_lanes, &lane_bytes);
	r->lane_bytes = lane_bytes;
	r->ring_bytes = hg_ring_bytes(nr_lanes, lane_bytes);
	st = map_file(r, "ring", r->ring_bytes, &p, &fd);
	if (st)
		return st;
	close(fd);
	r->ring = p;
	hg_ring_init(r->ring, nr_lanes, lane_bytes, (uint32_t)getpid());

	st = map_file(r, "control", 4096, &p, &fd);
	if (st)
		return st;
	r->control = p;
	r->control->version = HG_CONTROL_VERSION;
	r->control->pid = (uint32_t)getpid();
	memcpy(r->control->executor, r->executor, sizeof(r->control->executor));
	if (r->cfg.driver)
		snprintf(r->control->driver, sizeof(r->control->driver), "%s", r->cfg.driver);
	/*
	 * Held while the process lives: how a reader knows that the log is live. The descriptor stays
	 * open, since closing any descriptor of the file gives the lock up.
	 */
	if (fcntl(fd, F_SETLK, &whole))
		pr_warn("cannot lock '%s/control': %s", r->dir, strerror(errno));
	r->control_fd = fd;
	return HG_OK;
}

static void collect_guarded(struct hg_recorder *r)
{
	for (int fd = 3; fd < 4096 && r->nr_guarded < sizeof(r->guarded) / sizeof(r->guarded[0]); fd++) {
		char link[64], path[PATH_MAX];
		size_t len = strlen(r->dir);
		struct stat s;
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, path, sizeof(path) - 1);
		if (n < (ssize_t)len || memcmp(path, r->dir, len) || fstat(fd, &s))
			continue;
		r->guarded[r->nr_guarded++] = (struct hg_guarded_fd){ .fd = fd, .dev = s.st_dev, .ino = s.st_ino };
	}
}

bool hg_recorder_fds_are_whole(struct hg_recorder *r)
{
	for (size_t i = 0; i < r->nr_guarded; i++) {
		struct stat s;

		if (fstat(r->guarded[i].fd, &s) || s.st_dev != r->guarded[i].dev || s.st_ino != r->guarded[i].ino)
			return false;
	}
	return true;
}

static void started(struct hg_recorder *r, enum hg_status st)
{
	pthread_mutex_lock(&r->start_lock);
	r->start_status = st;
	r->start_state = st ? 2 : 1;
	pthread_cond_signal(&r->start_cond);
	pthread_mutex_unlock(&r->start_lock);
}

#define IDLE_MS_MIN 20
#define IDLE_MS_MAX 200
#define RETRY_MS 100
#define RETRIES 20

/* For how long no lane gets more than a quarter full, if it fills as fast as it did in the time before this pass. */
static unsigned int nap_ms(const struct hg_recorder *r, uint64_t ns)
{
	uint64_t filled = hg_store_filled(r), ms = IDLE_MS_MIN;

	if (filled)
		ms = ns / 1000000 * (r->lane_bytes / 4) / filled;
	return ms < 1 ? 1 : ms < IDLE_MS_MIN ? (unsigned int)ms : IDLE_MS_MIN;
}

static void write_loop(struct hg_recorder *r)
{
	unsigned int idle_ms = IDLE_MS_MIN, failures = 0;
	uint64_t last = hg_now_ns();

	for (;;) {
		bool stopping = atomic_load(&r->stop), moved = false;
		uint64_t now = hg_now_ns();
		enum hg_status st;

		if (!hg_recorder_fds_are_whole(r)) {
			/* LMDB would write into the application's files; not even closing it is safe now */
			hg_recorder_off(r, "the application closed a descriptor of the log");
			r->nr_guarded = 0;
			r->env = NULL;
			return;
		}
		st = hg_store_pass(r, &moved);
		if (st) {
			/* a full map cannot grow while the process reads its own log */
			if (st != HG_ERR_NOSPC || !atomic_load(&r->is_read))
				failures++;
			if (failures > RETRIES || stopping || (st != HG_ERR_NOSPC && st != HG_ERR_NOMEM)) {
				r->muted = false;
				hg_recorder_off(r, "the log cannot be written: %s", hg_status_text(st));
				return;
			}
			r->muted = true;
		} else {
			failures = 0;
			r->muted = false;
		}
		hg_store_prune(r);
		atomic_fetch_add(&r->drained, 1);
		if (atomic_load(&r->waiters))
			hg_futex_wake(&r->drained, false);
		if (stopping && !moved)
			return;
		if (!atomic_load(&r->on))
			return;
		if (moved && !st) {
			idle_ms = nap_ms(r, now - last);
			last = now;
			if (hg_store_is_behind(r))
				continue;
		} else if (idle_ms < IDLE_MS_MAX) {
			idle_ms *= 2;
		}
		last = now;
		/* who sees 1 wakes us; who stored a record before may have seen 0, and waits for the timeout */
		atomic_store(&r->writer_sleeps, 1);
		if (!atomic_load(&r->stop) && !atomic_load(&r->waiters))
			hg_futex_wait(&r->writer_sleeps, 1, st ? RETRY_MS : idle_ms, false);
		else
			sched_yield();
		atomic_store(&r->writer_sleeps, 0);
	}
}

static void *writer_main(void *recorder)
{
	struct hg_recorder *r = recorder;
	enum hg_status st;

	pthread_setname_np(pthread_self(), "hgshim-writer");
	hg_msg_sink_set(hg_recorder_sink, r);
	/*
	 * A table of our own, and empty: no close or dup2 of the application reaches a descriptor of the log,
	 * and none of these appears in the application or in its children.
	 */
	r->table_is_private = !hg_fault("recorder.unshare") &&
			      !syscall(SYS_close_range, 3u, ~0u, 2u /* CLOSE_RANGE_UNSHARE */);
	st = open_files(r);
	if (st)
		goto failed;
	st = hg_store_open(r);
	if (st)
		goto failed;
	if (!r->table_is_private)
		collect_guarded(r);
	if (pthread_create(&r->checkpoint, NULL, hg_checkpoint_main, r)) {
		pr_err("cannot create the checkpoint thread");
		st = HG_ERR_NOMEM;
		goto failed;
	}
	r->has_checkpoint = true;
	while (!atomic_load(&r->checkpoint_tid))
		sched_yield();
	r->control->tid = (uint32_t)atomic_load(&r->checkpoint_tid);
	r->control->recording = 1;
	atomic_thread_fence(memory_order_release);
	r->control->magic = HG_CONTROL_MAGIC;
	atomic_store(&r->on, true);
	started(r, HG_OK);

	write_loop(r);
	pthread_mutex_lock(&r->snapshot_lock);
	/* what failed before will fail again, and was said */
	r->muted = !atomic_load(&r->on);
	hg_store_stopped(r);
	hg_store_close(r);
	/* a thread may be joined before the kernel has closed its files: who looks then shall not find a live log */
	if (atomic_load(&r->stop))
		close(r->control_fd);
	pthread_mutex_unlock(&r->snapshot_lock);
	atomic_store(&r->writer_done, true);
	return NULL;

failed:
	hg_store_close(r);
	if (r->dirfd >= 0) {
		/* nothing is left behind but the directory */
		unlinkat(r->dirfd, "log.mdb", 0);
		unlinkat(r->dirfd, "log.mdb-lock", 0);
		unlinkat(r->dirfd, "ring", 0);
		unlinkat(r->dirfd, "control", 0);
		close(r->dirfd);
	}
	started(r, st);
	return NULL;
}

static void load_unwinder(struct hg_recorder *r)
{
	void *lib = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);

	if (lib)
		*(void **)&r->backtrace = dlsym(lib, "unw_backtrace");
	if (!r->backtrace)
		pr_warn("no call sites are recorded: cannot open 'libunwind.so.8'");
}

static void *map_wiped_on_fork(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, 4096, MADV_WIPEONFORK)) {
		munmap(p, 4096);
		return NULL;
	}
	return p;
}

static uint64_t ops_skipped(enum hg_calls_mode mode)
{
	static const enum hg_op no_object[] = {
		HG_OP_NONE, HG_OP_CTX_CURRENT, HG_OP_GLOBAL, HG_OP_EVENT_RECORD, HG_OP_STREAM_WAIT, HG_OP_H2D,
		HG_OP_D2H, HG_OP_D2D, HG_OP_FILL, HG_OP_LAUNCH, HG_OP_HOST_FUNC, HG_OP_SYNC, HG_OP_COPY,
	};
	uint64_t skip = 0;

	if (mode == HG_CALLS_OBJECTS)
		for (size_t i = 0; i < sizeof(no_object) / sizeof(no_object[0]); i++)
			skip |= UINT64_C(1) << no_object[i];
	return skip;
}

static void recorder_free(struct hg_recorder *r)
{
	if (r->ring)
		munmap(r->ring, r->ring_bytes);
	if (r->control)
		munmap(r->control, 4096);
	if (r->generation)
		munmap((void *)r->generation, 4096);
	free(r);
}

enum hg_status hg_recorder_start(const struct hg_recorder_config *cfg, struct hg_recorder **out)
{
	struct hg_recorder *r;
	enum hg_status st;
	sigset_t all, old;
	int err;

	pthread_once(&exit_key_once, make_exit_key);
	r = calloc(1, sizeof(*r));
	if (!r)
		return HG_ERR_NOMEM;
	r->cfg = *cfg;
	r->dirfd = -1;
	r->control_fd = -1;
	r->pid = (uint32_t)getpid();
	snprintf(r->executor, sizeof(r->executor), "%s", cfg->executor ? cfg->executor : "");
	r->cfg.executor = r->executor;
	r->payload_limit = cfg->payload_limit ? cfg->payload_limit : UINT64_C(4) << 30;
	if (!r->cfg.tail_limit)
		r->cfg.tail_limit = UINT64_C(8) << 30;
	atomic_store(&r->payload_on, cfg->payload && cfg->calls != HG_CALLS_OBJECTS);
	r->skip_ops = ops_skipped(cfg->calls);
	atomic_store(&r->next_stack, 1);
	atomic_store(&r->stored, HG_ID_FIRST);
	pthread_mutex_init(&r->shared_lock, NULL);
	pthread_mutex_init(&r->message_lock, NULL);
	pthread_mutex_init(&r->txn_lock, NULL);
	pthread_mutex_init(&r->snapshot_lock, NULL);
	pthread_mutex_init(&r->start_lock, NULL);
	pthread_mutex_init(&r->images.lock, NULL);
	pthread_mutex_init(&r->stacks.lock, NULL);
	pthread_cond_init(&r->start_cond, NULL);
	r->generation = map_wiped_on_fork();
	if (!r->generation) {
		pr_err("cannot map a page that fork wipes: %s", strerror(errno));
		st = HG_ERR_NOMEM;
		goto err_free;
	}
	/* here and not on the writer's thread, which must never wait for the loader's lock */
	st = hg_mdb_load(&r->mdb);
	if (st)
		goto err_free;
	st = choose_dir(r, cfg->dir);
	if (st)
		goto err_free;
	if (cfg->stacks)
		load_unwinder(r);

	/* the application's signals must not be delivered on our threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&r->writer, NULL, writer_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		pr_err("cannot create the writer thread: %s", strerror(err));
		st = HG_ERR_NOMEM;
		goto err_claim;
	}
	pthread_mutex_lock(&r->start_lock);
	while (!r->start_state)
		pthread_cond_wait(&r->start_cond, &r->start_lock);
	pthread_mutex_unlock(&r->start_lock);
	print_messages(r);
	st = r->start_status;
	if (st) {
		pthread_join(r->writer, NULL);
		goto err_free;
	}
	r->has_writer = true;
	atomic_store(r->generation, atomic_fetch_add(&last_generation, 1) + 1);
	r->retired = atomic_load(&newest);
	atomic_store(&newest, r);
	*out = r;
	return HG_OK;

err_claim:
	unclaim(r->dir);
err_free:
	recorder_free(r);
	return st;
}

static bool join_until(pthread_t thread, uint64_t deadline_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / 1000000000),
			       .tv_nsec = (long)(deadline_ns % 1000000000) };

	return !pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &ts);
}

void hg_recorder_stop(struct hg_recorder *r)
{
	uint64_t deadline = hg_now_ns() + WAIT_STOP_MS * UINT64_C(1000000);
	bool is_over = true;

	/* a forked child has no threads to stop */
	if (!r || (uint32_t)getpid() != r->pid || atomic_exchange(&r->stop, true))
		return;
	if (r->has_checkpoint) {
		syscall(SYS_tgkill, getpid(), atomic_load(&r->checkpoint_tid),
			SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET);
		is_over = join_until(r->checkpoint, deadline);
	}
	wake_writer(r);
	if (r->has_writer)
		is_over &= join_until(r->writer, deadline);
	print_messages(r);
	atomic_store(&r->on, false);
	atomic_store(r->generation, 0);
	if (!is_over)
		pr_warn("the log '%s' was not finished in time; what is missing is in its ring", r->dir);
	/*
	 * A thread may be inside commit: the lanes stay mapped, as memory of nobody. The struct
	 * stays too, reachable through `newest`.
	 */
	if (is_over)
		mmap(r->ring, r->ring_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}
