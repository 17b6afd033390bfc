/* stream.c - streams of the HIP double: a queue and a thread for each, and the order between them. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/hip/hip.h"

/*
 * Work of all streams is numbered as it comes (seq). The null stream's work waits for all older work of its device's
 * blocking streams, theirs for all older work of the null stream; a wait for an event waits for a position of another stream,
 * which is older too. So whatever waits, waits for something older, and nothing waits for ever. Nothing else is
 * ordered: before its work a stream rests for a time of chance, so that what relies on luck is found.
 */
pthread_mutex_t hd_queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;	/* some work has ended, or a stream has */
static struct hd_stream *streams;				/* all that have a worker */
static struct hd_stream *null_stream[HD_MAX_DEVICES];
static uint64_t next_seq = 1;
static _Atomic(hipError_t) device_error[HD_MAX_DEVICES];
static bool shutdown;						/* at exit: nothing is begun any more */
static unsigned int busy;

hipError_t hd_device_error(int device)
{
	return atomic_load(&device_error[device]);
}

void hd_device_fails(int device, hipError_t error)
{
	hipError_t none = hipSuccess;

	atomic_compare_exchange_strong(&device_error[device], &none, error);
}

/* ---- order ---- */

static uint64_t oldest(const struct hd_stream *s)
{
	return s->first ? s->first->seq : UINT64_MAX;
}

/* Whether work of other streams, which must come before, has ended. */
static bool is_ready(const struct hd_stream *s, const struct hd_work *w)
{
	if (w->op == HD_WAIT && w->wait.stream != s && w->wait.stream->head < w->wait.pos)
		return false;
	if (!s->blocking)
		return true;
	for (const struct hd_stream *o = streams; o; o = o->next)
		if (o != s && o->device == s->device && o->blocking && (s->is_null || o->is_null) && oldest(o) < w->seq)
			return false;
	return true;
}

/* ---- the worker ---- */

static void run_host(struct hd_stream *s, struct hd_work *w)
{
	hd_self.in_host_func = true;
	if (w->op == HD_HOST)
		w->host.fn(w->host.data);
	else
		w->host.callback(w->host.handle, hd_device_error(s->device), w->host.data);
	hd_self.in_host_func = false;
}

/* After a fault nothing of the device runs; what others wait for, or what holds memory, still ends. */
static void run(struct hd_stream *s, struct hd_work *w)
{
	bool ok = hd_device_error(s->device) == hipSuccess;

	switch (w->op) {
	case HD_COPY:
		if (ok)
			hd_copy_run(&w->copy);
		break;
	case HD_FILL:
		if (ok)
			hd_fill_run(&w->fill);
		break;
	case HD_LAUNCH:
		if (ok)
			hd_launch_run(s, &w->launch);
		break;
	case HD_HOST:
	case HD_CALLBACK:
		run_host(s, w);
		break;
	case HD_RECORD:
	case HD_WAIT:
	case HD_NOP:
		break;
	}
}

/* With the lock: its first work is done. */
static void advance(struct hd_stream *s)
{
	struct hd_work *w = s->first;

	if (w->op == HD_RECORD)
		hd_event_reached(w->record.event, w->record.generation);
	s->first = w->next;
	if (!s->first)
		s->last = &s->first;
	s->head++;
	pthread_cond_broadcast(&progress);
}

/* What work held; its end may free objects, so without the lock. */
static void release(struct hd_work *w)
{
	if (w->op == HD_WAIT) {
		fake_put(&w->wait.stream->obj);
	} else if (w->op == HD_RECORD) {
		fake_put((struct fake_obj *)w->record.event);
	} else if (w->op == HD_LAUNCH) {
		free(w->launch.kernarg);
		fake_put(&w->launch.f->obj);
	}
	free(w);
}

static bool is_device_work(enum hd_op op)
{
	return op == HD_COPY || op == HD_FILL || op == HD_LAUNCH;
}

static void *worker(void *arg)
{
	struct hd_stream *s = arg;
	bool is_device = false;

	pthread_setname_np(pthread_self(), "fake-hip");
	hd_self.device = s->device;
	pthread_mutex_lock(&hd_queue_lock);
	for (;;) {
		struct hd_work *w = s->first;

		if (is_device && (!w || shutdown || !is_device_work(w->op) || !is_ready(s, w))) {
			is_device = false;
			pthread_mutex_unlock(&hd_queue_lock);
			fake_device_end();
			pthread_mutex_lock(&hd_queue_lock);
			continue;
		}
		if (shutdown) {
			pthread_mutex_unlock(&hd_queue_lock);
			for (;;)
				pause();
		}
		if (!w) {
			if (s->stop)
				break;
			pthread_cond_wait(&s->more, &hd_queue_lock);
			continue;
		}
		if (!is_ready(s, w)) {
			pthread_cond_wait(&progress, &hd_queue_lock);
			continue;
		}
		busy++;
		pthread_mutex_unlock(&hd_queue_lock);
		fake_rest(&s->random, hd_config.delay_us);
		if (is_device_work(w->op) && !is_device) {
			fake_device_begin();
			is_device = true;
		}
		run(s, w);
		pthread_mutex_lock(&hd_queue_lock);
		busy--;
		advance(s);
		pthread_mutex_unlock(&hd_queue_lock);
		release(w);
		pthread_mutex_lock(&hd_queue_lock);
	}
	for (struct hd_stream **at = &streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	pthread_cond_broadcast(&progress);
	pthread_mutex_unlock(&hd_queue_lock);
	fake_put(&s->obj);
	return NULL;
}

/* A kernel may run for ever: then the process ends without it. */
void hd_streams_shutdown(void)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 2;
	pthread_mutex_lock(&hd_queue_lock);
	shutdown = true;
	while (busy && !pthread_cond_timedwait(&progress, &hd_queue_lock, &end))
		;
	pthread_cond_broadcast(&progress);
	pthread_mutex_unlock(&hd_queue_lock);
}

/* ---- streams ---- */

static void stream_release(struct fake_obj *obj)
{
	struct hd_stream *s = (struct hd_stream *)obj;

	pthread_cond_destroy(&s->more);
	free(s);
}

/* With the lock, as the null stream may not be made twice. */
static hipError_t stream_new(int device, unsigned int flags, int priority, bool is_null, struct hd_stream **out)
{
	static uint64_t number;
	struct hd_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return hipErrorOutOfMemory;
	s->obj.kind = HD_STREAM;
	s->obj.release = stream_release;
	s->device = device;
	s->flags = flags;
	s->priority = priority < -1 ? -1 : priority > 1 ? 1 : priority;
	s->is_null = is_null;
	s->blocking = !(flags & hipStreamNonBlocking);
	s->last = &s->first;
	s->random = fake_random_seed(hd_config.seed + ++number);
	pthread_cond_init(&s->more, NULL);
	if (is_null)
		atomic_init(&s->obj.refs, 1);	/* it has no handle */
	else if (!fake_handle_add(&s->obj))
		goto err;
	fake_ref(&s->obj);		/* the worker's */
	s->next = streams;
	streams = s;
	if (!fake_thread_start(worker, s))
		goto err_list;
	*out = s;
	return hipSuccess;

err_list:
	streams = s->next;
	if (!is_null)
		fake_handle_remove(&s->obj);
err:
	stream_release(&s->obj);
	return hipErrorOutOfMemory;
}

static pthread_key_t own_key;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static void end(struct hd_stream *s)
{
	pthread_mutex_lock(&hd_queue_lock);
	s->stop = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&hd_queue_lock);
	fake_put(&s->obj);
}

/* A thread has ended: its streams end when they are empty. */
static void own_end(void *arg)
{
	struct hd_stream **own = arg;

	for (int i = 0; i < HD_MAX_DEVICES; i++)
		if (own[i] && fake_handle_remove(&own[i]->obj))
			end(own[i]);
	free(own);
}

static void own_make_key(void)
{
	pthread_key_create(&own_key, own_end);
}

/* Where the calling thread's stream of the current device is, or will be. */
static bool own_streams(struct hd_stream ***out)
{
	if (!hd_self.own) {
		hd_self.own = calloc(HD_MAX_DEVICES, sizeof(*hd_self.own));
		pthread_once(&own_once, own_make_key);
		pthread_setspecific(own_key, hd_self.own);
	}
	if (hd_self.own)
		*out = &hd_self.own[hd_self.device];
	return hd_self.own != NULL;
}

hipError_t hd_stream_get(hipStream_t handle, struct hd_stream **out)
{
	struct hd_stream **special = NULL, *s;
	hipError_t r = hipSuccess;

	if (!handle || handle == HIP6_STREAM_LEGACY)
		special = &null_stream[hd_self.device];
	else if (handle == hipStreamPerThread && !own_streams(&special))
		return hipErrorOutOfMemory;
	if (!special) {
		s = fake_handle(handle, HD_STREAM);
		if (!s)
			return hd_misuse(hipErrorContextIsDestroyed, "%p is no stream", (void *)handle);
		*out = s;
		return hipSuccess;
	}
	pthread_mutex_lock(&hd_queue_lock);
	if (!*special)
		r = stream_new(hd_self.device, hipStreamDefault, 0, special == &null_stream[hd_self.device], special);
	if (r == hipSuccess)
		*out = *special;
	pthread_mutex_unlock(&hd_queue_lock);
	return r;
}

/* ---- putting work in, and waiting for it ---- */

struct hd_work *hd_work_new(enum hd_op op)
{
	struct hd_work *w = calloc(1, sizeof(*w));

	if (w)
		w->op = op;
	return w;
}

/* False: at exit, when nothing is begun any more; the call then has another result (entry.c). */
static bool wait_progress(void)
{
	if (shutdown)
		return false;
	pthread_cond_wait(&progress, &hd_queue_lock);
	return true;
}

uint64_t hd_submit_locked(struct hd_stream *s, struct hd_work *w)
{
	while (s->tail - s->head >= hd_config.queue_depth && wait_progress())
		;
	w->seq = next_seq++;
	*s->last = w;
	s->last = &w->next;
	pthread_cond_signal(&s->more);
	return ++s->tail;
}

uint64_t hd_submit(struct hd_stream *s, struct hd_work *w)
{
	uint64_t pos;

	pthread_mutex_lock(&hd_queue_lock);
	pos = hd_submit_locked(s, w);
	pthread_mutex_unlock(&hd_queue_lock);
	return pos;
}

void hd_wait(struct hd_stream *s, uint64_t pos)
{
	pthread_mutex_lock(&hd_queue_lock);
	while (s->head < pos && wait_progress())
		;
	pthread_mutex_unlock(&hd_queue_lock);
}

bool hd_reached(struct hd_stream *s, uint64_t pos)
{
	bool is;

	pthread_mutex_lock(&hd_queue_lock);
	is = s->head >= pos;
	pthread_mutex_unlock(&hd_queue_lock);
	return is;
}

static bool has_older(int device, uint64_t seq)
{
	for (const struct hd_stream *s = streams; s; s = s->next)
		if (s->device == device && oldest(s) < seq)
			return true;
	return false;
}

/* What comes in meanwhile is not waited for. */
void hd_device_wait(int device)
{
	uint64_t seq;

	pthread_mutex_lock(&hd_queue_lock);
	seq = next_seq;
	while (has_older(device, seq) && wait_progress())
		;
	pthread_mutex_unlock(&hd_queue_lock);
}

void hd_stream_wait_all(struct hd_stream *s)
{
	struct hd_work *w = s->is_null ? hd_work_new(HD_NOP) : NULL;
	uint64_t pos;

	pthread_mutex_lock(&hd_queue_lock);
	/* its own end would not say that the others, for which it waits, are there */
	pos = w ? hd_submit_locked(s, w) : s->tail;
	while (s->head < pos && wait_progress())
		;
	pthread_mutex_unlock(&hd_queue_lock);
}

static bool overlaps(uint64_t start, uint64_t size, uint64_t with, uint64_t bytes)
{
	return start < with + bytes && with < start + size;
}

static bool uses(const struct hd_work *w, uint64_t start, uint64_t size, const struct hd_module *m)
{
	const struct hd_copy *c = &w->copy;

	if (w->op == HD_LAUNCH)
		return m && w->launch.f->module == m;
	if (w->op == HD_COPY)
		return overlaps(start, size, c->dst, hd_copy_extent(c, c->dst_pitch, c->dst_slice)) ||
			overlaps(start, size, c->src, hd_copy_extent(c, c->src_pitch, c->src_slice));
	if (w->op == HD_FILL)
		return overlaps(start, size, w->fill.dst,
				(w->fill.height - 1) * w->fill.pitch + w->fill.width * w->fill.size);
	return false;
}

bool hd_is_used(uint64_t start, uint64_t size, const struct hd_module *m)
{
	bool is = false;

	pthread_mutex_lock(&hd_queue_lock);
	for (const struct hd_stream *s = streams; s && !is; s = s->next)
		for (const struct hd_work *w = s->first; w && !is; w = w->next)
			is = uses(w, start, size, m);
	pthread_mutex_unlock(&hd_queue_lock);
	return is;
}

/* ---- calls ---- */

static hipError_t create(hipStream_t *out, unsigned int flags, int priority)
{
	struct hd_stream *s;
	hipError_t r;

	if (!out || (flags != hipStreamDefault && flags != hipStreamNonBlocking))
		return hipErrorInvalidValue;
	pthread_mutex_lock(&hd_queue_lock);
	r = stream_new(hd_self.device, flags, priority, false, &s);
	pthread_mutex_unlock(&hd_queue_lock);
	if (r == hipSuccess)
		*out = (hipStream_t)s;
	return r;
}

hipError_t hd_hipStreamCreate(hipStream_t *stream)
{
	return create(stream, hipStreamDefault, 0);
}

hipError_t hd_hipStreamCreateWithFlags(hipStream_t *stream, unsigned int flags)
{
	return create(stream, flags, 0);
}

hipError_t hd_hipStreamCreateWithPriority(hipStream_t *stream, unsigned int flags, int priority)
{
	return create(stream, flags, priority);
}

/* What is in it is done first. */
hipError_t hd_hipStreamDestroy(hipStream_t handle)
{
	struct hd_stream *s;
	hipError_t r;

	if (!handle || handle == HIP6_STREAM_LEGACY || handle == hipStreamPerThread)
		return hd_misuse(hipErrorInvalidResourceHandle, "%p cannot be destroyed", (void *)handle);
	r = hd_stream_get(handle, &s);
	if (r != hipSuccess)
		return r;
	if (!fake_handle_remove(&s->obj))
		return hd_misuse(hipErrorContextIsDestroyed, "%p is being destroyed twice", (void *)handle);
	end(s);
	return hipSuccess;
}

hipError_t hd_hipStreamQuery(hipStream_t handle)
{
	struct hd_stream *s;
	hipError_t r = hd_stream_get(handle, &s);

	if (r != hipSuccess)
		return r;
	pthread_mutex_lock(&hd_queue_lock);
	r = s->first ? hipErrorNotReady : hipSuccess;
	pthread_mutex_unlock(&hd_queue_lock);
	return r == hipSuccess ? hd_device_error(s->device) : r;
}

hipError_t hd_hipStreamSynchronize(hipStream_t handle)
{
	struct hd_stream *s;
	hipError_t r = hd_stream_get(handle, &s);

	if (r != hipSuccess)
		return r;
	hd_stream_wait_all(s);
	return hd_device_error(s->device);
}

hipError_t hd_hipStreamGetFlags(hipStream_t handle, unsigned int *flags)
{
	struct hd_stream *s;
	hipError_t r = hd_stream_get(handle, &s);

	if (r != hipSuccess)
		return r;
	if (!flags)
		return hipErrorInvalidValue;
	*flags = s->flags;
	return hipSuccess;
}

hipError_t hd_hipStreamGetPriority(hipStream_t handle, int *priority)
{
	struct hd_stream *s;
	hipError_t r = hd_stream_get(handle, &s);

	if (r != hipSuccess)
		return r;
	if (!priority)
		return hipErrorInvalidValue;
	*priority = s->priority;
	return hipSuccess;
}

hipError_t hd_hipStreamGetDevice(hipStream_t handle, hipDevice_t *device)
{
	struct hd_stream *s;
	hipError_t r = hd_stream_get(handle, &s);

	if (r != hipSuccess)
		return r;
	if (!device)
		return hipErrorInvalidValue;
	*device = s->device;
	return hipSuccess;
}

static hipError_t host(hipStream_t handle, hipHostFn_t fn, hipStreamCallback_t callback, void *data)
{
	struct hd_stream *s;
	struct hd_work *w;
	hipError_t r = hd_stream_get(handle, &s);

	if (r != hipSuccess)
		return r;
	if (!fn && !callback)
		return hipErrorInvalidValue;
	w = hd_work_new(fn ? HD_HOST : HD_CALLBACK);
	if (!w)
		return hipErrorOutOfMemory;
	w->host.fn = fn;
	w->host.callback = callback;
	w->host.handle = handle;
	w->host.data = data;
	hd_submit(s, w);
	return hipSuccess;
}

hipError_t hd_hipStreamAddCallback(hipStream_t handle, hipStreamCallback_t callback, void *data, unsigned int flags)
{
	return flags ? hipErrorInvalidValue : host(handle, NULL, callback, data);
}

hipError_t hd_hipLaunchHostFunc(hipStream_t handle, hipHostFn_t fn, void *data)
{
	return host(handle, fn, NULL, data);
}
