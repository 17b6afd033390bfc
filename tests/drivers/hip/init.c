/* init.c - the knobs, the start and the end of the HIP double. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/hip/hip.h"

struct hd_config hd_config;
_Atomic(hipError_t) hd_state = hipSuccess;

const char *const hd_call_name[HD_CALL_COUNT] = {
#define HIP_CALL(name, params, args) #name,
#include "tests/drivers/hip/calls.def"
};
/* Without HG_FAKE_HIP_CONTROL nobody else sees these. */
static struct fake_counter own_control[HD_CALL_COUNT];
struct fake_counter *hd_control = own_control;

static const struct hd_chip *find_chip(const char *name)
{
	for (const struct hd_chip *c = hd_chips; c->arch; c++)
		if (!strcmp(c->arch, name) || !strcmp(c->arch_name, name))
			return c;
	pr_err("unknown chip '%s': there is no device", name);
	return NULL;
}

static void in_child(void)
{
	atomic_store(&hd_state, hipErrorNotInitialized);
}

static pid_t owner;

static void at_exit(int status, void *arg)
{
	hipError_t ready = hipSuccess;

	(void)status;
	(void)arg;
	if (getpid() != owner || !atomic_compare_exchange_strong(&hd_state, &ready, hipErrorDeinitialized))
		return;
	hd_streams_shutdown();
	hd_at_exit();
}

__attribute__((constructor)) static void load(void)
{
	const char *path = getenv("HG_FAKE_HIP_CONTROL");
	const char *chip = getenv("HG_FAKE_HIP_CHIP");

	hg_msg_prefix("hip double");
	fake_control_name(own_control, hd_call_name, HD_CALL_COUNT);
	hd_config.chip = find_chip(chip && *chip ? chip : "gfx1100");
	hd_config.nr_devices = hd_config.chip ? (int)fake_knob("HG_FAKE_HIP_DEVICES", 1) : 0;
	if (hd_config.nr_devices < 0 || hd_config.nr_devices > HD_MAX_DEVICES)
		hd_config.nr_devices = HD_MAX_DEVICES;
	hd_config.nr_cus = (int)fake_knob("HG_FAKE_HIP_CUS", hd_config.chip ? (uint64_t)hd_config.chip->nr_cus : 1);
	hd_config.granule = fake_knob("HG_FAKE_HIP_GRANULE", HD_PAGE);
	if (hd_config.granule < HD_PAGE || hd_config.granule & (hd_config.granule - 1))
		hd_config.granule = HD_PAGE;
	hd_config.memory = fake_knob("HG_FAKE_HIP_MEMORY", (uint64_t)16 << 30) & -hd_config.granule;
	hd_config.pattern = fake_knob_pattern("HG_FAKE_HIP_PATTERN");
	hd_config.strict = fake_knob("HG_FAKE_HIP_STRICT", 0);
	hd_config.leaks = fake_knob("HG_FAKE_HIP_LEAKS", 0);
	hd_config.protect = fake_knob("HG_FAKE_HIP_PROTECT", 1);
	fake_spans_set_up(hd_config.memory, hd_config.protect);
	hd_config.has_vmm = fake_knob("HG_FAKE_HIP_VMM", 1);
	hd_config.takes_hint = fake_knob("HG_FAKE_HIP_HINT", 1);
	hd_config.host_pointer = fake_knob("HG_FAKE_HIP_HOST_POINTER", 1);
	hd_config.seed = fake_knob("HG_FAKE_HIP_SEED", 1);
	hd_config.delay_us = (unsigned int)fake_knob("HG_FAKE_HIP_DELAY_US", 100);
	hd_config.kernel_us = (unsigned int)fake_knob("HG_FAKE_HIP_KERNEL_US", 0);
	hd_config.queue_depth = (unsigned int)fake_knob("HG_FAKE_HIP_QUEUE_DEPTH", 1024);
	if (!hd_config.queue_depth)
		hd_config.queue_depth = 1;
	fake_wrong_init(&hd_config.wrong, "HG_FAKE_HIP_WRONG", getenv("HG_FAKE_HIP_WRONG"));
	if (path && *path)
		hd_control = fake_control_open(path, hd_call_name, HD_CALL_COUNT, own_control);
	pthread_atfork(NULL, NULL, in_child);
	owner = getpid();
	on_exit(at_exit, NULL);
}

/* ---- leaks ---- */

static void tell(struct fake_obj *obj)
{
	static const char *const what[] = { "", "stream", "event", "module", "function", "physical memory" };

	/* functions go with their module */
	if (obj->kind != HD_FUNCTION)
		fprintf(stderr, "hip double: leak: %s %p\n", what[obj->kind], (void *)obj);
}

void hd_at_exit(void)
{
	static const char *const what[] = { "device memory", "mapping", "host memory", "registered memory" };

	if (!hd_config.leaks)
		return;
	fake_handles_of(NULL, tell);
	fake_spans_leaks("hip double", what);
}
