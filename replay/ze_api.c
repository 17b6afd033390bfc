/* ze_api.c - finds Level Zero's loader, and says what went wrong in it. */
#define _GNU_SOURCE
#include "replay/ze_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/msg.h"

struct hg_ze hg_ze;

static const struct vendor_function call[HG_ZE_CALLS] = {
#define ZE_CALL(operation, since, need, symbol, cuda) [HG_ZE_##symbol] = { #symbol, since, cuda, need, offsetof(struct hg_ze, symbol) },
#include "replay/ze_api.def"
};

static const char library_name[] = "libze_loader.so.1";
static char load_why[1024];
static enum hg_status load_status;

static void *open_library(void)
{
	const char *named = getenv("HGSHIM_LEVEL_ZERO");
	void *library;

	if (named && *named) {
		library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
		if (!library)
			snprintf(load_why, sizeof(load_why), "no Level Zero: HGSHIM_LEVEL_ZERO is '%s': %s", named, dlerror());
		return library;
	}
	library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		snprintf(load_why, sizeof(load_why), "no Level Zero: looked for its loader, %s, where libraries are looked for: %s",
			 library_name, dlerror());
	return library;
}

static void load(void)
{
	void *library = open_library();

	load_status = HG_ERR_UNAVAILABLE;
	if (!library ||
	    !vendor_functions(library, "Level Zero", call, HG_ZE_CALLS, &hg_ze, hg_ze.path, load_why, sizeof(load_why)))
		return;
	load_status = HG_OK;
}

/* Level Zero's loader and drivers end with the process; what a thread still asks of them is refused, and nobody's business. */
static atomic_bool has_ended;

static void note_end(void)
{
	atomic_store(&has_ended, true);
}

void hg_ze_began(void)
{
	static atomic_bool is_noted;

	if (!atomic_exchange(&is_noted, true) && atexit(note_end))
		pr_debug("messages of Level Zero's end will be shown");
}

enum hg_status hg_ze_load(const char **why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	vendor_load_once(&once, load);
	*why = load_status ? load_why : NULL;
	return load_status;
}

enum hg_status hg_ze_status(ze_result_t result)
{
	switch (result) {
	case ZE_RESULT_SUCCESS:
		return HG_OK;
	case ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY:
	case ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY:
		return HG_ERR_NOMEM;
	case ZE_RESULT_ERROR_DEVICE_LOST:	/* what a kernel that failed in hardware ends in */
		return HG_ERR_FAULT;
	case ZE_RESULT_ERROR_UNINITIALIZED:
	case ZE_RESULT_ERROR_DEPENDENCY_UNAVAILABLE:
	case ZE_RESULT_ERROR_INSUFFICIENT_PERMISSIONS:
		return HG_ERR_UNAVAILABLE;
	case ZE_RESULT_ERROR_UNSUPPORTED_FEATURE:
	case ZE_RESULT_ERROR_UNSUPPORTED_VERSION:
		return HG_ERR_UNSUPPORTED;
	default:
		return result >= ZE_RESULT_ERROR_INVALID_ARGUMENT && result < ZE_RESULT_ERROR_UNKNOWN ? HG_ERR_INVALID : HG_ERR_IO;
	}
}

const char *hg_ze_result_name(ze_result_t result)
{
	switch (result) {
#define NAME(name) case ZE_RESULT_##name: return "ZE_RESULT_" #name
	NAME(SUCCESS);
	NAME(NOT_READY);
	NAME(ERROR_DEVICE_LOST);
	NAME(ERROR_OUT_OF_HOST_MEMORY);
	NAME(ERROR_OUT_OF_DEVICE_MEMORY);
	NAME(ERROR_MODULE_BUILD_FAILURE);
	NAME(ERROR_MODULE_LINK_FAILURE);
	NAME(ERROR_DEVICE_REQUIRES_RESET);
	NAME(ERROR_DEVICE_IN_LOW_POWER_STATE);
	NAME(ERROR_INSUFFICIENT_PERMISSIONS);
	NAME(ERROR_NOT_AVAILABLE);
	NAME(ERROR_DEPENDENCY_UNAVAILABLE);
	NAME(ERROR_UNINITIALIZED);
	NAME(ERROR_UNSUPPORTED_VERSION);
	NAME(ERROR_UNSUPPORTED_FEATURE);
	NAME(ERROR_INVALID_ARGUMENT);
	NAME(ERROR_INVALID_NULL_HANDLE);
	NAME(ERROR_HANDLE_OBJECT_IN_USE);
	NAME(ERROR_INVALID_NULL_POINTER);
	NAME(ERROR_INVALID_SIZE);
	NAME(ERROR_UNSUPPORTED_SIZE);
	NAME(ERROR_UNSUPPORTED_ALIGNMENT);
	NAME(ERROR_INVALID_SYNCHRONIZATION_OBJECT);
	NAME(ERROR_INVALID_ENUMERATION);
	NAME(ERROR_UNSUPPORTED_ENUMERATION);
	NAME(ERROR_INVALID_NATIVE_BINARY);
	NAME(ERROR_INVALID_KERNEL_NAME);
	NAME(ERROR_INVALID_GROUP_SIZE_DIMENSION);
	NAME(ERROR_INVALID_GLOBAL_WIDTH_DIMENSION);
	NAME(ERROR_INVALID_KERNEL_ARGUMENT_INDEX);
	NAME(ERROR_INVALID_KERNEL_ARGUMENT_SIZE);
	NAME(ERROR_INVALID_KERNEL_ATTRIBUTE_VALUE);
	NAME(ERROR_INVALID_MODULE_UNLINKED);
	NAME(ERROR_INVALID_COMMAND_LIST_TYPE);
	NAME(ERROR_OVERLAPPING_REGIONS);
	NAME(ERROR_UNKNOWN);
#undef NAME
	default:
		return "?";
	}
}

enum hg_status hg_ze_check(enum hg_ze_call which, ze_result_t result, const uint64_t *word, size_t nr)
{
	char args[256];

	if (!result)
		return HG_OK;
	if (result == ZE_RESULT_ERROR_UNINITIALIZED && atomic_load(&has_ended))
		return HG_ERR_UNAVAILABLE;
	vendor_args_text(args, sizeof(args), word, nr);
	pr_err("%s(%s), for %s: %s (0x%x)", call[which].symbol, args, call[which].cuda, hg_ze_result_name(result), (unsigned int)result);
	return hg_ze_status(result);
}

static atomic_ullong nr_left;

bool hg_ze_ended(enum hg_status st)
{
	if (st)
		atomic_fetch_add(&nr_left, 1);
	return !st;
}

uint64_t hg_ze_nr_left(void)
{
	return atomic_load(&nr_left);
}
