/* target_ze.c - Intel's GPUs as a target, over Level Zero: the device, and the table of operations (ze_*.c). */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/arena.h"
#include "common/msg.h"
#include "replay/ze.h"

#define MOST 16u			/* drivers, kinds of memory, groups of queues: the first of them are looked at */
#define SHARED_BYTES (48u << 10)	/* of a block that does not ask for more, as on NVIDIA's */

/* What the kernel's driver gives this user. */
static void say_render_nodes(char *out, size_t size)
{
	DIR *dir = opendir("/dev/dri");
	struct dirent *e;
	unsigned int nr = 0, usable = 0;

	while (dir) {
		char path[300];

		e = readdir(dir);
		if (!e)
			break;
		if (strncmp(e->d_name, "renderD", 7) != 0)
			continue;
		nr++;
		snprintf(path, sizeof(path), "/dev/dri/%s", e->d_name);
		usable += access(path, R_OK | W_OK) == 0;
	}
	if (dir)
		closedir(dir);
	if (!nr)
		snprintf(out, size, "there is no /dev/dri/renderD*: the kernel's driver (i915 or xe) is not loaded, or has no GPU");
	else if (!usable)
		snprintf(out, size, "/dev/dri/renderD* may not be used by this user (groups render and video)");
	else
		snprintf(out, size, "/dev/dri/renderD* is there: Intel's driver, libze_intel_gpu.so.1, may be missing, or not know the GPU");
}

static enum hg_status no_device(const char *call, ze_result_t result)
{
	char nodes[192], gives[96] = "gives no GPU";

	say_render_nodes(nodes, sizeof(nodes));
	if (result)
		snprintf(gives, sizeof(gives), "gives %s (0x%x)", hg_ze_result_name(result), (unsigned int)result);
	pr_err("Level Zero's loader ('%s') finds no driver with a GPU: %s %s; %s", hg_ze.path, call, gives, nodes);
	return HG_ERR_UNAVAILABLE;
}

/* An NPU may have a driver of Level Zero as well. */
static ze_result_t is_gpu(ze_device_handle_t device, bool *out)
{
	ze_device_properties_t p = { .stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES };
	ze_result_t result = ZE_RAW(zeDeviceGetProperties, device, &p);

	*out = !result && p.type == ZE_DEVICE_TYPE_GPU;
	return result;
}

/* The first GPU of the first driver that has one; ZE_AFFINITY_MASK chooses among them, which the driver sees to. */
static enum hg_status find_device(struct hg_target *t)
{
	ze_driver_handle_t driver[MOST];
	ze_device_handle_t device[MOST];
	const char *call = "zeDeviceGet";
	uint32_t nr = MOST;
	ze_result_t result;

	result = ZE_RAW(zeInit, ZE_INIT_FLAG_GPU_ONLY);
	if (result)
		return no_device("zeInit", result);
	hg_ze_began();
	result = ZE_RAW(zeDriverGet, &nr, driver);
	if (result || !nr)
		return no_device("zeDriverGet", result);
	for (uint32_t i = 0; i < nr && i < MOST && !t->device; i++) {
		uint32_t nr_devices = MOST;

		t->driver = driver[i];
		call = "zeDeviceGet";
		result = ZE_RAW(zeDeviceGet, driver[i], &nr_devices, device);
		for (uint32_t d = 0; !result && d < nr_devices && d < MOST && !t->device; d++) {
			bool found;

			result = is_gpu(device[d], &found);
			if (result)
				call = "zeDeviceGetProperties";
			if (found)
				t->device = device[d];
		}
	}
	return t->device ? HG_OK : no_device(call, result);
}

/* The first group that computes; before it, one that has cooperative launches as well. */
static enum hg_status find_group(struct hg_target *t)
{
	ze_command_queue_group_properties_t group[MOST];
	uint32_t nr = MOST, found = MOST;
	enum hg_status st;

	for (uint32_t i = 0; i < MOST; i++)
		group[i] = (ze_command_queue_group_properties_t){ .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES };
	st = ZE(zeDeviceGetCommandQueueGroupProperties, t->device, &nr, group);
	if (st)
		return st;
	for (uint32_t i = 0; i < nr && i < MOST; i++) {
		bool has_cooperative = group[i].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COOPERATIVE_KERNELS;

		if (!(group[i].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE) || !group[i].numQueues)
			continue;
		if (found < MOST && (t->has_cooperative || !has_cooperative))
			continue;
		found = i;
		t->has_cooperative = has_cooperative;
	}
	if (found == MOST) {
		pr_err("'%s' has no queue that computes", t->info.name);
		return HG_ERR_UNAVAILABLE;
	}
	t->ordinal = found;
	t->nr_indexes = group[found].numQueues;
	return HG_OK;
}

/* With local memory: the largest kind; an integrated GPU says there what it may use of the machine's. */
static enum hg_status read_memory(struct hg_target *t)
{
	ze_device_memory_properties_t memory[MOST];
	uint32_t nr = MOST;
	enum hg_status st;

	for (uint32_t i = 0; i < MOST; i++)
		memory[i] = (ze_device_memory_properties_t){ .stype = ZE_STRUCTURE_TYPE_DEVICE_MEMORY_PROPERTIES };
	st = ZE(zeDeviceGetMemoryProperties, t->device, &nr, memory);
	if (st)
		return st;
	for (uint32_t i = 0; i < nr && i < MOST; i++)
		if (memory[i].totalSize > t->info.memory_bytes)
			t->info.memory_bytes = memory[i].totalSize;
	return HG_OK;
}

static enum hg_status read_compute(struct hg_target *t)
{
	ze_device_compute_properties_t c = { .stype = ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES };
	ze_device_module_properties_t m = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES };
	enum hg_status st = ZE(zeDeviceGetComputeProperties, t->device, &c);
	uint32_t items;

	if (!st)
		st = ZE(zeDeviceGetModuleProperties, t->device, &m);
	if (st)
		return st;
	if (!m.spirvVersionSupported) {
		pr_err("the driver of '%s' takes no SPIR-V", t->info.name);
		return HG_ERR_UNAVAILABLE;
	}
	t->spirv_version = ZE_MAJOR_VERSION(m.spirvVersionSupported) << 16 | ZE_MINOR_VERSION(m.spirvVersionSupported) << 8;
	/* work-groups have one dimension */
	items = c.maxTotalGroupSize < c.maxGroupSizeX ? c.maxTotalGroupSize : c.maxGroupSizeX;
	t->max_groups[0] = c.maxGroupCountX;
	t->max_groups[1] = c.maxGroupCountY;
	t->max_groups[2] = c.maxGroupCountZ;
	t->spirv = (struct hg_spirv_device){
		.has_fp16 = m.flags & ZE_DEVICE_MODULE_FLAG_FP16,
		.has_fp64 = m.flags & ZE_DEVICE_MODULE_FLAG_FP64,
		.has_int64_atomics = m.flags & ZE_DEVICE_MODULE_FLAG_INT64_ATOMICS,
		.slm_bytes = c.maxSharedLocalMemory,
		.max_work_items = items,
	};
	for (uint32_t i = 0; i < c.numSubGroupSizes && i < ZE_SUBGROUPSIZE_COUNT; i++)
		t->spirv.has_subgroup_32 |= c.subGroupSizes[i] == 32;
	t->info.max_threads_per_block = items < 1024 ? items : 1024;
	t->info.max_shared_optin_bytes = c.maxSharedLocalMemory;
	t->info.max_shared_bytes = c.maxSharedLocalMemory < SHARED_BYTES ? c.maxSharedLocalMemory : SHARED_BYTES;
	return HG_OK;
}

/* Version 1.2 of the structure counts the timer in ticks a second; a driver that does not know it counts nanoseconds of a tick. */
static enum hg_status read_device(struct hg_target *t)
{
	ze_device_properties_t p = { .stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2 };
	ze_api_version_t version = ZE_API_VERSION_1_0;
	struct hg_target_info *i = &t->info;
	enum hg_status st = ZE(zeDriverGetApiVersion, t->driver, &version);

	if (!st && version < ZE_API_VERSION_1_2)
		p.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES;
	if (!st)
		st = ZE(zeDeviceGetProperties, t->device, &p);
	if (st)
		return st;
	if (p.stype == ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES)
		p.timerResolution = p.timerResolution ? 1000000000 / p.timerResolution : 0;
	snprintf(i->name, sizeof(i->name), "%.*s", (int)sizeof(i->name) - 1, p.name);
	i->nr_multiprocessors = p.numSlices * p.numSubslicesPerSlice;
	if (!i->nr_multiprocessors)
		i->nr_multiprocessors = 1;
	i->clock_khz = p.coreClockRate * 1000;
	i->warp_size = 32;
	i->keeps_addresses = true;
	return ze_clock_read(t, p.timerResolution, p.timestampValidBits);
}

/* How kernels reach memory of the host. */
static enum hg_status find_host_access(struct hg_target *t)
{
	ze_device_memory_access_properties_t access = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEMORY_ACCESS_PROPERTIES };
	ze_driver_extension_properties_t *extension = NULL;
	uint32_t nr = 0;
	enum hg_status st = ZE(zeDeviceGetMemoryAccessProperties, t->device, &access);

	if (!st)
		st = ZE(zeDriverGetExtensionProperties, t->driver, &nr, NULL);
	if (st)
		return st;
	t->info.host_access = access.sharedSystemAllocCapabilities & ZE_MEMORY_ACCESS_CAP_FLAG_RW;
	extension = calloc(nr + 1, sizeof(*extension));
	if (!extension)
		return HG_ERR_NOMEM;
	if (nr)
		st = ZE(zeDriverGetExtensionProperties, t->driver, &nr, extension);
	for (uint32_t i = 0; i < nr && !st; i++)
		t->has_memmap |= !strncmp(extension[i].name, ZE_MEMMAP, sizeof(extension[i].name));
	free(extension);
	if (!st && !t->info.host_access && !t->has_memmap)
		pr_info("'%s': kernels reach no memory of the host, as its driver has no " ZE_MEMMAP, t->info.name);
	return st;
}

static enum hg_status context_new(struct hg_target *t)
{
	const ze_context_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC };

	return ZE(zeContextCreate, t->driver, &desc, &t->context);
}

static void ze_close(struct hg_target *t)
{
	if (!t)
		return;
	while (t->gpu.queues)
		ze_queue_destroy(t->gpu.queues->queue);
	if (t->context) {
		ze_events_fini(t);
		ze_memory_fini(t);
		if (hg_ze_nr_left() == t->nr_left)
			ZE_TRY(zeContextDestroy, t->context);
	}
	gpu_memory_fini(&t->memory);
	gpu_target_fini(&t->gpu);
	pthread_mutex_destroy(&t->service_lock);
	pthread_mutex_destroy(&t->events_lock);
	pthread_mutex_destroy(&t->clock_lock);
	pthread_mutex_destroy(&t->map_lock);
	free(t);
}

static enum hg_status open_device(struct hg_target *t)
{
	enum hg_status st = find_device(t);

	if (!st)
		st = context_new(t);
	if (!st)
		st = read_device(t);
	if (!st)
		st = read_compute(t);
	if (!st)
		st = read_memory(t);
	if (!st)
		st = find_group(t);
	if (!st)
		st = find_host_access(t);
	if (!st)
		st = ze_unit_read(t);
	return st ? st : ze_queue_create(t, 0, &t->service);
}

static enum hg_status ze_open(struct hg_target **out)
{
	sigset_t all, old;
	struct hg_target *t;
	const char *why;
	enum hg_status st = hg_ze_load(&why);

	if (st) {
		pr_err("%s", why);
		return st;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return HG_ERR_NOMEM;
	t->nr_left = hg_ze_nr_left();
	gpu_memory_init(&t->memory);
	gpu_target_init(&t->gpu, ze_list_is_idle);
	pthread_mutex_init(&t->map_lock, NULL);
	pthread_mutex_init(&t->clock_lock, NULL);
	pthread_mutex_init(&t->events_lock, NULL);
	pthread_mutex_init(&t->service_lock, NULL);
	/* the program's signals are not for the threads that a driver makes */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	st = hg_arena_env(&t->arena, NULL);
	if (!st)
		st = open_device(t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (st) {
		ze_close(t);
		return st;
	}
	pr_info("target 'level-zero': %s, '%s'", t->info.name, hg_ze.path);
	*out = t;
	return HG_OK;
}

static void ze_info(struct hg_target *t, struct hg_target_info *out)
{
	*out = t->info;
}

const struct hg_target_ops hg_target_ze = {
	.name = "level-zero",
	.open = ze_open,
	.close = ze_close,
	.info = ze_info,
	.map_unit = ze_map_unit,
	.reserve = ze_reserve,
	.map = ze_map,
	.unmap = ze_unmap,
	.host_register = ze_host_register,
	.host_unregister = ze_host_unregister,
	.module_load = ze_module_load,
	.module_unload = ze_module_unload,
	.kernel_get = ze_kernel_get,
	.queue_create = ze_queue_create,
	.queue_destroy = ze_queue_destroy,
	.copy = ze_copy,
	.fill = ze_fill,
	.launch = ze_launch,
	.host_func = ze_host_func,
	.mark_create = ze_mark_create,
	.mark_destroy = ze_mark_destroy,
	.mark_record = ze_mark_record,
	.mark_wait = ze_mark_wait,
	.mark_is_done = ze_mark_is_done,
	.mark_sync = ze_mark_sync,
	.mark_time_ns = ze_mark_time_ns,
	.queue_is_idle = ze_queue_is_idle,
	.queue_sync = ze_queue_sync,
	.queue_cancel = ze_queue_cancel,
	.queue_throttle = ze_queue_throttle,
	.fault = ze_fault,
	.read = ze_read,
	.write = ze_write,
};
