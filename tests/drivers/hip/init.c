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

static uint64_t knob(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	uint64_t v;

	if (!text || !*text)
		return otherwise;
	v = strtoull(text, &end, 0);
	if (*end) {
		pr_err("'%s=%s' is not a number: taken as %llu", name, text, (unsigned long long)otherwise);
		return otherwise;
	}
	return v;
}

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
	const char *path = getenv("HG_FAKE_HIP_CONTROL"), *pattern = getenv("HG_FAKE_HIP_PATTERN");
	const char *chip = getenv("HG_FAKE_HIP_CHIP");

	hg_msg_prefix("hip double");
	fake_control_name(own_control, hd_call_name, HD_CALL_COUNT);
	hd_config.chip = find_chip(chip && *chip ? chip : "gfx1100");
	hd_config.nr_devices = hd_config.chip ? (int)knob("HG_FAKE_HIP_DEVICES", 1) : 0;
	if (hd_config.nr_devices < 0 || hd_config.nr_devices > HD_MAX_DEVICES)
		hd_config.nr_devices = HD_MAX_DEVICES;
	hd_config.nr_cus = (int)knob("HG_FAKE_HIP_CUS", hd_config.chip ? (uint64_t)hd_config.chip->nr_cus : 1);
	hd_config.granule = knob("HG_FAKE_HIP_GRANULE", HD_PAGE);
	if (hd_config.granule < HD_PAGE || hd_config.granule & (hd_config.granule - 1))
		hd_config.granule = HD_PAGE;
	hd_config.memory = knob("HG_FAKE_HIP_MEMORY", (uint64_t)16 << 30) & -hd_config.granule;
	hd_config.pattern = pattern && !strcmp(pattern, "off") ? -1 : (int)knob("HG_FAKE_HIP_PATTERN", 0xcd) & 0xff;
	hd_config.strict = knob("HG_FAKE_HIP_STRICT", 0);
	hd_config.leaks = knob("HG_FAKE_HIP_LEAKS", 0);
	hd_config.protect = knob("HG_FAKE_HIP_PROTECT", 1);
	hd_config.has_vmm = knob("HG_FAKE_HIP_VMM", 1);
	hd_config.takes_hint = knob("HG_FAKE_HIP_HINT", 1);
	hd_config.host_pointer = knob("HG_FAKE_HIP_HOST_POINTER", 1);
	hd_config.seed = knob("HG_FAKE_HIP_SEED", 1);
	hd_config.delay_us = (unsigned int)knob("HG_FAKE_HIP_DELAY_US", 100);
	hd_config.kernel_us = (unsigned int)knob("HG_FAKE_HIP_KERNEL_US", 0);
	hd_config.queue_depth = (unsigned int)knob("HG_FAKE_HIP_QUEUE_DEPTH", 1024);
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

static void tell_range(const struct hd_range *r, void *arg)
{
	static const char *const what[] = { "device memory", "mapping", "host memory", "registered memory" };

	(void)arg;
	fprintf(stderr, "hip double: leak: %s 0x%llx, %llu bytes\n", what[r->mem], (unsigned long long)r->start,
		(unsigned long long)r->size);
}

void hd_at_exit(void)
{
	if (!hd_config.leaks)
		return;
	fake_handles_of(NULL, tell);
	pthread_mutex_lock(&hd_mem_lock);
	hd_ranges_each(tell_range, NULL);
	pthread_mutex_unlock(&hd_mem_lock);
	hd_reservations_tell();
}
