/* list.c - command queues, command lists and fences. */
#include <stdlib.h>

#include "tests/drivers/ze/ze.h"

/* ---- queues ---- */

static void queue_release(struct fake_obj *obj)
{
	zd_stream_close(&((struct zd_queue *)obj)->stream);
	zd_object_release((struct zd_object *)obj);
}

static ze_result_t check_queue_desc(const ze_command_queue_desc_t *desc)
{
	ze_result_t r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC, NULL, 0);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (desc->ordinal >= ZD_NR_GROUPS || desc->index)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "queue %u of group %u: there are %u groups of 1", desc->index, desc->ordinal,
				 ZD_NR_GROUPS);
	return desc->mode > ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS || desc->priority > ZE_COMMAND_QUEUE_PRIORITY_PRIORITY_HIGH ||
		desc->flags & ~(ze_command_queue_flags_t)ZE_COMMAND_QUEUE_FLAG_EXPLICIT_ONLY ?
		zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "flags 0x%x, mode %u, priority %u", desc->flags, desc->mode, desc->priority) : r;
}

/* What a queue and an immediate list are made of. */
static ze_result_t check_new(ze_context_handle_t ctx, ze_device_handle_t device, const ze_command_queue_desc_t *desc, const void *out,
			     struct zd_object **c, struct zd_device **d)
{
	ze_result_t r = zd_get_both(ctx, device, c, d);

	if (r == ZE_RESULT_SUCCESS)
		r = check_queue_desc(desc);
	return r == ZE_RESULT_SUCCESS && !out ? ZE_RESULT_ERROR_INVALID_NULL_POINTER : r;
}

ze_result_t zd_zeCommandQueueCreate(ze_context_handle_t ctx, ze_device_handle_t device, const ze_command_queue_desc_t *desc,
				    ze_command_queue_handle_t *out)
{
	struct zd_object *c;
	struct zd_device *d;
	struct zd_queue *q;
	ze_result_t r = check_new(ctx, device, desc, out, &c, &d);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	q = zd_object_new(sizeof(*q), ZD_QUEUE, c, queue_release);
	if (!q)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	q->device = d;
	q->ordinal = desc->ordinal;
	q->synchronous = desc->mode == ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS;
	zd_stream_open(&q->stream, &q->obj, d);
	*out = (ze_command_queue_handle_t)q;
	return r;
}

ze_result_t zd_zeCommandQueueDestroy(ze_command_queue_handle_t handle)
{
	return zd_object_end(handle, ZD_QUEUE);
}

static bool is_idle(const void *arg)
{
	return zd_is_idle(arg);
}

/* Until all that is in it now and what comes meanwhile is done. */
static ze_result_t wait_idle(const struct zd_stream *s, uint64_t timeout)
{
	ze_result_t r;

	pthread_mutex_lock(&zd_lock);
	r = zd_wait(is_idle, s, timeout);
	pthread_mutex_unlock(&zd_lock);
	return r == ZE_RESULT_SUCCESS ? zd_device_lost(s->device) : r;
}

ze_result_t zd_zeCommandQueueSynchronize(ze_command_queue_handle_t handle, uint64_t timeout)
{
	struct zd_queue *q;
	ze_result_t r = zd_object_get(handle, ZD_QUEUE, &q);

	return r == ZE_RESULT_SUCCESS ? wait_idle(&q->stream, timeout) : r;
}

static ze_result_t check_executable(const struct zd_queue *q, const void *handle)
{
	struct zd_list *l;
	ze_result_t r = zd_object_get(handle, ZD_LIST, &l);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (l->immediate || l->ordinal != q->ordinal)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE, "list %p is %s", handle,
				 l->immediate ? "an immediate one" : "for another group of queues");
	if (!l->closed)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "list %p is not closed", handle);
	if (l->device != q->device || l->obj.parent != q->obj.parent)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "list %p is of another device or context", handle);
	if (atomic_load(&l->obj.uses))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "list %p is being executed", handle);
	return r;
}

ze_result_t zd_zeCommandQueueExecuteCommandLists(ze_command_queue_handle_t handle, uint32_t nr, ze_command_list_handle_t *lists,
						 ze_fence_handle_t fence)
{
	struct zd_fence *f = NULL;
	struct zd_cmd *end = NULL;
	struct zd_queue *q;
	bool ok = true;
	ze_result_t r = zd_object_get(handle, ZD_QUEUE, &q);

	if (r == ZE_RESULT_SUCCESS && fence)
		r = zd_object_get(fence, ZD_FENCE, &f);
	if (r == ZE_RESULT_SUCCESS)
		r = zd_device_lost(q->device);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!nr || !lists)
		return nr ? ZE_RESULT_ERROR_INVALID_NULL_POINTER : zd_misuse(ZE_RESULT_ERROR_INVALID_SIZE, "no lists");
	for (uint32_t i = 0; i < nr && r == ZE_RESULT_SUCCESS; i++)
		r = check_executable(q, lists[i]);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (f && (f->obj.parent != &q->obj || f->is_signalled || atomic_load(&f->obj.uses)))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT, "the fence is %s", f->obj.parent != &q->obj ?
				 "another queue's" : f->is_signalled ? "signalled: it was not reset" : "given to other work");
	if (f) {
		end = zd_cmd_new(ZD_OP_FENCE);
		if (!end)
			return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
		end->fence = f;
		fake_ref(&f->obj.base);
	}
	pthread_mutex_lock(&zd_lock);
	for (uint32_t i = 0; i < nr; i++)
		for (struct zd_cmd *c = ((struct zd_list *)lists[i])->first; c && ok; c = c->next)
			ok = zd_submit_locked(&q->stream, c, (struct zd_object *)lists[i]);
	pthread_mutex_unlock(&zd_lock);
	if (end) {
		ok = ok && zd_submit(&q->stream, end);
		zd_cmd_put(end);
	} else {
		zd_flush();
	}
	if (!ok)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	return q->synchronous ? wait_idle(&q->stream, UINT64_MAX) : r;
}

/* ---- fences ---- */

static void fence_release(struct fake_obj *obj)
{
	zd_object_release((struct zd_object *)obj);
}

ze_result_t zd_zeFenceCreate(ze_command_queue_handle_t queue, const ze_fence_desc_t *desc, ze_fence_handle_t *out)
{
	struct zd_queue *q;
	struct zd_fence *f;
	ze_result_t r = zd_object_get(queue, ZD_QUEUE, &q);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_FENCE_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out || desc->flags & ~(ze_fence_flags_t)ZE_FENCE_FLAG_SIGNALED)
		return out ? ZE_RESULT_ERROR_INVALID_ENUMERATION : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	f = zd_object_new(sizeof(*f), ZD_FENCE, q, fence_release);
	if (!f)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	f->is_signalled = desc->flags & ZE_FENCE_FLAG_SIGNALED;
	*out = (ze_fence_handle_t)f;
	return r;
}

ze_result_t zd_zeFenceDestroy(ze_fence_handle_t handle)
{
	return zd_object_end(handle, ZD_FENCE);
}

static bool fence_is_signalled(const void *arg)
{
	return ((const struct zd_fence *)arg)->is_signalled;
}

ze_result_t zd_zeFenceHostSynchronize(ze_fence_handle_t handle, uint64_t timeout)
{
	struct zd_fence *f;
	ze_result_t r = zd_object_get(handle, ZD_FENCE, &f);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&zd_lock);
	r = zd_wait(fence_is_signalled, f, timeout);
	pthread_mutex_unlock(&zd_lock);
	return r == ZE_RESULT_SUCCESS ? zd_device_lost(((struct zd_queue *)f->obj.parent)->device) : r;
}

ze_result_t zd_zeFenceQueryStatus(ze_fence_handle_t handle)
{
	return zd_zeFenceHostSynchronize(handle, 0);
}

ze_result_t zd_zeFenceReset(ze_fence_handle_t handle)
{
	struct zd_fence *f;
	ze_result_t r = zd_object_get(handle, ZD_FENCE, &f);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (atomic_load(&f->obj.uses))
		return zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "the fence is not signalled yet");
	pthread_mutex_lock(&zd_lock);
	f->is_signalled = false;
	pthread_mutex_unlock(&zd_lock);
	return r;
}

/* ---- lists ---- */

static void drop_commands(struct zd_list *l)
{
	for (struct zd_cmd *c = l->first, *next; c; c = next) {
		next = c->next;
		zd_cmd_put(c);
	}
	l->first = NULL;
	l->last = &l->first;
}

static void list_release(struct fake_obj *obj)
{
	struct zd_list *l = (struct zd_list *)obj;

	if (l->immediate)
		zd_stream_close(&l->stream);
	drop_commands(l);
	zd_object_release(&l->obj);
}

static struct zd_list *list_new(struct zd_object *ctx, struct zd_device *d, uint32_t ordinal)
{
	struct zd_list *l = zd_object_new(sizeof(*l), ZD_LIST, ctx, list_release);

	if (l) {
		l->device = d;
		l->ordinal = ordinal;
		l->last = &l->first;
	}
	return l;
}

ze_result_t zd_zeCommandListCreate(ze_context_handle_t ctx, ze_device_handle_t device, const ze_command_list_desc_t *desc,
				   ze_command_list_handle_t *out)
{
	struct zd_object *c;
	struct zd_device *d;
	struct zd_list *l;
	ze_result_t r = zd_get_both(ctx, device, &c, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (desc->commandQueueGroupOrdinal >= ZD_NR_GROUPS || desc->flags & ~(ze_command_list_flags_t)7)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "group %u, flags 0x%x", desc->commandQueueGroupOrdinal, desc->flags);
	l = list_new(c, d, desc->commandQueueGroupOrdinal);
	if (!l)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	*out = (ze_command_list_handle_t)l;
	return r;
}

ze_result_t zd_zeCommandListCreateImmediate(ze_context_handle_t ctx, ze_device_handle_t device, const ze_command_queue_desc_t *desc,
					    ze_command_list_handle_t *out)
{
	struct zd_object *c;
	struct zd_device *d;
	struct zd_list *l;
	ze_result_t r = check_new(ctx, device, desc, out, &c, &d);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	l = list_new(c, d, desc->ordinal);
	if (!l)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	l->immediate = true;
	l->synchronous = desc->mode == ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS;
	zd_stream_open(&l->stream, &l->obj, d);
	*out = (ze_command_list_handle_t)l;
	return r;
}

ze_result_t zd_zeCommandListDestroy(ze_command_list_handle_t handle)
{
	return zd_object_end(handle, ZD_LIST);
}

ze_result_t zd_zeCommandListClose(ze_command_list_handle_t handle)
{
	struct zd_list *l;
	ze_result_t r = zd_object_get(handle, ZD_LIST, &l);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (l->immediate || l->closed)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "the list is %s", l->immediate ? "an immediate one" : "closed already");
	l->closed = true;
	return r;
}

ze_result_t zd_zeCommandListReset(ze_command_list_handle_t handle)
{
	struct zd_list *l;
	ze_result_t r = zd_object_get(handle, ZD_LIST, &l);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (l->immediate || atomic_load(&l->obj.uses))
		return zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "the list is %s", l->immediate ? "an immediate one" : "being executed");
	drop_commands(l);
	l->closed = false;
	return r;
}

ze_result_t zd_list_get(ze_command_list_handle_t handle, struct zd_list **out)
{
	struct zd_list *l;
	ze_result_t r = zd_object_get(handle, ZD_LIST, &l);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (l->closed)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "list %p is closed", (void *)handle);
	r = zd_device_lost(l->device);
	if (r == ZE_RESULT_SUCCESS)
		*out = l;
	return r;
}

/* With a reference. */
static ze_result_t take_event(const struct zd_list *l, ze_event_handle_t handle, struct zd_event **out)
{
	struct zd_event *e;
	ze_result_t r = zd_object_get(handle, ZD_EVENT, &e);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (e->obj.parent->parent != l->obj.parent)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "event %p is of another context than the list", (void *)handle);
	fake_ref(&e->obj.base);
	*out = e;
	return r;
}

static ze_result_t take_events(const struct zd_list *l, struct zd_cmd *c, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *waits)
{
	ze_result_t r = ZE_RESULT_SUCCESS;

	if (signal)
		r = take_event(l, signal, &c->signal);
	if (nr && !waits)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	c->wait = calloc(nr + 1, sizeof(*c->wait));
	if (!c->wait)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	for (; c->nr_waits < nr && r == ZE_RESULT_SUCCESS; c->nr_waits += r == ZE_RESULT_SUCCESS)
		r = take_event(l, waits[c->nr_waits], &c->wait[c->nr_waits]);
	return r;
}

ze_result_t zd_append(struct zd_list *l, struct zd_cmd *c, ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *waits)
{
	ze_result_t r = take_events(l, c, signal, nr, waits);

	if (r != ZE_RESULT_SUCCESS) {
		zd_cmd_put(c);
		return r;
	}
	if (!l->immediate) {
		*l->last = c;
		l->last = &c->next;
		return r;
	}
	if (!zd_submit(&l->stream, c))
		r = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	zd_cmd_put(c);
	return r == ZE_RESULT_SUCCESS && l->synchronous ? wait_idle(&l->stream, UINT64_MAX) : r;
}
