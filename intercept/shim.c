/* shim.c - the state of hgshim in a process: when it starts, what a fork and an exit do to it. */
#define _GNU_SOURCE
#include "intercept/shim.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/msg.h"
#include "intercept/config.h"
#include "intercept/driver_open.h"
#include "intercept/elsewhere.h"
#include "intercept/gate.h"
#include "intercept/record.h"
#include "intercept/snapshot.h"

struct hg_recorder *hg_shim_recorder;
unsigned char hg_shim_seen[HG_SYM_COUNT];

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static const struct hg_executor *executor;
static const char *target;
static _Atomic CUresult load_result = CUDA_ERROR_NOT_INITIALIZED;
/* In the driver's own cuInit: what that loads (a profiler's library) calls back. */
static __thread bool in_init __attribute__((tls_model("initial-exec")));
/* The process that called cuInit; another one with this set is its forked child. */
static _Atomic pid_t owner;
static bool is_open;

static bool is_forked_child(void)
{
	pid_t pid = atomic_load(&owner);

	return pid && pid != getpid();
}

const struct hg_executor *hg_shim_executor(void)
{
	return executor;
}

const char *hg_shim_target(void)
{
	return target;
}

void hg_shim_use(const struct hg_executor *e, const char *target_name)
{
	hg_real_fill(e->proc);
	executor = e;
	target = target_name;
}

/*
 * A status of hgshim itself seen by the application: only where there is no driver to answer it.
 * CUDA_ERROR_NOT_SUPPORTED, and not NO_DEVICE: programs would quietly go on without a GPU.
 */
static CUresult load_locked(void)
{
	const struct hg_executor *e;
	const char *name;

	if (load_result != CUDA_ERROR_NOT_INITIALIZED)
		return load_result;
	hg_msg_prefix("hgshim");
	if (hg_executor_choose(&e, &name) != HG_OK || e->load(name) != HG_OK) {
		load_result = CUDA_ERROR_NOT_SUPPORTED;
		return load_result;
	}
	hg_shim_use(e, name);
	load_result = CUDA_SUCCESS;
	return load_result;
}

CUresult hg_shim_load(void)
{
	CUresult r;

	/* the lock may have been held by another thread of the parent when it forked */
	if (is_forked_child())
		return executor ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
	r = load_result;
	if (r != CUDA_ERROR_NOT_INITIALIZED)
		return r;
	pthread_mutex_lock(&start_lock);
	r = load_locked();
	pthread_mutex_unlock(&start_lock);
	return r;
}

static void forked_child(void)
{
	if (atomic_load(&owner)) {
		hg_gate_forked();
		hg_shim_recorder = NULL;
	}
}

/* A recording that cannot start costs a message and the checkpoints, never the program. */
static void start_recording(void)
{
	struct hg_recorder_config cfg;
	char dir[PATH_MAX];

	hg_config_read(&cfg);
	if (!hg_config_log_dir(dir, sizeof(dir)))
		goto off;
	cfg.dir = dir;
	cfg.executor = target;
	cfg.driver = hg_native_driver_path();
	cfg.checkpoint = hg_checkpoint;
	hg_record_init(&cfg);
	if (hg_recorder_start(&cfg, &hg_shim_recorder) == HG_OK)
		return;
	hg_shim_recorder = NULL;
off:
	pr_warn("this process is not recorded: it runs on, and cannot be checkpointed");
}

static CUresult init_locked(unsigned int flags)
{
	CUresult r = load_locked();

	if (r != CUDA_SUCCESS)
		return r;
	if (is_open)
		return hg_real[0].cuInit(flags);
	if (!hg_real[0].cuInit || executor->open() != HG_OK)
		return CUDA_ERROR_NOT_SUPPORTED;
	in_init = true;
	r = hg_real[0].cuInit(flags);
	in_init = false;
	if (r != CUDA_SUCCESS)
		return r;
	hg_gate_init();
	pthread_atfork(NULL, NULL, forked_child);
	hg_stay_loaded();
	hg_elsewhere_start();
	start_recording();
	is_open = true;
	hg_gate_open();
	return CUDA_SUCCESS;
}

CUresult hg_shim_init(unsigned int flags)
{
	pid_t nobody = 0;
	CUresult r;

	hg_tls_per_thread = false;
	if (atomic_load(&hg_gate.word) == HG_GATE_ENDED)
		return CUDA_ERROR_DEINITIALIZED;
	if (is_forked_child())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (in_init)
		return hg_real[0].cuInit(flags);
	/* before the lock: a child forked while another thread holds it must not wait for it */
	atomic_compare_exchange_strong(&owner, &nobody, getpid());
	pthread_mutex_lock(&start_lock);
	r = init_locked(flags);
	if (!is_open)
		atomic_store(&owner, 0);
	pthread_mutex_unlock(&start_lock);
	return r;
}

CUresult hg_shim_not_ready(void)
{
	hg_tls_per_thread = false;
	return atomic_load(&hg_gate.word) == HG_GATE_ENDED ? CUDA_ERROR_DEINITIALIZED : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult hg_shim_missing(enum hg_sym sym)
{
	static atomic_bool said[HG_SYM_COUNT];

	if (!atomic_exchange_explicit(&said[sym], true, memory_order_relaxed))
		pr_warn("'%s' is not supported by target '%s': the program gets CUDA_ERROR_NOT_SUPPORTED",
			hg_symbols[sym].name, target);
	hg_shim_seen[sym] |= HG_SEEN_MISSING;
	if (hg_shim_recorder)
		hg_recorder_unsupported(hg_shim_recorder, hg_symbols[sym].name);
	return CUDA_ERROR_NOT_SUPPORTED;
}

/*
 * After the program's own handlers of atexit and the destructors of the executable, which may still call CUDA.
 * Threads may be inside a call, perhaps for long; they keep the recorder they use, and the ring
 * keeps what they write.
 */
__attribute__((destructor)) static void shim_exit(void)
{
	struct hg_recorder *r = hg_shim_recorder;

	if (!is_open || is_forked_child())
		return;
	hg_gate_end();
	if (!r)
		return;
	if (hg_gate_is_idle(100)) {
		hg_shim_recorder = NULL;
		hg_recorder_stop(r);
	} else if (hg_recorder_drain(r, 1000) != HG_OK) {
		pr_debug("the log's last records stay in its ring");
	}
}
