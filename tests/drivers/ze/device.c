/* device.c - objects, the driver, its devices and contexts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/drivers/ze/ze.h"

/* ---- objects ---- */

const char *const zd_kind_name[ZD_KIND_COUNT] = {
	[ZD_DRIVER] = "driver", [ZD_DEVICE] = "device", [ZD_CONTEXT] = "context", [ZD_QUEUE] = "command queue", [ZD_LIST] = "command list",
	[ZD_FENCE] = "fence", [ZD_POOL] = "event pool", [ZD_EVENT] = "event", [ZD_MODULE] = "module", [ZD_LOG] = "build log",
	[ZD_KERNEL] = "kernel", [ZD_PHYSICAL] = "physical memory",
};

void *zd_object_new(size_t size, enum zd_kind kind, void *parent, void (*release)(struct fake_obj *obj))
{
	struct zd_object *o = calloc(1, size), *p = parent;

	if (!o)
		return NULL;
	o->base.kind = (int)kind;
	o->base.release = release;
	o->parent = p;
	if (p) {
		fake_ref(&p->base);
		atomic_fetch_add(&p->children, 1);
	}
	if (fake_handle_add(&o->base))
		return o;
	if (p)
		atomic_fetch_sub(&p->children, 1);
	zd_object_release(o);
	return NULL;
}

void zd_object_release(struct zd_object *o)
{
	if (o->parent)
		fake_put(&o->parent->base);
	free(o);
}

ze_result_t zd_object_get(const void *handle, enum zd_kind kind, void *out)
{
	void *o = fake_handle(handle, (int)kind);

	if (!o)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, "%p is no %s%s", handle, zd_kind_name[kind],
				 handle ? ", or it was destroyed" : "");
	memcpy(out, &o, sizeof(o));
	return ZE_RESULT_SUCCESS;
}

ze_result_t zd_object_end(const void *handle, enum zd_kind kind)
{
	struct zd_object *o;
	ze_result_t r = zd_object_get(handle, kind, &o);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (atomic_load(&o->uses))
		(void)zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "%s %p is used by work that is queued or runs", zd_kind_name[kind],
				handle);
	if (atomic_load(&o->children))
		(void)zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "%s %p has %u objects that were not destroyed", zd_kind_name[kind],
				handle, atomic_load(&o->children));
	if (!fake_handle_remove(&o->base))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, "%s %p is being destroyed twice", zd_kind_name[kind], handle);
	if (o->parent)
		atomic_fetch_sub(&o->parent->children, 1);
	fake_put(&o->base);
	return ZE_RESULT_SUCCESS;
}

static void object_release(struct fake_obj *obj)
{
	zd_object_release((struct zd_object *)obj);
}

ze_result_t zd_check_struct(const void *base, ze_structure_type_t stype, const ze_structure_type_t *known, size_t nr)
{
	const ze_base_desc_t *b = base;

	if (!b)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (b->stype != stype)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "a structure says to be of type 0x%x where 0x%x is wanted", b->stype, stype);
	for (b = b->pNext; b; b = b->pNext) {
		bool is_known = false;

		for (size_t i = 0; i < nr; i++)
			is_known |= b->stype == known[i];
		if (!is_known)
			return zd_misuse(ZE_RESULT_ERROR_UNSUPPORTED_ENUMERATION, "a structure of type 0x%x hangs at one of type 0x%x", b->stype,
					 stype);
	}
	return ZE_RESULT_SUCCESS;
}

/* What hangs at a structure, of one type; NULL: none. */
static void *find_next(void *base, ze_structure_type_t stype)
{
	for (ze_base_properties_t *b = ((ze_base_properties_t *)base)->pNext; b; b = b->pNext)
		if (b->stype == stype)
			return b;
	return NULL;
}

/* ---- the driver ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct zd_object *driver;
static struct zd_device *device[ZD_MAX_DEVICES];

static void make(void)
{
	driver = zd_object_new(sizeof(*driver), ZD_DRIVER, NULL, object_release);
	for (int i = 0; driver && i < zd_config.nr_devices; i++) {
		device[i] = zd_object_new(sizeof(*device[i]), ZD_DEVICE, driver, object_release);
		if (!device[i])
			return;
		device[i]->index = i;
	}
}

ze_result_t zd_zeInit(ze_init_flags_t flags)
{
	if (flags & ~(ze_init_flags_t)(ZE_INIT_FLAG_GPU_ONLY | ZE_INIT_FLAG_VPU_ONLY))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "flags 0x%x", flags);
	if (flags == ZE_INIT_FLAG_VPU_ONLY || !zd_config.nr_devices)
		return ZE_RESULT_ERROR_UNINITIALIZED;
	pthread_once(&once, make);
	return driver && device[zd_config.nr_devices - 1] ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
}

/* How lists are asked for: *count 0 or above what there is: becomes that. False: there is nothing to fill. */
static bool clip(uint32_t *count, uint32_t there, const void *out)
{
	bool fill = *count && out;

	if (!*count || *count > there)
		*count = there;
	return fill;
}

/* Of what is asked for a list, and where its length is to be written. */
static ze_result_t check_list(const void *handle, enum zd_kind kind, const uint32_t *count)
{
	struct zd_object *o;
	ze_result_t r = zd_object_get(handle, kind, &o);

	return r == ZE_RESULT_SUCCESS && !count ? ZE_RESULT_ERROR_INVALID_NULL_POINTER : r;
}

ze_result_t zd_zeDriverGet(uint32_t *count, ze_driver_handle_t *drivers)
{
	if (!count)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (clip(count, 1, drivers))
		drivers[0] = (ze_driver_handle_t)driver;
	return ZE_RESULT_SUCCESS;
}

static ze_result_t get_driver(ze_driver_handle_t handle)
{
	struct zd_object *d;

	return zd_object_get(handle, ZD_DRIVER, &d);
}

ze_result_t zd_zeDriverGetApiVersion(ze_driver_handle_t handle, ze_api_version_t *version)
{
	ze_result_t r = get_driver(handle);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!version)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	*version = ZE_API_VERSION_CURRENT;
	return r;
}

ze_result_t zd_zeDriverGetProperties(ze_driver_handle_t handle, ze_driver_properties_t *prop)
{
	ze_result_t r = get_driver(handle);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(prop, ZE_STRUCTURE_TYPE_DRIVER_PROPERTIES, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	memcpy(prop->uuid.id, "hgshim test drv", 16);
	prop->driverVersion = 1;
	return r;
}

ze_result_t zd_zeDriverGetExtensionProperties(ze_driver_handle_t handle, uint32_t *count, ze_driver_extension_properties_t *prop)
{
	static const ze_driver_extension_properties_t there[] = {
		{ "ZE_extension_float_atomics", ZE_FLOAT_ATOMICS_EXT_VERSION_1_0 },
		{ "ZE_experimental_relaxed_allocation_limits", ZE_RELAXED_ALLOCATION_LIMITS_EXP_VERSION_1_0 },
		{ "ZE_extension_external_memmap_sysmem", ZE_MAKE_VERSION(1, 0) },	/* the last: has_memmap */
	};
	ze_result_t r = check_list(handle, ZD_DRIVER, count);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (clip(count, zd_config.has_memmap ? 3 : 2, prop))
		memcpy(prop, there, *count * sizeof(*prop));
	return r;
}

/* ---- devices ---- */

ze_result_t zd_device_lost(const struct zd_device *d)
{
	return atomic_load(&d->error);
}

void zd_device_fails(struct zd_device *d, ze_result_t error)
{
	ze_result_t none = ZE_RESULT_SUCCESS;

	atomic_compare_exchange_strong(&d->error, &none, error);
}

ze_result_t zd_zeDeviceGet(ze_driver_handle_t handle, uint32_t *count, ze_device_handle_t *devices)
{
	ze_result_t r = check_list(handle, ZD_DRIVER, count);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (clip(count, (uint32_t)zd_config.nr_devices, devices))
		for (uint32_t i = 0; i < *count; i++)
			devices[i] = (ze_device_handle_t)device[i];
	return r;
}

ze_result_t zd_zeDeviceGetSubDevices(ze_device_handle_t handle, uint32_t *count, ze_device_handle_t *devices)
{
	ze_result_t r = check_list(handle, ZD_DEVICE, count);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	(void)devices;
	*count = 0;
	return r;
}

/* With the structure of version 1.2 the resolution of the timer is in cycles a second, else in nanoseconds. */
ze_result_t zd_zeDeviceGetProperties(ze_device_handle_t handle, ze_device_properties_t *p)
{
	struct zd_device *d;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);
	bool is_1_2 = p && p->stype == ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2;

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(p, is_1_2 ? ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2 : ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	p->type = ZE_DEVICE_TYPE_GPU;
	p->vendorId = 0x8086;
	p->deviceId = 0xffff;
	p->flags = 0;
	p->subdeviceId = 0;
	p->coreClockRate = 1000;
	p->maxMemAllocSize = ZD_MAX_ALLOC;
	p->maxHardwareContexts = 65536;
	p->maxCommandQueuePriority = 0;
	p->numThreadsPerEU = 8;
	p->physicalEUSimdWidth = 8;
	p->numEUsPerSubslice = 16;
	p->numSubslicesPerSlice = zd_config.nr_cores;
	p->numSlices = 1;
	p->timerResolution = is_1_2 ? 1000000000u / ZD_TICK_NS : ZD_TICK_NS;
	p->timestampValidBits = ZD_TIMER_BITS;
	p->kernelTimestampValidBits = ZD_KERNEL_TIMER_BITS;
	memset(p->uuid.id, 0, sizeof(p->uuid.id));
	memcpy(p->uuid.id, "hgshim ze dev", 13);
	p->uuid.id[15] = (uint8_t)d->index;
	snprintf(p->name, sizeof(p->name), "Fake Intel GPU (test driver)");
	return r;
}

ze_result_t zd_zeDeviceGetComputeProperties(ze_device_handle_t handle, ze_device_compute_properties_t *p)
{
	struct zd_device *d;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(p, ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	p->maxTotalGroupSize = p->maxGroupSizeX = p->maxGroupSizeY = p->maxGroupSizeZ = zd_config.max_items;
	p->maxGroupCountX = p->maxGroupCountY = p->maxGroupCountZ = zd_config.max_groups;
	p->maxSharedLocalMemory = zd_config.slm_bytes;
	p->numSubGroupSizes = 0;
	memset(p->subGroupSizes, 0, sizeof(p->subGroupSizes));
	for (uint32_t n = 8; n <= 32; n *= 2)
		if (zd_config.sub_groups & n)
			p->subGroupSizes[p->numSubGroupSizes++] = n;
	return r;
}

ze_result_t zd_zeDeviceGetModuleProperties(ze_device_handle_t handle, ze_device_module_properties_t *p)
{
	static const ze_structure_type_t known[] = { ZE_STRUCTURE_TYPE_FLOAT_ATOMIC_EXT_PROPERTIES };
	const ze_device_fp_flags_t fp = ZE_DEVICE_FP_FLAG_DENORM | ZE_DEVICE_FP_FLAG_INF_NAN | ZE_DEVICE_FP_FLAG_ROUND_TO_NEAREST |
		ZE_DEVICE_FP_FLAG_ROUND_TO_ZERO | ZE_DEVICE_FP_FLAG_ROUND_TO_INF | ZE_DEVICE_FP_FLAG_FMA;
	ze_float_atomic_ext_properties_t *atomics;
	struct zd_device *d;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(p, ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES, known, 1);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	p->spirvVersionSupported = ZE_MAKE_VERSION(1, zd_config.spirv_minor);
	p->flags = (zd_config.has_fp16 ? ZE_DEVICE_MODULE_FLAG_FP16 : 0u) | (zd_config.has_fp64 ? ZE_DEVICE_MODULE_FLAG_FP64 : 0u) |
		(zd_config.has_int64_atomics ? ZE_DEVICE_MODULE_FLAG_INT64_ATOMICS : 0u);
	p->fp16flags = zd_config.has_fp16 ? fp : 0;
	p->fp32flags = fp;
	p->fp64flags = zd_config.has_fp64 ? fp | ZE_DEVICE_FP_FLAG_ROUNDED_DIVIDE_SQRT : 0;
	p->maxArgumentsSize = ZD_MAX_ARG_BYTES;
	p->printfBufferSize = 4 << 20;
	memset(&p->nativeKernelSupported, 0, sizeof(p->nativeKernelSupported));
	atomics = find_next(p, ZE_STRUCTURE_TYPE_FLOAT_ATOMIC_EXT_PROPERTIES);
	if (atomics)
		atomics->fp16Flags = atomics->fp32Flags = atomics->fp64Flags = 0;
	return r;
}

ze_result_t zd_zeDeviceGetCommandQueueGroupProperties(ze_device_handle_t handle, uint32_t *count, ze_command_queue_group_properties_t *p)
{
	ze_result_t r = check_list(handle, ZD_DEVICE, count);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!clip(count, ZD_NR_GROUPS, p))
		return r;
	for (uint32_t i = 0; i < *count && r == ZE_RESULT_SUCCESS; i++) {
		r = zd_check_struct(&p[i], ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES, NULL, 0);
		p[i].flags = i == ZD_GROUP_COMPUTE ? ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE | ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COPY |
			ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COOPERATIVE_KERNELS : ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COPY;
		p[i].maxMemoryFillPatternSize = i == ZD_GROUP_COMPUTE ? ZD_MAX_PATTERN : 1;
		p[i].numQueues = 1;
	}
	return r;
}

ze_result_t zd_zeDeviceGetMemoryProperties(ze_device_handle_t handle, uint32_t *count, ze_device_memory_properties_t *p)
{
	ze_result_t r = check_list(handle, ZD_DEVICE, count);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!clip(count, 1, p))
		return r;
	r = zd_check_struct(p, ZE_STRUCTURE_TYPE_DEVICE_MEMORY_PROPERTIES, NULL, 0);
	p->flags = 0;
	p->maxClockRate = 0;
	p->maxBusWidth = 64;
	p->totalSize = zd_config.memory;
	snprintf(p->name, sizeof(p->name), "DDR");
	return r;
}

ze_result_t zd_zeDeviceGetMemoryAccessProperties(ze_device_handle_t handle, ze_device_memory_access_properties_t *p)
{
	const ze_memory_access_cap_flags_t all = ZE_MEMORY_ACCESS_CAP_FLAG_RW | ZE_MEMORY_ACCESS_CAP_FLAG_ATOMIC;
	struct zd_device *d;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(p, ZE_STRUCTURE_TYPE_DEVICE_MEMORY_ACCESS_PROPERTIES, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	p->hostAllocCapabilities = p->deviceAllocCapabilities = p->sharedSingleDeviceAllocCapabilities = all;
	p->sharedCrossDeviceAllocCapabilities = 0;
	p->sharedSystemAllocCapabilities = zd_config.has_system ? all : 0;
	return r;
}

ze_result_t zd_zeDeviceGetCacheProperties(ze_device_handle_t handle, uint32_t *count, ze_device_cache_properties_t *p)
{
	ze_result_t r = check_list(handle, ZD_DEVICE, count);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!clip(count, 1, p))
		return r;
	r = zd_check_struct(p, ZE_STRUCTURE_TYPE_DEVICE_CACHE_PROPERTIES, NULL, 0);
	p->flags = 0;
	p->cacheSize = 4 << 20;
	return r;
}

ze_result_t zd_zeDeviceCanAccessPeer(ze_device_handle_t handle, ze_device_handle_t peer, ze_bool_t *can)
{
	struct zd_device *d, *p;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_object_get(peer, ZD_DEVICE, &p);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!can)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	*can = d == p;
	return r;
}

ze_result_t zd_zeDeviceGetStatus(ze_device_handle_t handle)
{
	struct zd_device *d;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);

	return r == ZE_RESULT_SUCCESS ? zd_device_lost(d) : r;
}

/* ---- time ---- */

uint64_t zd_ticks(uint64_t ns, unsigned int bits)
{
	static _Atomic uint64_t begin;
	uint64_t none = 0;

	/* The 32 bits run over a second and a half after the first look, and those of 36 with them. */
	if (!atomic_load(&begin))
		atomic_compare_exchange_strong(&begin, &none, ns / ZD_TICK_NS + 1500000000u / ZD_TICK_NS);
	return (ns / ZD_TICK_NS - atomic_load(&begin)) & (((uint64_t)1 << bits) - 1);
}

ze_result_t zd_zeDeviceGetGlobalTimestamps(ze_device_handle_t handle, uint64_t *host, uint64_t *ticks)
{
	struct zd_device *d;
	ze_result_t r = zd_object_get(handle, ZD_DEVICE, &d);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!host || !ticks)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	*host = fake_now_ns();
	*ticks = zd_ticks(*host, ZD_TIMER_BITS);
	return r;
}

/* ---- contexts ---- */

ze_result_t zd_zeContextCreate(ze_driver_handle_t handle, const ze_context_desc_t *desc, ze_context_handle_t *out)
{
	struct zd_object *ctx;
	ze_result_t r = get_driver(handle);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_CONTEXT_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	ctx = zd_object_new(sizeof(*ctx), ZD_CONTEXT, driver, object_release);
	if (!ctx)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	*out = (ze_context_handle_t)ctx;
	return r;
}

/* A context has all devices here, whichever are named. */
ze_result_t zd_zeContextCreateEx(ze_driver_handle_t handle, const ze_context_desc_t *desc, uint32_t nr, ze_device_handle_t *devices,
				 ze_context_handle_t *out)
{
	struct zd_device *d;
	ze_result_t r = ZE_RESULT_SUCCESS;

	for (uint32_t i = 0; i < nr && r == ZE_RESULT_SUCCESS; i++)
		r = devices ? zd_object_get(devices[i], ZD_DEVICE, &d) : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	return r == ZE_RESULT_SUCCESS ? zd_zeContextCreate(handle, desc, out) : r;
}

struct memory_of {
	const void *ctx;
	uint64_t addr;			/* of something that it owns; 0: nothing was found */
};

static void find_memory_of(const struct fake_span *s, void *arg)
{
	struct memory_of *find = arg;

	if (s->owner == find->ctx)
		find->addr = s->start;
}

ze_result_t zd_zeContextDestroy(ze_context_handle_t handle)
{
	struct memory_of find = { .ctx = handle };

	pthread_mutex_lock(&fake_span_lock);
	fake_spans_each(find_memory_of, &find);
	pthread_mutex_unlock(&fake_span_lock);
	if (find.addr)
		(void)zd_misuse(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE, "the context still has memory, at 0x%llx", (unsigned long long)find.addr);
	return zd_object_end(handle, ZD_CONTEXT);
}

ze_result_t zd_zeContextGetStatus(ze_context_handle_t handle)
{
	struct zd_object *ctx;
	ze_result_t r = zd_object_get(handle, ZD_CONTEXT, &ctx);

	for (int i = 0; i < zd_config.nr_devices && r == ZE_RESULT_SUCCESS; i++)
		r = zd_device_lost(device[i]);
	return r;
}

ze_result_t zd_get_both(ze_context_handle_t ctx, ze_device_handle_t dev, struct zd_object **c, struct zd_device **d)
{
	ze_result_t r = zd_object_get(ctx, ZD_CONTEXT, c);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_object_get(dev, ZD_DEVICE, d);
	return r == ZE_RESULT_SUCCESS ? zd_device_lost(*d) : r;
}
