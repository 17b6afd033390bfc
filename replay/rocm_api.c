/* rocm_api.c - finds AMD's HIP runtime, and says what went wrong in it. */
#define _GNU_SOURCE
#include "replay/rocm_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"

struct hg_hip hg_hip;

static const struct vendor_function call[HG_HIP_CALLS] = {
#define ROCM_CALL(operation, since, need, symbol, params, cuda) \
	[HG_HIP_##symbol] = { #symbol, since, cuda, need, offsetof(struct hg_hip, symbol) },
#include "replay/rocm_api.def"
};

/* With the calls that were the newest first: version 6 is what this target was written for. */
static const char *const names[] = { "libamdhip64.so.6", "libamdhip64.so.7", "libamdhip64.so.5", "libamdhip64.so" };
static const char *const folders[] = { "", "/opt/rocm/lib/" };	/* "": where the loader looks */

static char load_why[1024];
static enum hg_status load_status;

static void *open_one(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const char *why = library ? NULL : dlerror();
	size_t used = strlen(load_why);

	/* a file that is not there is what is expected; one that cannot be opened is worth a word */
	if (why && !strstr(why, "No such file or directory"))
		snprintf(load_why + used, sizeof(load_why) - used, "; %s", why);
	return library;
}

static void *open_library(void)
{
	const char *named = getenv("HGSHIM_HIP");
	char path[128];
	void *library;

	if (named && *named) {
		snprintf(load_why, sizeof(load_why), "no ROCm: HGSHIM_HIP is '%s', and that cannot be opened", named);
		library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
		if (!library)
			snprintf(load_why, sizeof(load_why), "no ROCm: HGSHIM_HIP is '%s': %s", named, dlerror());
		return library;
	}
	snprintf(load_why, sizeof(load_why), "no ROCm: looked for libamdhip64.so.6, .so.7, .so.5 and .so where the loader looks, and in /opt/rocm/lib");
	for (size_t f = 0; f < sizeof(folders) / sizeof(folders[0]); f++)
		for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
			snprintf(path, sizeof(path), "%s%s", folders[f], names[n]);
			library = open_one(path);
			if (library)
				return library;
		}
	return NULL;
}

static void load(void)
{
	void *library = open_library();

	load_status = HG_ERR_UNAVAILABLE;
	if (!library ||
	    !vendor_functions(library, "HIP", call, HG_HIP_CALLS, &hg_hip, hg_hip.path, load_why, sizeof(load_why)))
		return;
	if (hg_hip.hipRuntimeGetVersion(&hg_hip.version))
		hg_hip.version = 0;
	load_status = HG_OK;
}

enum hg_status hg_hip_load(const char **why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	vendor_load_once(&once, load);
	*why = load_status ? load_why : NULL;
	return load_status;
}

/* What an error of HIP is here. */
static enum hg_status status_of(int error)
{
	switch (error) {
	case HIP_SUCCESS:
		return HG_OK;
	case HIP_INVALID_VALUE:
	case HIP_COOPERATIVE_TOO_LARGE:
		return HG_ERR_INVALID;
	case HIP_OUT_OF_MEMORY:
		return HG_ERR_NOMEM;
	case HIP_NO_DEVICE:
	case HIP_INVALID_DEVICE:
		return HG_ERR_UNAVAILABLE;
	case HIP_NOT_SUPPORTED:
		return HG_ERR_UNSUPPORTED;
	case HIP_ILLEGAL_ADDRESS:
	case HIP_LAUNCH_TIMEOUT:
	case HIP_ASSERT:
	case HIP_LAUNCH_FAILURE:
		return HG_ERR_FAULT;
	default:
		return HG_ERR_IO;
	}
}

enum hg_status hg_hip_check(enum hg_hip_call which, int error, const uint64_t *word, size_t nr)
{
	char args[256];

	if (!error)
		return HG_OK;
	vendor_args_text(args, sizeof(args), word, nr);
	pr_err("%s(%s), for %s: %s (%s)", call[which].symbol, args, call[which].cuda, hg_hip.hipGetErrorName(error),
	       hg_hip.hipGetErrorString(error));
	return status_of(error);
}
