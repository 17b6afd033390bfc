/* amd_comgr.c - comgr, opened by name: for chips that are newer than the LLVM in here, and where lld cannot go on. */
#define _GNU_SOURCE
#include "translate/amd_comgr.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/amd_compile.h"

/* What of its interface is used, as amd_comgr.h of both major versions has it. Handles are structures of one number. */
struct handle { uint64_t n; };
enum { KIND_LOG = 5, KIND_BITCODE = 6, KIND_RELOCATABLE = 7, KIND_EXECUTABLE = 8 };

#define COMGR_CALLS(X)									\
	X(get_version, void, (size_t *major, size_t *minor))				\
	X(get_isa_count, int, (size_t *count))						\
	X(get_isa_name, int, (size_t i, const char **name))				\
	X(create_data, int, (int kind, struct handle *data))				\
	X(release_data, int, (struct handle data))					\
	X(set_data, int, (struct handle data, size_t size, const char *bytes))		\
	X(set_data_name, int, (struct handle data, const char *name))			\
	X(get_data, int, (struct handle data, size_t *size, char *bytes))		\
	X(create_data_set, int, (struct handle *set))					\
	X(destroy_data_set, int, (struct handle set))					\
	X(data_set_add, int, (struct handle set, struct handle data))			\
	X(action_data_count, int, (struct handle set, int kind, size_t *count))		\
	X(action_data_get_data, int, (struct handle set, int kind, size_t i, struct handle *data)) \
	X(create_action_info, int, (struct handle *info))				\
	X(destroy_action_info, int, (struct handle info))				\
	X(action_info_set_isa_name, int, (struct handle info, const char *name))	\
	X(action_info_set_logging, int, (struct handle info, bool on))			\
	X(do_action, int, (int action, struct handle info, struct handle in, struct handle out))

static struct {
	pthread_once_t once;
	pthread_mutex_t lock;
	bool usable;
	size_t major;
#define X(name, result, params) result (*name) params;
	COMGR_CALLS(X)
#undef X
} comgr = { .once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER };

static void open_comgr(void)
{
	static const char *const names[] = { "libamd_comgr.so.3", "libamd_comgr.so.2" };
	void *lib = NULL;
	size_t minor;
	bool all = true;

	/* the one that HIP has, before another */
	for (size_t i = 0; i < 4 && !lib; i++)
		lib = dlopen(names[i % 2], RTLD_NOW | RTLD_LOCAL | (i < 2 ? RTLD_NOLOAD : 0));
	if (!lib) {
		pr_debug("no comgr: %s", dlerror());
		return;
	}
#define X(name, result, params)						\
	comgr.name = (__typeof__(comgr.name))dlsym(lib, "amd_comgr_" #name);	\
	all &= comgr.name != NULL;
	COMGR_CALLS(X)
#undef X
	if (!all) {
		pr_debug("comgr lacks calls that are wanted");
		return;
	}
	comgr.get_version(&comgr.major, &minor);
	if (comgr.major < 2 || comgr.major > 3) {
		pr_debug("comgr %zu.%zu: versions 2 and 3 are known", comgr.major, minor);
		return;
	}
	pr_debug("comgr %zu.%zu is here", comgr.major, minor);
	comgr.usable = true;
}

static bool have_comgr(void)
{
	pthread_once(&comgr.once, open_comgr);
	return comgr.usable;
}

bool amd_comgr_knows(const char *chip)
{
	char want[128];
	size_t nr = 0;

	if (!have_comgr() || comgr.get_isa_count(&nr))
		return false;
	snprintf(want, sizeof(want), AMD_TRIPLE "--%s", chip);
	for (size_t i = 0; i < nr; i++) {
		const char *name;

		if (!comgr.get_isa_name(i, &name) && !strcmp(name, want))
			return true;
	}
	return false;
}

/* The set's first object of that kind, with a NUL behind it; NULL: none. */
static char *first_of(struct handle set, int kind, size_t *size)
{
	struct handle data;
	size_t nr = 0;
	char *bytes = NULL;

	if (comgr.action_data_count(set, kind, &nr) || !nr || comgr.action_data_get_data(set, kind, 0, &data))
		return NULL;
	if (!comgr.get_data(data, size, NULL))
		bytes = malloc(*size + 1);
	if (bytes && comgr.get_data(data, size, bytes)) {
		free(bytes);
		bytes = NULL;
	}
	if (bytes)
		bytes[*size] = 0;
	comgr.release_data(data);
	return bytes;
}

/* What it had to say: one line of it. */
static void take_log(struct handle set, char *why, size_t why_size)
{
	size_t size, n;
	char *log = first_of(set, KIND_LOG, &size), *line = log;

	snprintf(why, why_size, "comgr gives no reason");
	if (log && strstr(log, "error: "))
		line = strstr(log, "error: ") + strlen("error: ");
	n = line ? strcspn(line, "\n") : 0;
	if (n)
		snprintf(why, why_size, "comgr: %.*s", (int)n, line);
	free(log);
}

/* The action's number, which is another in each version. */
static int number_of(enum amd_comgr_action action)
{
	return action == AMD_COMGR_COMPILE ? (comgr.major == 2 ? 6 : 4) : comgr.major == 2 ? 9 : 7;
}

static enum hg_status run(enum amd_comgr_action action, const char *target, const void *in, size_t in_size, void **out, size_t *out_size,
			  char *why, size_t why_size)
{
	struct handle data, info, from, to;
	enum hg_status st = HG_ERR_UNSUPPORTED;
	char *bytes;

	snprintf(why, why_size, "comgr cannot be used");
	if (comgr.create_data(action == AMD_COMGR_COMPILE ? KIND_BITCODE : KIND_RELOCATABLE, &data))
		return st;
	if (comgr.create_data_set(&from))
		goto release;
	if (comgr.create_data_set(&to))
		goto destroy_from;
	if (comgr.create_action_info(&info))
		goto destroy_to;
	if (comgr.set_data(data, in_size, in) || comgr.set_data_name(data, action == AMD_COMGR_COMPILE ? "kernel.bc" : "kernel.o") ||
	    comgr.data_set_add(from, data) || comgr.action_info_set_logging(info, true))
		goto destroy_info;
	if (comgr.action_info_set_isa_name(info, target)) {
		snprintf(why, why_size, "comgr does not know '%s'", target);
		goto destroy_info;
	}
	if (comgr.do_action(number_of(action), info, from, to)) {
		take_log(to, why, why_size);
		goto destroy_info;
	}
	bytes = first_of(to, action == AMD_COMGR_COMPILE ? KIND_RELOCATABLE : KIND_EXECUTABLE, out_size);
	if (bytes) {
		*out = bytes;
		st = HG_OK;
	}
destroy_info:
	comgr.destroy_action_info(info);
destroy_to:
	comgr.destroy_data_set(to);
destroy_from:
	comgr.destroy_data_set(from);
release:
	comgr.release_data(data);
	return st;
}

enum hg_status amd_comgr_make(enum amd_comgr_action action, const char *target, const void *in, size_t in_size, void **out,
			      size_t *out_size, char *why, size_t why_size)
{
	enum hg_status st;

	if (!have_comgr()) {
		snprintf(why, why_size, "there is no comgr (libamd_comgr.so.3, libamd_comgr.so.2)");
		return HG_ERR_UNAVAILABLE;
	}
	pthread_mutex_lock(&comgr.lock);
	st = run(action, target, in, in_size, out, out_size, why, why_size);
	pthread_mutex_unlock(&comgr.lock);
	return st;
}
