/* init.c - look-up of symbols, the knobs, the start and the end of the fake CUDA driver. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/cuda/fake.h"

struct fake_config fake_config;
_Atomic(CUresult) fake_state = CUDA_ERROR_NOT_INITIALIZED;

/* Without HG_FAKE_CUDA_CONTROL nobody else sees these. */
static struct fake_counter own_control[HG_SYM_COUNT];
struct fake_counter *fake_control = own_control;

/* ---- look-up ---- */

#define PLAIN false
#define PTSZ true
#define PTDS true
static const struct symbol {
	const char *name, *base;
	void *entry;
	int version;
	bool per_thread;
} symbols[HG_SYM_COUNT] = {
#define HG_SYM(sym, plain, base, version, flavour, params, args) { #sym, #base, (void *)sym, version, flavour },
#include "intercept/symbols.def"
};
#undef PLAIN
#undef PTSZ
#undef PTDS
static const char *const names[HG_SYM_COUNT] = {
#define HG_SYM(sym, plain, base, version, flavour, params, args) #sym,
#include "intercept/symbols.def"
};

static void *look_up(const char *base, int version, bool per_thread, CUdriverProcAddressQueryResult *status)
{
	const struct symbol *plain = NULL, *own = NULL;

	*status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	for (const struct symbol *s = symbols; s < symbols + HG_SYM_COUNT; s++) {
		const struct symbol **best = s->per_thread ? &own : &plain;

		if (strcmp(s->base, base) != 0 || s->version > fake_config.version ||
		    (fake_config.no_param_info && strstr(base, "GetParamInfo")))
			continue;
		*status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
		if (s->version <= version && (!*best || (*best)->version < s->version))
			*best = s;
	}
	if (per_thread && own)
		plain = own;
	if (!plain)
		return NULL;
	*status = CU_GET_PROC_ADDRESS_SUCCESS;
	return plain->entry;
}

CUresult fake_cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
				  CUdriverProcAddressQueryResult *out_status)
{
	CUdriverProcAddressQueryResult status;

	if (!symbol || !pfn || flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM || version > fake_config.version)
		return CUDA_ERROR_INVALID_VALUE;
	*pfn = look_up(symbol, version, flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status);
	if (out_status)
		*out_status = status;
	return CUDA_SUCCESS;
}

CUresult fake_cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
	CUresult r = fake_cuGetProcAddress_v2(symbol, pfn, version, flags, NULL);

	if (r == CUDA_SUCCESS && !*pfn)
		return CUDA_ERROR_NOT_FOUND;
	return r;
}

CUresult fake_cuGetExportTable(const void **table, const CUuuid *id)
{
	if (!table || !id)
		return CUDA_ERROR_INVALID_VALUE;
	return fake_table(id->bytes, table);
}

/* ---- knobs, start and end ---- */

static void in_child(void)
{
	atomic_store(&fake_state, CUDA_ERROR_NOT_INITIALIZED);
}

static pid_t owner;

static void at_exit(int status, void *arg)
{
	(void)status;
	(void)arg;
	CUresult ready = CUDA_SUCCESS;

	if (getpid() != owner || !atomic_compare_exchange_strong(&fake_state, &ready, CUDA_ERROR_DEINITIALIZED))
		return;
	fake_streams_shutdown();
}

__attribute__((constructor)) static void load(void)
{
	const char *path = getenv("HG_FAKE_CUDA_CONTROL");
	uint64_t cc;

	hg_msg_prefix("fake CUDA driver");
	fake_control_name(own_control, names, HG_SYM_COUNT);
	fake_config.version = (int)fake_knob("HG_FAKE_CUDA_VERSION", 13000);
	fake_config.nr_devices = (int)fake_knob("HG_FAKE_CUDA_DEVICES", 1);
	if (fake_config.nr_devices < 0 || fake_config.nr_devices > FAKE_MAX_DEVICES)
		fake_config.nr_devices = FAKE_MAX_DEVICES;
	cc = fake_knob("HG_FAKE_CUDA_COMPUTE_CAPABILITY", 90);
	fake_config.cc_major = (int)(cc / 10);
	fake_config.cc_minor = (int)(cc % 10);
	fake_config.nr_sms = (int)fake_knob("HG_FAKE_CUDA_SMS", 8);
	fake_config.memory = fake_knob("HG_FAKE_CUDA_MEMORY", (uint64_t)16 << 30) & -FAKE_GRANULE;
	fake_config.range = fake_knob("HG_FAKE_CUDA_RANGE", (uint64_t)64 << 30) & -FAKE_GRANULE;
	fake_config.pattern = fake_knob_pattern("HG_FAKE_CUDA_PATTERN");
	fake_config.keep_range = fake_knob("HG_FAKE_CUDA_KEEP_RESERVATION", 0);
	fake_config.null_launch = fake_knob("HG_FAKE_CUDA_NULL", 0);
	fake_config.host_pointer = fake_knob("HG_FAKE_CUDA_HOST_POINTER", 1);
	fake_config.skip_sass = fake_knob("HG_FAKE_CUDA_SKIP_SASS", 0);
	fake_config.no_param_info = fake_knob("HG_FAKE_CUDA_NO_PARAM_INFO", 0);
	fake_config.kernel_us = (unsigned int)fake_knob("HG_FAKE_CUDA_KERNEL_US", 0);
	fake_config.queue_depth = 1;
	while (fake_config.queue_depth < fake_knob("HG_FAKE_CUDA_QUEUE_DEPTH", 1024) && fake_config.queue_depth < 65536)
		fake_config.queue_depth *= 2;
	if (path && *path)
		fake_control = fake_control_open(path, names, HG_SYM_COUNT, own_control);
	pthread_atfork(NULL, NULL, in_child);
}

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

CUresult fake_cuInit(unsigned int flags)
{
	CUresult r = CUDA_SUCCESS;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (!fake_config.nr_devices)
		return CUDA_ERROR_NO_DEVICE;
	pthread_mutex_lock(&init_lock);
	if (owner && owner != getpid()) {
		r = CUDA_ERROR_NOT_INITIALIZED;
	} else if (atomic_load(&fake_state) == CUDA_ERROR_DEINITIALIZED) {
		r = CUDA_ERROR_DEINITIALIZED;
	} else if (!owner) {
		r = fake_contexts_init();
		if (r == CUDA_SUCCESS)
			r = fake_pools_init();
		if (r == CUDA_SUCCESS) {
			owner = getpid();
			on_exit(at_exit, NULL);
			atomic_store(&fake_state, CUDA_SUCCESS);
		}
	}
	pthread_mutex_unlock(&init_lock);
	return r;
}

CUresult fake_cuDriverGetVersion(int *version)
{
	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	*version = fake_config.version;
	return CUDA_SUCCESS;
}
