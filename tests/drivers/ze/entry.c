/* entry.c - what the loader finds: tables of functions, which count calls and fail those that are to fail. */
#include <level_zero/zes_ddi.h>
#include <level_zero/zet_ddi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/drivers/ze/ze.h"

static __thread const char *current_call;	/* for messages; NULL: a thread of the device */

/* ---- messages ---- */

static void say(const char *what, ze_result_t error, const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	pr_err("%s%s: %s (0x%x)", what, current_call ? current_call : "a command", text, error);
}

void zd_say_misuse(ze_result_t error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("misuse of ", error, fmt, ap);
	va_end(ap);
	if (zd_config.strict)
		abort();
}

void zd_say_refused(ze_result_t error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("", error, fmt, ap);
	va_end(ap);
}

/* ---- what one thread at a time may use ---- */

#define MAX_ALONE 256			/* handles in calls right now; those beyond are not looked at */

static pthread_mutex_t alone_lock = PTHREAD_MUTEX_INITIALIZER;
static const void *alone[MAX_ALONE];

/* The specification: not "from simultaneous threads with the same command list handle", kernel handle. */
static bool is_for_one(enum zd_call i)
{
	return !strncmp(zd_call_name[i], "zeCommandListAppend", 19) || !strncmp(zd_call_name[i], "zeKernelSet", 11);
}

/* Rests now and then, so that another thread comes. */
static void begin_alone(const void *handle)
{
	static __thread uint64_t random;
	const void **free_place = NULL;
	bool is_used = false;

	pthread_mutex_lock(&alone_lock);
	for (int n = 0; n < MAX_ALONE; n++) {
		is_used |= alone[n] == handle;
		if (!alone[n])
			free_place = &alone[n];
	}
	if (free_place)
		*free_place = handle;
	pthread_mutex_unlock(&alone_lock);
	if (is_used)
		(void)zd_misuse(ZE_RESULT_SUCCESS, "%p is used by two threads at once", handle);
	if (!random)
		random = fake_random_seed(zd_config.seed + (uintptr_t)&random);
	fake_rest(&random, zd_config.delay_us);
}

static void end_alone(const void *handle)
{
	pthread_mutex_lock(&alone_lock);
	for (int n = 0; n < MAX_ALONE; n++)
		if (alone[n] == handle) {
			alone[n] = NULL;
			break;
		}
	pthread_mutex_unlock(&alone_lock);
}

/* ---- calls ---- */

static _Atomic(bool) was_initialized;

static ze_result_t enter(enum zd_call i, const void *first)
{
	uint32_t injected = fake_control_enter(&zd_control[i]);

	current_call = zd_call_name[i];
	if (is_for_one(i) && first)
		begin_alone(first);
	if (injected)
		return (ze_result_t)injected;
	if (i != ZD_zeInit && !atomic_load_explicit(&was_initialized, memory_order_relaxed))
		return zd_misuse(ZE_RESULT_ERROR_UNINITIALIZED, "zeInit was not called");
	return atomic_load_explicit(&zd_state, memory_order_acquire);
}

static ze_result_t leave(enum zd_call i, const void *first, ze_result_t r)
{
	if (is_for_one(i) && first)
		end_alone(first);
	current_call = NULL;
	if (i == ZD_zeInit && r == ZE_RESULT_SUCCESS)
		atomic_store_explicit(&was_initialized, true, memory_order_relaxed);
	return r;
}

#define FIRST(a, ...) ((const void *)(uintptr_t)(a))
#define ZE_CALL(table, member, name, params, args)                                                 \
	static ze_result_t enter_##name params                                                     \
	{                                                                                          \
		ze_result_t result_ = enter(ZD_##name, FIRST args);                                \
                                                                                                   \
		if (result_ == ZE_RESULT_SUCCESS)                                                  \
			result_ = zd_##name args;                                                  \
		return leave(ZD_##name, FIRST args, result_);                                      \
	}
#include "tests/drivers/ze/calls.def"

/* ---- tables ---- */

static const struct {
	ze_global_dditable_t global;
	ze_driver_dditable_t driver;
	ze_device_dditable_t device;
	ze_context_dditable_t context;
	ze_command_queue_dditable_t command_queue;
	ze_command_list_dditable_t command_list;
	ze_fence_dditable_t fence;
	ze_event_pool_dditable_t event_pool;
	ze_event_dditable_t event;
	ze_module_dditable_t module;
	ze_module_build_log_dditable_t module_build_log;
	ze_kernel_dditable_t kernel;
	ze_physical_mem_dditable_t physical_mem;
	ze_mem_dditable_t mem;
	ze_virtual_mem_dditable_t virtual_mem;
} tables = {
#define ZE_CALL(table, member, name, params, args) .table.member = enter_##name,
#include "tests/drivers/ze/calls.def"
};

#define EXPORT __attribute__((visibility("default")))
#define TABLE(function, type, member)                                                              \
	EXPORT ze_result_t function(ze_api_version_t version, type *table)                         \
	{                                                                                          \
		if (!table)                                                                        \
			return ZE_RESULT_ERROR_INVALID_NULL_POINTER;                               \
		if (ZE_MAJOR_VERSION(version) != ZE_MAJOR_VERSION(ZE_API_VERSION_CURRENT))         \
			return ZE_RESULT_ERROR_UNSUPPORTED_VERSION;                                \
		*table = tables.member;                                                            \
		return ZE_RESULT_SUCCESS;                                                          \
	}
TABLE(zeGetGlobalProcAddrTable, ze_global_dditable_t, global)
TABLE(zeGetDriverProcAddrTable, ze_driver_dditable_t, driver)
TABLE(zeGetDeviceProcAddrTable, ze_device_dditable_t, device)
TABLE(zeGetContextProcAddrTable, ze_context_dditable_t, context)
TABLE(zeGetCommandQueueProcAddrTable, ze_command_queue_dditable_t, command_queue)
TABLE(zeGetCommandListProcAddrTable, ze_command_list_dditable_t, command_list)
TABLE(zeGetFenceProcAddrTable, ze_fence_dditable_t, fence)
TABLE(zeGetEventPoolProcAddrTable, ze_event_pool_dditable_t, event_pool)
TABLE(zeGetEventProcAddrTable, ze_event_dditable_t, event)
TABLE(zeGetModuleProcAddrTable, ze_module_dditable_t, module)
TABLE(zeGetModuleBuildLogProcAddrTable, ze_module_build_log_dditable_t, module_build_log)
TABLE(zeGetKernelProcAddrTable, ze_kernel_dditable_t, kernel)
TABLE(zeGetPhysicalMemProcAddrTable, ze_physical_mem_dditable_t, physical_mem)
TABLE(zeGetMemProcAddrTable, ze_mem_dditable_t, mem)
TABLE(zeGetVirtualMemProcAddrTable, ze_virtual_mem_dditable_t, virtual_mem)

/* The loader wants these to be there; nothing is in them. */
#define NOTHING(function, type)                                                                    \
	EXPORT ze_result_t function(ze_api_version_t version, type *table)                         \
	{                                                                                          \
		(void)version;                                                                     \
		if (!table)                                                                        \
			return ZE_RESULT_ERROR_INVALID_NULL_POINTER;                               \
		memset(table, 0, sizeof(*table));                                                  \
		return ZE_RESULT_SUCCESS;                                                          \
	}
NOTHING(zeGetDeviceExpProcAddrTable, ze_device_exp_dditable_t)
NOTHING(zeGetImageProcAddrTable, ze_image_dditable_t)
NOTHING(zeGetImageExpProcAddrTable, ze_image_exp_dditable_t)
NOTHING(zeGetEventExpProcAddrTable, ze_event_exp_dditable_t)
NOTHING(zeGetKernelExpProcAddrTable, ze_kernel_exp_dditable_t)
NOTHING(zeGetSamplerProcAddrTable, ze_sampler_dditable_t)
NOTHING(zeGetFabricVertexExpProcAddrTable, ze_fabric_vertex_exp_dditable_t)
NOTHING(zeGetFabricEdgeExpProcAddrTable, ze_fabric_edge_exp_dditable_t)
NOTHING(zesGetDriverProcAddrTable, zes_driver_dditable_t)
NOTHING(zesGetDeviceProcAddrTable, zes_device_dditable_t)
NOTHING(zesGetSchedulerProcAddrTable, zes_scheduler_dditable_t)
NOTHING(zesGetPerformanceFactorProcAddrTable, zes_performance_factor_dditable_t)
NOTHING(zesGetPowerProcAddrTable, zes_power_dditable_t)
NOTHING(zesGetFrequencyProcAddrTable, zes_frequency_dditable_t)
NOTHING(zesGetEngineProcAddrTable, zes_engine_dditable_t)
NOTHING(zesGetStandbyProcAddrTable, zes_standby_dditable_t)
NOTHING(zesGetFirmwareProcAddrTable, zes_firmware_dditable_t)
NOTHING(zesGetMemoryProcAddrTable, zes_memory_dditable_t)
NOTHING(zesGetFabricPortProcAddrTable, zes_fabric_port_dditable_t)
NOTHING(zesGetTemperatureProcAddrTable, zes_temperature_dditable_t)
NOTHING(zesGetPsuProcAddrTable, zes_psu_dditable_t)
NOTHING(zesGetFanProcAddrTable, zes_fan_dditable_t)
NOTHING(zesGetLedProcAddrTable, zes_led_dditable_t)
NOTHING(zesGetRasProcAddrTable, zes_ras_dditable_t)
NOTHING(zesGetDiagnosticsProcAddrTable, zes_diagnostics_dditable_t)
NOTHING(zetGetDeviceProcAddrTable, zet_device_dditable_t)
NOTHING(zetGetContextProcAddrTable, zet_context_dditable_t)
NOTHING(zetGetCommandListProcAddrTable, zet_command_list_dditable_t)
NOTHING(zetGetModuleProcAddrTable, zet_module_dditable_t)
NOTHING(zetGetKernelProcAddrTable, zet_kernel_dditable_t)
NOTHING(zetGetMetricGroupProcAddrTable, zet_metric_group_dditable_t)
NOTHING(zetGetMetricGroupExpProcAddrTable, zet_metric_group_exp_dditable_t)
NOTHING(zetGetMetricProcAddrTable, zet_metric_dditable_t)
NOTHING(zetGetMetricStreamerProcAddrTable, zet_metric_streamer_dditable_t)
NOTHING(zetGetMetricQueryPoolProcAddrTable, zet_metric_query_pool_dditable_t)
NOTHING(zetGetMetricQueryProcAddrTable, zet_metric_query_dditable_t)
NOTHING(zetGetTracerExpProcAddrTable, zet_tracer_exp_dditable_t)
NOTHING(zetGetDebugProcAddrTable, zet_debug_dditable_t)
