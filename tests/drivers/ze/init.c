/* init.c - the knobs, the start and the end of the Level Zero driver for tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/ze/ze.h"

struct zd_config zd_config;
_Atomic(ze_result_t) zd_state = ZE_RESULT_SUCCESS;

const char *const zd_call_name[ZD_CALL_COUNT] = {
#define ZE_CALL(table, member, name, params, args) #name,
#include "tests/drivers/ze/calls.def"
};
/* Without HG_FAKE_ZE_CONTROL nobody else sees these. */
static struct fake_counter own_control[ZD_CALL_COUNT];
struct fake_counter *zd_control = own_control;

static void in_child(void)
{
	atomic_store(&zd_state, ZE_RESULT_ERROR_UNINITIALIZED);
}

static pid_t owner;

static void at_exit(int status, void *arg)
{
	ze_result_t ready = ZE_RESULT_SUCCESS;

	(void)status;
	(void)arg;
	if (getpid() != owner || !atomic_compare_exchange_strong(&zd_state, &ready, ZE_RESULT_ERROR_UNINITIALIZED))
		return;
	zd_shutdown();
	zd_at_exit();
}

/* The sizes of sub-groups, as a list: "8,16,32". */
static uint32_t sub_groups(const char *text)
{
	uint32_t sizes = 0;

	for (const char *p = text && *text ? text : "8,16,32"; *p; p += *p == ',') {
		char *end;
		unsigned long n = strtoul(p, &end, 10);

		if (end == p || (n != 8 && n != 16 && n != 32)) {
			pr_err("'HG_FAKE_ZE_SUBGROUPS=%s': sizes of sub-groups are 8, 16, 32", text);
			return 8 | 16 | 32;
		}
		sizes |= (uint32_t)n;
		p = end;
	}
	return sizes;
}

static uint32_t number(const char *name, uint32_t otherwise, uint32_t most)
{
	uint64_t v = fake_knob(name, otherwise);

	return v > most ? most : (uint32_t)v;
}

__attribute__((constructor)) static void load(void)
{
	const char *path = getenv("HG_FAKE_ZE_CONTROL");

	hg_msg_prefix("level-zero test driver");
	fake_control_name(own_control, zd_call_name, ZD_CALL_COUNT);
	zd_config.nr_devices = (int)number("HG_FAKE_ZE_DEVICES", 1, ZD_MAX_DEVICES);
	zd_config.nr_cores = number("HG_FAKE_ZE_CORES", 8, 1024);
	zd_config.slm_bytes = number("HG_FAKE_ZE_SLM", 65536, 131072);
	zd_config.max_items = number("HG_FAKE_ZE_GROUP", 1024, 1024);
	zd_config.max_groups = number("HG_FAKE_ZE_GROUPS", UINT32_MAX, UINT32_MAX);
	zd_config.sub_groups = sub_groups(getenv("HG_FAKE_ZE_SUBGROUPS"));
	zd_config.memory = fake_knob("HG_FAKE_ZE_MEMORY", (uint64_t)16 << 30) & -(uint64_t)65536;
	zd_config.pattern = fake_knob_pattern("HG_FAKE_ZE_PATTERN");
	zd_config.strict = fake_knob("HG_FAKE_ZE_STRICT", 0);
	zd_config.leaks = fake_knob("HG_FAKE_ZE_LEAKS", 0);
	zd_config.protect = fake_knob("HG_FAKE_ZE_PROTECT", 1);
	zd_config.takes_hint = fake_knob("HG_FAKE_ZE_HINT", 1);
	zd_config.has_memmap = fake_knob("HG_FAKE_ZE_MEMMAP", 1);
	zd_config.has_system = fake_knob("HG_FAKE_ZE_SYSTEM", 0);
	zd_config.has_fp64 = fake_knob("HG_FAKE_ZE_FP64", 1);
	zd_config.spirv_minor = (uint32_t)fake_knob("HG_FAKE_ZE_SPIRV", 3);
	zd_config.has_fp16 = fake_knob("HG_FAKE_ZE_FP16", 1);
	zd_config.has_int64_atomics = fake_knob("HG_FAKE_ZE_INT64_ATOMICS", 1);
	zd_config.validate = fake_knob("HG_FAKE_ZE_VALIDATE", 0);
	zd_config.builds = number("HG_FAKE_ZE_BUILDS", 32, 32);
	zd_config.seed = fake_knob("HG_FAKE_ZE_SEED", 1);
	zd_config.delay_us = number("HG_FAKE_ZE_DELAY_US", 100, 1000000);
	zd_config.kernel_us = number("HG_FAKE_ZE_KERNEL_US", 0, 60000000);
	fake_wrong_init(&zd_config.wrong, "HG_FAKE_ZE_WRONG", getenv("HG_FAKE_ZE_WRONG"));
	fake_spans_set_up(zd_config.memory, zd_config.protect);
	if (path && *path)
		zd_control = fake_control_open(path, zd_call_name, ZD_CALL_COUNT, own_control);
	pthread_atfork(NULL, NULL, in_child);
	owner = getpid();
	on_exit(at_exit, NULL);
}

/* ---- leaks ---- */

static void tell(struct fake_obj *obj)
{
	/* those are nobody's to end */
	if (obj->kind != ZD_DRIVER && obj->kind != ZD_DEVICE)
		fprintf(stderr, "level-zero test driver: leak: %s %p\n", zd_kind_name[obj->kind], (void *)obj);
}

void zd_at_exit(void)
{
	static const char *const what[] = { "device memory", "mapping", "host memory", "shared memory", "imported memory" };

	if (!zd_config.leaks)
		return;
	fake_handles_of(NULL, tell);
	fake_spans_leaks("level-zero test driver", what);
}
