/* append.c - what is appended to command lists, but kernels. */
#include <string.h>

#include "tests/drivers/ze/ze.h"

#define EVENTS ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *waits

/* A list to append to and a command for it. */
static ze_result_t begin(ze_command_list_handle_t handle, enum zd_op op, struct zd_list **l, struct zd_cmd **c)
{
	ze_result_t r = zd_list_get(handle, l);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	*c = zd_cmd_new(op);
	return *c ? r : ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
}

/* r: of the checks. */
static ze_result_t end(ze_result_t r, struct zd_list *l, struct zd_cmd *c, EVENTS)
{
	if (r == ZE_RESULT_SUCCESS)
		return zd_append(l, c, signal, nr, waits);
	zd_cmd_put(c);
	return r;
}

/* ---- order ---- */

ze_result_t zd_zeCommandListAppendBarrier(ze_command_list_handle_t list, EVENTS)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_BARRIER, &l, &c);

	return r == ZE_RESULT_SUCCESS ? zd_append(l, c, signal, nr, waits) : r;
}

ze_result_t zd_zeCommandListAppendMemoryRangesBarrier(ze_command_list_handle_t list, uint32_t nr_ranges, const size_t *sizes,
						      const void **ranges, EVENTS)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_BARRIER, &l, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!sizes || !ranges)
		r = ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	for (uint32_t i = 0; i < nr_ranges && r == ZE_RESULT_SUCCESS; i++)
		r = zd_check_place(l->obj.parent, (uint64_t)(uintptr_t)ranges[i], sizes[i], false);
	return end(r, l, c, signal, nr, waits);
}

ze_result_t zd_zeCommandListAppendWaitOnEvents(ze_command_list_handle_t list, uint32_t nr, ze_event_handle_t *events)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_WAIT, &l, &c);

	return r == ZE_RESULT_SUCCESS ? zd_append(l, c, NULL, nr, events) : r;
}

static ze_result_t on_event(ze_command_list_handle_t list, enum zd_op op, ze_event_handle_t event)
{
	struct zd_list *l;
	struct zd_cmd *c;
	struct zd_event *e;
	ze_result_t r = begin(list, op, &l, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	r = zd_object_get(event, ZD_EVENT, &e);
	if (r == ZE_RESULT_SUCCESS && e->obj.parent->parent != l->obj.parent)
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "event %p is of another context than the list", (void *)event);
	if (r == ZE_RESULT_SUCCESS) {
		fake_ref(&e->obj.base);
		c->event = e;
	}
	return end(r, l, c, NULL, 0, NULL);
}

ze_result_t zd_zeCommandListAppendSignalEvent(ze_command_list_handle_t list, ze_event_handle_t event)
{
	return on_event(list, ZD_OP_SIGNAL, event);
}

ze_result_t zd_zeCommandListAppendEventReset(ze_command_list_handle_t list, ze_event_handle_t event)
{
	return on_event(list, ZD_OP_RESET, event);
}

/* ---- memory ---- */

ze_result_t zd_zeCommandListAppendWriteGlobalTimestamp(ze_command_list_handle_t list, uint64_t *dst, EVENTS)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_TIME, &l, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	c->time = dst;
	r = (uintptr_t)dst % sizeof(*dst) ? zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT, "%p", (void *)dst) :
		zd_check_place(l->obj.parent, (uint64_t)(uintptr_t)dst, sizeof(*dst), true);
	return end(r, l, c, signal, nr, waits);
}

static ze_result_t check_copy(const struct zd_list *l, const struct zd_copy *c)
{
	uint64_t to = zd_copy_extent(c, c->dst_pitch, c->dst_slice), from = zd_copy_extent(c, c->src_pitch, c->src_slice);
	ze_result_t r = zd_check_place(l->obj.parent, c->dst, to, true);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_place(l->obj.parent, c->src, from, false);
	if (r == ZE_RESULT_SUCCESS && c->height == 1 && c->depth == 1 && c->dst < c->src + from && c->src < c->dst + to)
		r = zd_misuse(ZE_RESULT_ERROR_OVERLAPPING_REGIONS, "0x%llx and 0x%llx, %llu bytes", (unsigned long long)c->dst,
			      (unsigned long long)c->src, (unsigned long long)c->width);
	return r;
}

ze_result_t zd_zeCommandListAppendMemoryCopy(ze_command_list_handle_t list, void *dst, const void *src, size_t size, EVENTS)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_COPY, &l, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	c->copy = (struct zd_copy){ .dst = (uint64_t)(uintptr_t)dst, .src = (uint64_t)(uintptr_t)src, .width = size, .height = 1, .depth = 1 };
	r = !dst || !src ? ZE_RESULT_ERROR_INVALID_NULL_POINTER : size ? check_copy(l, &c->copy) : r;
	return end(r, l, c, signal, nr, waits);
}

ze_result_t zd_zeCommandListAppendMemoryCopyRegion(ze_command_list_handle_t list, void *dst, const ze_copy_region_t *dst_region,
						   uint32_t dst_pitch, uint32_t dst_slice, const void *src, const ze_copy_region_t *src_region,
						   uint32_t src_pitch, uint32_t src_slice, EVENTS)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_COPY, &l, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!dst || !src || !dst_region || !src_region)
		return end(ZE_RESULT_ERROR_INVALID_NULL_POINTER, l, c, signal, nr, waits);
	c->copy = (struct zd_copy){
		.dst = (uint64_t)(uintptr_t)dst + dst_region->originX + (uint64_t)dst_region->originY * dst_pitch +
			(uint64_t)dst_region->originZ * dst_slice,
		.src = (uint64_t)(uintptr_t)src + src_region->originX + (uint64_t)src_region->originY * src_pitch +
			(uint64_t)src_region->originZ * src_slice,
		.dst_pitch = dst_pitch, .src_pitch = src_pitch, .dst_slice = dst_slice, .src_slice = src_slice, .width = src_region->width,
		.height = src_region->height ? src_region->height : 1, .depth = src_region->depth ? src_region->depth : 1,
	};
	if (dst_region->width != src_region->width || dst_region->height != src_region->height || dst_region->depth != src_region->depth)
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_SIZE, "the regions have different sizes");
	else if (c->copy.width && c->copy.height > 1 && (dst_pitch < c->copy.width || src_pitch < c->copy.width))
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_SIZE, "rows of %llu bytes, %u and %u from each other", (unsigned long long)c->copy.width,
			      dst_pitch, src_pitch);
	else if (c->copy.width)
		r = check_copy(l, &c->copy);
	return end(r, l, c, signal, nr, waits);
}

ze_result_t zd_zeCommandListAppendMemoryFill(ze_command_list_handle_t list, void *dst, const void *pattern, size_t pattern_size, size_t size,
					     EVENTS)
{
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = begin(list, ZD_OP_FILL, &l, &c);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!dst || !pattern) {
		r = ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	} else if (!pattern_size || pattern_size & (pattern_size - 1) || pattern_size > (l->ordinal == ZD_GROUP_COMPUTE ? ZD_MAX_PATTERN : 1)) {
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_SIZE, "a pattern of %zu bytes; powers of two up to maxMemoryFillPatternSize are allowed",
			      pattern_size);
	} else if ((uintptr_t)dst % pattern_size || size % pattern_size) {
		r = zd_misuse(ZE_RESULT_ERROR_INVALID_SIZE, "%zu bytes at %p are no whole patterns of %zu", size, dst, pattern_size);
	} else {
		c->fill = (struct zd_fill){ .dst = (uint64_t)(uintptr_t)dst, .size = size, .pattern_size = (uint32_t)pattern_size };
		memcpy(c->fill.pattern, pattern, pattern_size);
		if (size)
			r = zd_check_place(l->obj.parent, c->fill.dst, size, true);
	}
	return end(r, l, c, signal, nr, waits);
}
