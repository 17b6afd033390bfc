/* queue.c - streams of the fake CUDA driver: a queue and a thread for each, and the order between them. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/cuda/fake.h"

/*
 * Work of all streams of a context is numbered as it comes (seq). The legacy stream's work waits for all older
 * work of the blocking streams, theirs for all older work of the legacy stream; a wait for an event waits for a position of
 * another stream, which is older too. So whatever waits, waits for something older, and nothing waits for ever.
 */

/* At exit: workers do not begin anything any more. */
static atomic_bool shutdown;
static atomic_int busy;

/* A kernel may run for ever: then the process ends without it. */
void fake_streams_shutdown(void)
{
	const struct timespec tick = { 0, 1000000 };
	uint64_t end = fake_now_ns() + 2000000000u;

	atomic_store(&shutdown, true);
	while (atomic_load(&busy) && fake_now_ns() < end)
		nanosleep(&tick, NULL);
}

/* ---- waiting ---- */

/* The stream is locked. False: at exit, when nothing is begun any more; the call then has another result (entry.c). */
static bool wait_done(struct fake_stream *s)
{
	struct timespec end;

	if (atomic_load(&shutdown))
		return false;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 50000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	(void)pthread_cond_timedwait(&s->done, &s->lock, &end);
	return true;
}

/* Until nothing in it is older than seq. */
static void wait_older(struct fake_stream *s, uint64_t seq)
{
	if (atomic_load_explicit(&s->oldest, memory_order_acquire) >= seq)
		return;
	pthread_mutex_lock(&s->lock);
	s->waiters++;
	while (s->oldest < seq && wait_done(s))
		;
	s->waiters--;
	pthread_mutex_unlock(&s->lock);
}

void fake_stream_wait(struct fake_stream *s, uint64_t pos)
{
	if (fake_stream_reached(s, pos))
		return;
	pthread_mutex_lock(&s->lock);
	s->waiters++;
	while (s->head < pos && wait_done(s))
		;
	s->waiters--;
	pthread_mutex_unlock(&s->lock);
}

/* A stream with work older than seq, with a reference: any, or of those that the legacy stream waits for. */
static struct fake_stream *find_older(struct fake_ctx *ctx, uint64_t seq, bool any)
{
	struct fake_stream *found = NULL;

	if (atomic_load(&shutdown))
		return NULL;
	pthread_mutex_lock(&ctx->lock);
	for (size_t i = 0; i < ctx->nr_streams && !found; i++) {
		struct fake_stream *s = ctx->stream[i];

		if ((any || (s->blocking && !s->is_legacy)) &&
		    atomic_load_explicit(&s->oldest, memory_order_acquire) < seq) {
			fake_ref(&s->obj);
			found = s;
		}
	}
	pthread_mutex_unlock(&ctx->lock);
	return found;
}

static void wait_for_others(struct fake_stream *s, uint64_t seq)
{
	struct fake_stream *other;

	if (s->is_legacy) {
		for (other = find_older(s->obj.ctx, seq, false); other; other = find_older(s->obj.ctx, seq, false)) {
			wait_older(other, seq);
			fake_put(&other->obj);
		}
	} else if (s->blocking) {
		other = atomic_load_explicit(&s->obj.ctx->legacy, memory_order_acquire);
		if (other)
			wait_older(other, seq);
	}
}

/* ---- the worker ---- */

static uint64_t load(const struct fake_work *w)
{
	return w->value.bits == 32 ? *(volatile uint32_t *)w->value.addr : *(volatile uint64_t *)w->value.addr;
}

static bool is_reached(const struct fake_work *w)
{
	uint64_t now = load(w), mask = w->value.bits == 32 ? UINT32_MAX : UINT64_MAX;

	switch (w->value.flags) {
	case CU_STREAM_WAIT_VALUE_GEQ:
		return !((now - w->value.value) >> (w->value.bits - 1) & 1);
	case CU_STREAM_WAIT_VALUE_EQ:
		return now == w->value.value;
	case CU_STREAM_WAIT_VALUE_AND:
		return now & w->value.value;
	default:
		return ~(now | w->value.value) & mask;
	}
}

/* Until someone, on whatever side, has written it. */
static void poll_value(struct fake_ctx *ctx, const struct fake_work *w)
{
	const struct timespec tick = { 0, 50000 };

	while (!is_reached(w) && !atomic_load(&shutdown) && atomic_load(&ctx->error) == CUDA_SUCCESS)
		nanosleep(&tick, NULL);
	atomic_thread_fence(memory_order_acquire);
}

static void write_value(const struct fake_work *w)
{
	if (w->value.bits == 32)
		__atomic_store_n((uint32_t *)w->value.addr, (uint32_t)w->value.value, __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint64_t *)w->value.addr, w->value.value, __ATOMIC_RELEASE);
}

static void run(struct fake_stream *s, struct fake_work *w)
{
	CUresult error = atomic_load(&s->obj.ctx->error);

	/* After a fault nothing of the context runs; what others wait for, or what holds memory, still ends. */
	switch (w->op) {
	case FAKE_NOP:
		break;
	case FAKE_COPY:
		if (error == CUDA_SUCCESS)
			fake_copy_run(&w->copy);
		free(w->copy.staging);
		break;
	case FAKE_FILL:
		if (error == CUDA_SUCCESS)
			fake_fill_run(&w->fill);
		break;
	case FAKE_LAUNCH:
		if (error == CUDA_SUCCESS)
			fake_launch_run(s, w);
		free(w->launch.params);
		break;
	case FAKE_HOST:
		if (error == CUDA_SUCCESS)
			w->host.fn(w->host.data);
		break;
	case FAKE_CALLBACK:
		w->host.callback(w->host.handle, error, w->host.data);
		break;
	case FAKE_RECORD:
		fake_event_reached(w->record.event, w->record.generation);
		break;
	case FAKE_WAIT:
		if (w->wait.stream != s)
			fake_stream_wait(w->wait.stream, w->wait.pos);
		fake_put(&w->wait.stream->obj);
		break;
	case FAKE_WRITE:
		if (error == CUDA_SUCCESS)
			write_value(w);
		break;
	case FAKE_POLL:
		if (error == CUDA_SUCCESS)
			poll_value(s->obj.ctx, w);
		break;
	}
}

/* The stream locked: its first work is done. */
static void advance(struct fake_stream *s)
{
	const uint64_t mask = fake_config.queue_depth - 1;

	atomic_store_explicit(&s->oldest, s->head + 1 == s->tail ? UINT64_MAX : s->ring[(s->head + 1) & mask].seq,
			      memory_order_release);
	atomic_store_explicit(&s->head, s->head + 1, memory_order_release);
	if (s->waiters)
		pthread_cond_broadcast(&s->done);
}

static void leave(struct fake_stream *s)
{
	struct fake_ctx *ctx = s->obj.ctx;

	pthread_mutex_lock(&ctx->lock);
	for (size_t i = 0; i < ctx->nr_streams; i++)
		if (ctx->stream[i] == s) {
			ctx->stream[i] = ctx->stream[--ctx->nr_streams];
			break;
		}
	fake_put(&s->obj);
	pthread_cond_broadcast(&ctx->worker_gone);
	pthread_mutex_unlock(&ctx->lock);
}

static void *worker(void *arg)
{
	const uint64_t mask = fake_config.queue_depth - 1;
	struct fake_stream *s = arg;

	pthread_setname_np(pthread_self(), "fake-cuda");
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct fake_work *w;

		while (s->caller_runs || (s->head == s->tail && !s->stop))
			pthread_cond_wait(&s->more, &s->lock);
		if (s->head == s->tail)
			break;
		w = &s->ring[s->head & mask];
		pthread_mutex_unlock(&s->lock);

		wait_for_others(s, w->seq);
		atomic_fetch_add(&busy, 1);
		while (atomic_load(&shutdown)) {
			atomic_fetch_sub(&busy, 1);
			pause();
			atomic_fetch_add(&busy, 1);
		}
		run(s, w);
		atomic_fetch_sub(&busy, 1);

		pthread_mutex_lock(&s->lock);
		advance(s);
	}
	pthread_mutex_unlock(&s->lock);
	leave(s);
	return NULL;
}

/* ---- streams ---- */

static void stream_release(struct fake_obj *obj)
{
	struct fake_stream *s = (struct fake_stream *)obj;

	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->more);
	pthread_cond_destroy(&s->done);
	free(s->ring);
	free(s);
}

static bool list_add(struct fake_ctx *ctx, struct fake_stream *s)
{
	if (ctx->nr_streams == ctx->max_streams) {
		size_t max = ctx->max_streams ? 2 * ctx->max_streams : 8;
		struct fake_stream **more = realloc(ctx->stream, max * sizeof(*more));

		if (!more)
			return false;
		ctx->stream = more;
		ctx->max_streams = max;
	}
	ctx->stream[ctx->nr_streams++] = s;
	return true;
}

/* Under the context's lock, as the legacy stream may not be made twice. */
static CUresult stream_new(struct fake_ctx *ctx, unsigned int flags, int priority, bool is_legacy,
			   struct fake_stream **out)
{
	static atomic_uint_fast64_t next_id = 1;
	struct fake_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return CUDA_ERROR_OUT_OF_MEMORY;
	s->obj.kind = FAKE_STREAM;
	s->obj.ctx = ctx;
	s->obj.release = stream_release;
	s->flags = flags;
	s->priority = priority;
	s->id = atomic_fetch_add(&next_id, 1);
	s->is_legacy = is_legacy;
	s->blocking = !(flags & CU_STREAM_NON_BLOCKING);
	s->sync_policy = CU_SYNC_POLICY_AUTO;
	s->oldest = UINT64_MAX;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	pthread_cond_init(&s->done, NULL);
	s->ring = aligned_alloc(64, (fake_config.queue_depth * sizeof(*s->ring) + 63) & ~(size_t)63);
	if (!s->ring || !fake_handle_add(&s->obj))
		goto err_free;
	if (!list_add(ctx, s))
		goto err_handle;
	fake_ref(&s->obj);	/* the worker's */
	if (!fake_thread_start(worker, s))
		goto err_list;
	*out = s;
	return CUDA_SUCCESS;

err_list:
	ctx->nr_streams--;
err_handle:
	fake_handle_remove(&s->obj);
err_free:
	stream_release(&s->obj);
	return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult fake_stream_new(struct fake_ctx *ctx, unsigned int flags, int priority, bool is_legacy,
			 struct fake_stream **out)
{
	CUresult r;

	pthread_mutex_lock(&ctx->lock);
	r = stream_new(ctx, flags, priority, is_legacy, out);
	pthread_mutex_unlock(&ctx->lock);
	return r;
}

static CUresult legacy(struct fake_ctx *ctx, struct fake_stream **out)
{
	struct fake_stream *s = atomic_load_explicit(&ctx->legacy, memory_order_acquire);
	CUresult r = CUDA_SUCCESS;

	if (!s) {
		pthread_mutex_lock(&ctx->lock);
		s = ctx->legacy;
		if (!s)
			r = stream_new(ctx, CU_STREAM_DEFAULT, 0, true, &s);
		if (r == CUDA_SUCCESS)
			atomic_store_explicit(&ctx->legacy, s, memory_order_release);
		pthread_mutex_unlock(&ctx->lock);
	}
	if (r == CUDA_SUCCESS)
		*out = s;
	return r;
}

/* The calling thread's default stream in the context. */
static CUresult own(struct fake_ctx *ctx, struct fake_stream **out)
{
	struct fake_own_stream *more;
	struct fake_stream *s;
	CUresult r;

	for (size_t i = 0; i < fake_self.nr_own; i++) {
		if (fake_self.own[i].ctx != ctx)
			continue;
		s = fake_self.own[i].stream;
		if (fake_handle(s, FAKE_STREAM)) {
			*out = s;
			return CUDA_SUCCESS;
		}
		/* the context has ended and begun again since */
		fake_put(&s->obj);
		fake_self.own[i] = fake_self.own[--fake_self.nr_own];
		break;
	}
	more = realloc(fake_self.own, (fake_self.nr_own + 1) * sizeof(*more));
	if (!more)
		return CUDA_ERROR_OUT_OF_MEMORY;
	fake_self.own = more;
	r = fake_stream_new(ctx, CU_STREAM_DEFAULT, 0, false, &s);
	if (r != CUDA_SUCCESS)
		return r;
	fake_ref(&s->obj);
	fake_self.own[fake_self.nr_own++] = (struct fake_own_stream){ ctx, s };
	fake_self_exits();
	*out = s;
	return CUDA_SUCCESS;
}

CUresult fake_stream_get(CUstream handle, struct fake_stream **out)
{
	struct fake_stream *s;
	struct fake_ctx *ctx;
	CUresult r = fake_current(&ctx);

	if (r != CUDA_SUCCESS)
		return r;
	if (handle == CU_STREAM_PER_THREAD || (!handle && fake_self.per_thread))
		return own(ctx, out);
	if (!handle || handle == CU_STREAM_LEGACY)
		return legacy(ctx, out);
	s = fake_handle(handle, FAKE_STREAM);
	if (!s)
		return CUDA_ERROR_INVALID_HANDLE;
	*out = s;
	return CUDA_SUCCESS;
}

void fake_stream_end(struct fake_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	fake_put(&s->obj);
}

static void end_if_stream(struct fake_obj *obj)
{
	if (obj->kind == FAKE_STREAM && fake_handle_remove(obj))
		fake_stream_end((struct fake_stream *)obj);
}

void fake_ctx_end_streams(struct fake_ctx *ctx)
{
	fake_handles_of(ctx, end_if_stream);
	pthread_mutex_lock(&ctx->lock);
	while (ctx->nr_streams)
		pthread_cond_wait(&ctx->worker_gone, &ctx->lock);
	pthread_mutex_unlock(&ctx->lock);
}

/* ---- putting work in ---- */

struct fake_work *fake_work_begin(struct fake_stream *s, enum fake_op op)
{
	struct fake_work *w;

	pthread_mutex_lock(&s->lock);
	s->waiters++;
	while (s->tail - s->head == fake_config.queue_depth)
		pthread_cond_wait(&s->done, &s->lock);
	s->waiters--;
	w = &s->ring[s->tail & (fake_config.queue_depth - 1)];
	w->op = op;
	return w;
}

/* Still locked after it. */
static uint64_t append(struct fake_stream *s, struct fake_work *w)
{
	w->seq = atomic_fetch_add_explicit(&s->obj.ctx->seq, 1, memory_order_acq_rel);
	if (s->head == s->tail)
		atomic_store_explicit(&s->oldest, w->seq, memory_order_release);
	atomic_store_explicit(&s->tail, s->tail + 1, memory_order_release);
	return s->tail;
}

uint64_t fake_work_publish(struct fake_stream *s, struct fake_work *w)
{
	uint64_t pos = append(s, w);

	if (pos - s->head == 1)
		pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return pos;
}

void fake_work_finish(struct fake_stream *s, struct fake_work *w)
{
	if (s->head != s->tail) {
		fake_stream_wait(s, fake_work_publish(s, w));
		return;
	}
	s->caller_runs = true;
	append(s, w);
	pthread_mutex_unlock(&s->lock);
	wait_for_others(s, w->seq);
	run(s, w);
	pthread_mutex_lock(&s->lock);
	advance(s);
	s->caller_runs = false;
	if (s->head != s->tail || s->stop)
		pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
}

CUresult fake_stream_sync(struct fake_stream *s)
{
	/* its own end would not say that the others, for which it waits, are there */
	if (s->is_legacy)
		fake_work_finish(s, fake_work_begin(s, FAKE_NOP));
	else
		fake_stream_wait(s, atomic_load(&s->tail));
	return atomic_load(&s->obj.ctx->error);
}

/* What comes in meanwhile is not waited for. */
CUresult fake_ctx_sync(struct fake_ctx *ctx)
{
	uint64_t seq = atomic_load(&ctx->seq);
	struct fake_stream *s;

	for (s = find_older(ctx, seq, true); s; s = find_older(ctx, seq, true)) {
		wait_older(s, seq);
		fake_put(&s->obj);
	}
	return atomic_load(&ctx->error);
}
