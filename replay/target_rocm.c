/* target_rocm.c - AMD's GPUs as a target, over HIP: the device, and the table of operations (rocm_*.c). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "replay/rocm.h"

/* Where the name of the chip stands in hipDeviceProp_t: as hipGetDevicePropertiesR0600 writes it, and as the function before version 6 does. */
#define CHIP_AT_R0600 1160
#define CHIP_AT_R0000 396
#define CHIP_SIZE 256
#define PROPERTIES_SIZE 8192	/* the largest known is 1472 */

enum hg_status rocm_enter(const struct hg_target *t)
{
	return HIP(hipSetDevice, t->device);
}

static void version_text(char *out, size_t size)
{
	snprintf(out, size, "%d.%d", hg_hip.version / 10000000, hg_hip.version / 100000 % 100);
}

/* Without a device HIP says little; this says what the machine lacks. */
static void say_no_device(const char *call, int error)
{
	const char *why = "is there, and it may be used: the GPU may be one that ROCm does not support";
	char version[16];

	if (access("/dev/kfd", F_OK))
		why = "is not there: the kernel's driver (amdgpu) is not loaded, or has no GPU";
	else if (access("/dev/kfd", R_OK | W_OK))
		why = errno == EACCES ? "may not be used by this user (groups render and video)" : "cannot be used";
	version_text(version, sizeof(version));
	pr_err("ROCm %s ('%s') has no device: %s gives %s (%s); /dev/kfd %s", version, hg_hip.path, call, hg_hip.hipGetErrorName(error),
	       hg_hip.hipGetErrorString(error), why);
}

static enum hg_status find_device(void)
{
	const char *why;
	enum hg_status st = hg_hip_load(&why);
	int error, nr = 0;

	if (st) {
		pr_err("%s", why);
		return st;
	}
	error = HIP_CALL(hipInit, 0);
	if (error) {
		say_no_device("hipInit", error);
		return HG_ERR_UNAVAILABLE;
	}
	error = HIP_CALL(hipGetDeviceCount, &nr);
	if (error || nr < 1) {
		say_no_device("hipGetDeviceCount", error ? error : HIP_NO_DEVICE);
		return HG_ERR_UNAVAILABLE;
	}
	return HG_OK;
}

static enum hg_status find_chip(struct hg_target *t)
{
	unsigned char *properties = calloc(1, PROPERTIES_SIZE);
	char name[CHIP_SIZE + 1];
	enum hg_status st;

	if (!properties)
		return HG_ERR_NOMEM;
	/* where both are, the one without a suffix still writes the old structure */
	if (hg_hip.hipGetDevicePropertiesR0600)
		st = HIP(hipGetDevicePropertiesR0600, properties, t->device);
	else
		st = HIP(hipGetDeviceProperties, properties, t->device);
	memcpy(name, properties + (hg_hip.hipGetDevicePropertiesR0600 ? CHIP_AT_R0600 : CHIP_AT_R0000), CHIP_SIZE);
	name[CHIP_SIZE] = '\0';
	free(properties);
	return st ? st : hg_amd_chip_find(name, &t->chip);
}

static int attribute(const struct hg_target *t, enum hip_attribute a)
{
	int value = 0, error = HIP_CALL(hipDeviceGetAttribute, &value, a, t->device);

	/* an old library does not know them all */
	if (error == HIP_INVALID_VALUE)
		return 0;
	return hg_hip_check(HG_HIP_hipDeviceGetAttribute, error, (const uint64_t[]){ (uintptr_t)&value, a, (uint64_t)t->device }, 3) ? 0 :
		value;
}

/* That memory gets the address that it is to have is what everything else stands on. */
static enum hg_status check_addresses(struct hg_target *t)
{
	char version[16];
	int value = 0, error = HIP_CALL(hipDeviceGetAttribute, &value, HIP_ATTRIBUTE_VIRTUAL_MEMORY, t->device);

	if (!error && value)
		return rocm_unit_read(t);
	version_text(version, sizeof(version));
	pr_err("device memory cannot be placed at wanted addresses, and pointers inside buffers would be wrong: ROCm %s ('%s') %s%s for '%s'; it "
	       "has it from 6.1 on", version, hg_hip.path, error ? "does not know of virtual memory management, hipDeviceGetAttribute gives " :
	       "has no virtual memory management", error ? hg_hip.hipGetErrorName(error) : "", t->info.name);
	return HG_ERR_UNAVAILABLE;
}

static enum hg_status read_info(struct hg_target *t)
{
	struct hg_target_info *i = &t->info;
	size_t bytes = 0;
	enum hg_status st = HIP(hipDeviceGetName, i->name, (int)sizeof(i->name), t->device);

	if (!st)
		st = HIP(hipDeviceTotalMem, &bytes, t->device);
	if (!st)
		st = HIP(hipDeviceGetStreamPriorityRange, &t->priority[0], &t->priority[1]);
	if (st)
		return st;
	i->memory_bytes = bytes;
	i->nr_multiprocessors = (uint32_t)attribute(t, HIP_ATTRIBUTE_MULTIPROCESSORS);
	if (!i->nr_multiprocessors)
		i->nr_multiprocessors = 1;
	i->clock_khz = (uint32_t)attribute(t, HIP_ATTRIBUTE_CLOCK_RATE);
	i->warp_size = 32;	/* kernels are made so, whatever the hardware's waves are */
	i->max_threads_per_block = t->chip.max_work_items < 1024 ? t->chip.max_work_items : 1024;
	/* what a block may have without and with asking for more, as on NVIDIA's */
	i->max_shared_optin_bytes = t->chip.lds_bytes;
	i->max_shared_bytes = i->max_shared_optin_bytes < 48u << 10 ? i->max_shared_optin_bytes : 48u << 10;
	i->keeps_addresses = true;
	i->host_access = attribute(t, HIP_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS) != 0;
	t->has_cooperative = attribute(t, HIP_ATTRIBUTE_COOPERATIVE_LAUNCH) != 0;
	return HG_OK;
}

static void rocm_close(struct hg_target *t)
{
	if (!t)
		return;
	if (t->service)
		rocm_clock_fini(t);
	while (t->gpu.queues)
		rocm_queue_destroy(t->gpu.queues->queue);
	rocm_memory_fini(t);
	pthread_mutex_destroy(&t->service_lock);
	pthread_mutex_destroy(&t->base_lock);
	gpu_target_fini(&t->gpu);
	gpu_memory_fini(&t->memory);
	free(t);
}

static enum hg_status rocm_open(struct hg_target **out)
{
	struct hg_target *t;
	enum hg_status st = find_device();

	if (st)
		return st;
	t = calloc(1, sizeof(*t));
	if (!t)
		return HG_ERR_NOMEM;
	gpu_memory_init(&t->memory);
	gpu_target_init(&t->gpu, rocm_stream_is_idle);
	pthread_mutex_init(&t->base_lock, NULL);
	pthread_mutex_init(&t->service_lock, NULL);
	/* the first that HIP_VISIBLE_DEVICES leaves; a program's devices are all this one */
	t->device = 0;
	st = rocm_enter(t);
	if (!st)
		st = find_chip(t);
	if (!st)
		st = read_info(t);
	if (!st)
		st = check_addresses(t);
	if (!st)
		st = rocm_queue_create(t, 0, &t->service);
	if (!st)
		st = rocm_clock_init(t);
	if (st) {
		rocm_close(t);
		return st;
	}
	pr_info("target 'rocm': %s, '%s', %s", t->info.name, t->chip.name, hg_hip.path);
	*out = t;
	return HG_OK;
}

static void rocm_info(struct hg_target *t, struct hg_target_info *out)
{
	*out = t->info;
}

const struct hg_target_ops hg_target_rocm = {
	.name = "rocm",
	.open = rocm_open,
	.close = rocm_close,
	.info = rocm_info,
	.map_unit = rocm_map_unit,
	.reserve = rocm_reserve,
	.map = rocm_map,
	.unmap = rocm_unmap,
	.host_register = rocm_host_register,
	.host_unregister = rocm_host_unregister,
	.module_load = rocm_module_load,
	.module_unload = rocm_module_unload,
	.kernel_get = rocm_kernel_get,
	.queue_create = rocm_queue_create,
	.queue_destroy = rocm_queue_destroy,
	.copy = rocm_copy,
	.fill = rocm_fill,
	.launch = rocm_launch,
	.host_func = rocm_host_func,
	.mark_create = rocm_mark_create,
	.mark_destroy = rocm_mark_destroy,
	.mark_record = rocm_mark_record,
	.mark_wait = rocm_mark_wait,
	.mark_is_done = rocm_mark_is_done,
	.mark_sync = rocm_mark_sync,
	.mark_time_ns = rocm_mark_time_ns,
	.queue_is_idle = rocm_queue_is_idle,
	.queue_sync = rocm_queue_sync,
	.queue_cancel = rocm_queue_cancel,
	.queue_throttle = rocm_queue_throttle,
	.fault = rocm_fault,
	.read = rocm_read,
	.write = rocm_write,
};
