/* event.c - pools of events, and events. */
#include <stdlib.h>

#include "tests/drivers/ze/ze.h"

/* ---- pools ---- */

static void pool_release(struct fake_obj *obj)
{
	free(((struct zd_event_pool *)obj)->taken);
	zd_object_release((struct zd_object *)obj);
}

ze_result_t zd_zeEventPoolCreate(ze_context_handle_t ctx, const ze_event_pool_desc_t *desc, uint32_t nr, ze_device_handle_t *devices,
				 ze_event_pool_handle_t *out)
{
	const ze_event_pool_flags_t known = ZE_EVENT_POOL_FLAG_HOST_VISIBLE | ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP;
	struct zd_event_pool *p;
	struct zd_object *c;
	struct zd_device *d;
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, &c);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_EVENT_POOL_DESC, NULL, 0);
	for (uint32_t i = 0; i < nr && r == ZE_RESULT_SUCCESS; i++)
		r = devices ? zd_object_get(devices[i], ZD_DEVICE, &d) : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!desc->count || desc->flags & ~known)
		return desc->count ? ZE_RESULT_ERROR_UNSUPPORTED_ENUMERATION : zd_misuse(ZE_RESULT_ERROR_INVALID_SIZE, "a pool of no events");
	p = zd_object_new(sizeof(*p), ZD_POOL, c, pool_release);
	if (!p)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	p->flags = desc->flags;
	p->count = desc->count;
	p->taken = calloc(desc->count, sizeof(*p->taken));
	*out = (ze_event_pool_handle_t)p;
	if (p->taken)
		return r;
	*out = NULL;
	(void)zd_object_end(p, ZD_POOL);
	return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
}

ze_result_t zd_zeEventPoolDestroy(ze_event_pool_handle_t handle)
{
	return zd_object_end(handle, ZD_POOL);
}

/* ---- events ---- */

static void event_release(struct fake_obj *obj)
{
	zd_object_release((struct zd_object *)obj);
}

ze_result_t zd_zeEventCreate(ze_event_pool_handle_t pool, const ze_event_desc_t *desc, ze_event_handle_t *out)
{
	const ze_event_scope_flags_t known = ZE_EVENT_SCOPE_FLAG_SUBDEVICE | ZE_EVENT_SCOPE_FLAG_DEVICE | ZE_EVENT_SCOPE_FLAG_HOST;
	struct zd_event_pool *p;
	struct zd_event *e;
	bool is_taken;
	ze_result_t r = zd_object_get(pool, ZD_POOL, &p);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_EVENT_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (desc->index >= p->count || (desc->signal | desc->wait) & ~known)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "event %u of a pool of %u, scopes 0x%x and 0x%x", desc->index, p->count,
				 desc->signal, desc->wait);
	e = zd_object_new(sizeof(*e), ZD_EVENT, p, event_release);
	if (!e)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	e->index = desc->index;
	e->for_host = desc->signal & ZE_EVENT_SCOPE_FLAG_HOST;
	pthread_mutex_lock(&zd_lock);
	is_taken = p->taken[e->index];
	p->taken[e->index] = true;
	pthread_mutex_unlock(&zd_lock);
	if (is_taken)
		(void)zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "two events at place %u of a pool", e->index);
	*out = (ze_event_handle_t)e;
	return r;
}

ze_result_t zd_zeEventDestroy(ze_event_handle_t handle)
{
	struct zd_event *e;
	ze_result_t r = zd_object_get(handle, ZD_EVENT, &e);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&zd_lock);
	zd_pool_of(e)->taken[e->index] = false;
	pthread_mutex_unlock(&zd_lock);
	return zd_object_end(handle, ZD_EVENT);
}

/* Of an event that the host may look at. */
static ze_result_t get_visible(ze_event_handle_t handle, struct zd_event **out)
{
	ze_result_t r = zd_object_get(handle, ZD_EVENT, out);

	if (r == ZE_RESULT_SUCCESS && !(zd_pool_of(*out)->flags & ZE_EVENT_POOL_FLAG_HOST_VISIBLE))
		(void)zd_misuse(r, "the pool of event %p is not visible to the host", (void *)handle);
	return r;
}

ze_result_t zd_zeEventHostSignal(ze_event_handle_t handle)
{
	struct zd_event *e;
	ze_result_t r = get_visible(handle, &e);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&zd_lock);
	e->is_signalled = true;
	e->start_ns = e->end_ns = fake_now_ns();
	pthread_mutex_unlock(&zd_lock);
	zd_flush();
	return r;
}

static bool is_signalled(const void *arg)
{
	return ((const struct zd_event *)arg)->is_signalled;
}

ze_result_t zd_zeEventHostSynchronize(ze_event_handle_t handle, uint64_t timeout)
{
	struct zd_event *e;
	ze_result_t r = get_visible(handle, &e);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!e->for_host)
		(void)zd_misuse(r, "event %p is not signalled for the host, which may not see what was written before it", (void *)handle);
	fake_ref(&e->obj.base);
	pthread_mutex_lock(&zd_lock);
	r = zd_wait(is_signalled, e, timeout);
	pthread_mutex_unlock(&zd_lock);
	if (r == ZE_RESULT_SUCCESS)
		r = zd_zeContextGetStatus((ze_context_handle_t)e->obj.parent->parent);
	fake_put(&e->obj.base);
	return r;
}

ze_result_t zd_zeEventQueryStatus(ze_event_handle_t handle)
{
	return zd_zeEventHostSynchronize(handle, 0);
}

ze_result_t zd_zeEventHostReset(ze_event_handle_t handle)
{
	struct zd_event *e;
	ze_result_t r = get_visible(handle, &e);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	pthread_mutex_lock(&zd_lock);
	/* what waits for it would wait for ever, or for other work */
	if (atomic_load(&e->obj.uses))
		(void)zd_misuse(r, "event %p is reset while work that is queued or runs signals it or waits for it", (void *)handle);
	e->is_signalled = false;
	pthread_mutex_unlock(&zd_lock);
	return r;
}

ze_result_t zd_zeEventQueryKernelTimestamp(ze_event_handle_t handle, ze_kernel_timestamp_result_t *out)
{
	struct zd_event *e;
	ze_result_t r = zd_object_get(handle, ZD_EVENT, &e);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!(zd_pool_of(e)->flags & ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "the pool of event %p has no timestamps", (void *)handle);
	pthread_mutex_lock(&zd_lock);
	if (!e->is_signalled) {
		r = ZE_RESULT_NOT_READY;
	} else {
		out->global.kernelStart = out->context.kernelStart = zd_ticks(e->start_ns, ZD_KERNEL_TIMER_BITS);
		out->global.kernelEnd = out->context.kernelEnd = zd_ticks(e->end_ns, ZD_KERNEL_TIMER_BITS);
	}
	pthread_mutex_unlock(&zd_lock);
	return r;
}
