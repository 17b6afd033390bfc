/* jit.c - kernels as machine code of this CPU, compiled lazily, in two tiers. */
#define _GNU_SOURCE
#include "translate/jit.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/env.h"
#include "common/msg.h"
#include "translate/cache.h"
#include "translate/code_lane.h"
#include "translate/code_lines.h"
#include "translate/code_load.h"
#include "translate/emit.h"
#include "translate/llvm_start.h"

#if LLVM_VERSION_MAJOR < 19
#error "LLVM 19 or newer is needed"
#endif

/* The two variants of cpu_abi.h. */
enum { ORDERED, FREE_ORDER, NR_VARIANTS };

struct hg_cpu_kernel {
	struct hg_cpu_module *module;
	const struct ir_func *fn;
	size_t index;
	struct hg_cpu_kernel_info info;
	pthread_mutex_t lock;		/* one compilation of the fast tier at a time */
	_Atomic(hg_cpu_entry) entry[NR_VARIANTS];
	_Atomic int tier[NR_VARIANTS];	/* 0: not compiled */
	_Atomic bool failed[NR_VARIANTS];
	bool was_cached;
	bool ready;			/* info is filled in */
	uint32_t queued;		/* under queue.lock: background compilations not done yet */
};

struct code {
	struct code_image image;
	struct code_lines lines;
	struct code *next;
};

struct hg_cpu_module {
	const struct ir_module *ir;
	bool has_key;
	unsigned char key[16];
	pthread_mutex_t lock;		/* code */
	struct code *code;
	_Atomic bool closing;
	bool fast_only;
	size_t nr_kernels;
	struct hg_cpu_kernel kernel[];
};

/* The process's compiler: made at first use, never taken down. */
static struct {
	pthread_once_t once;
	bool usable;
	char *triple, *cpu, *features;
	struct emit_options opt;
	LLVMTargetRef target;
} host = { .once = PTHREAD_ONCE_INIT };

/* ---- the host ---- */

static bool said(LLVMErrorRef err, const char *doing)
{
	char *text;

	if (!err)
		return false;
	text = LLVMGetErrorMessage(err);
	pr_err("cannot %s: %s", doing, text);
	LLVMDisposeErrorMessage(text);
	return true;
}

static bool has_feature(const char *name)
{
	size_t n = strlen(name);

	for (const char *p = host.features; p; p = strchr(p, ',')) {
		if (*p == ',')
			p++;
		if (*p == '+' && !strncmp(p + 1, name, n) && (p[1 + n] == ',' || !p[1 + n]))
			return true;
	}
	return false;
}

/* HGSHIM_ISA: a narrower instruction set than the machine's, to compare results. */
static bool choose_isa(void)
{
	const char *isa = getenv("HGSHIM_ISA");
	char *text;

	if (!isa || !*isa || !strcmp(isa, "native")) {
		text = LLVMGetHostCPUName();
		host.cpu = strdup(text);
		LLVMDisposeMessage(text);
		text = LLVMGetHostCPUFeatures();
		host.features = strdup(text);
		LLVMDisposeMessage(text);
	} else if (!strcmp(isa, "avx2")) {
		host.cpu = strdup("x86-64-v3");
		host.features = strdup("+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt");
	} else if (!strcmp(isa, "sse")) {
		host.cpu = strdup("x86-64");
		host.features = strdup("");
	} else {
		pr_err("HGSHIM_ISA='%s' is none of native, avx2, sse", isa);
		return false;
	}
	return host.cpu && host.features;
}

/* HGSHIM_CHECK: what kernels are watched for. */
static bool checks_memory(void)
{
	const char *text = getenv("HGSHIM_CHECK");

	if (!text || !*text || !strcmp(text, "0"))
		return false;
	if (!strcmp(text, "memory"))
		return true;
	pr_warn("HGSHIM_CHECK='%s' is not 'memory'", text);
	return false;
}

static void host_init(void)
{
	char *error = NULL;

	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86Target();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86AsmPrinter();
	LLVMInitializeX86Disassembler();
	llvm_start();
	host.triple = LLVMGetDefaultTargetTriple();
	if (!choose_isa())
		return;
	if (LLVMGetTargetFromTriple(host.triple, &host.target, &error)) {
		pr_err("cannot compile for '%s': %s", host.triple, error);
		LLVMDisposeMessage(error);
		return;
	}
	host.opt = (struct emit_options){
		.masked_wide = has_feature("avx2"),
		.masked_narrow = has_feature("avx512bw"),
		.mask_registers = has_feature("avx512bw"),
		.gathers = has_feature("avx512f"),
		.check = checks_memory(),
	};
	host.usable = true;
}

static enum hg_status need_host(void)
{
	pthread_once(&host.once, host_init);
	return host.usable ? HG_OK : HG_ERR_UNAVAILABLE;
}

/*
 * A target machine knows the processor in LLVM's terms, which takes longer to make out than a small kernel to compile. Each
 * is used by one compilation at a time and kept for the next.
 */
#define MAX_IDLE 8
static struct {
	pthread_mutex_t lock;
	LLVMTargetMachineRef idle[2][MAX_IDLE];		/* by tier - 1 */
	unsigned int nr[2];
} machines = { .lock = PTHREAD_MUTEX_INITIALIZER };

static LLVMTargetMachineRef machine_get(int tier)
{
	LLVMTargetMachineRef tm = NULL;

	pthread_mutex_lock(&machines.lock);
	if (machines.nr[tier - 1])
		tm = machines.idle[tier - 1][--machines.nr[tier - 1]];
	pthread_mutex_unlock(&machines.lock);
	return tm ? tm : LLVMCreateTargetMachine(host.target, host.triple, host.cpu, host.features,
						 tier == 1 ? LLVMCodeGenLevelNone : LLVMCodeGenLevelDefault, LLVMRelocPIC,
						 LLVMCodeModelSmall);
}

static void machine_put(LLVMTargetMachineRef tm, int tier)
{
	pthread_mutex_lock(&machines.lock);
	if (machines.nr[tier - 1] < MAX_IDLE) {
		machines.idle[tier - 1][machines.nr[tier - 1]++] = tm;
		tm = NULL;
	}
	pthread_mutex_unlock(&machines.lock);
	if (tm)
		LLVMDisposeTargetMachine(tm);
}

/* ---- compiling ---- */

/*
 * What of LLVM's -O2 makes kernels faster: there is one function, nothing to inline, nothing left to vectorise, and unrolling
 * a loop of whole warps only costs. The rest of -O2 would take a quarter of the time to compile.
 */
#define PASSES "function(sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,loop-mssa(loop-rotate,licm)," \
	"loop(indvars),gvn,dse,simplifycfg)"

#define DEFAULT_STACK (UINT64_C(64) << 20)
#define LEAST_STACK (UINT64_C(1) << 20)
/* Of a thread's stack, what the grid's runner and the helpers have. */
#define OTHERS_STACK (UINT64_C(256) << 10)

size_t hg_cpu_stack_bytes(void)
{
	static _Atomic uint64_t known;
	uint64_t n = atomic_load(&known);

	if (!n) {
		n = hg_env_size("HGSHIM_STACK", DEFAULT_STACK);
		if (n < LEAST_STACK)
			n = LEAST_STACK;
		n = (n + 0xffff) & ~UINT64_C(0xffff);
		atomic_store(&known, n);
	}
	return n;
}

/* What LLVM says while it compiles one kernel. */
struct diagnosis {
	const char *kernel;
	bool failed, too_deep;
};

static void on_diagnosis(LLVMDiagnosticInfoRef info, void *arg)
{
	struct diagnosis *d = arg;
	LLVMDiagnosticSeverity severity = LLVMGetDiagInfoSeverity(info);
	char *text;

	if (severity != LLVMDSError && severity != LLVMDSWarning)
		return;
	text = LLVMGetDiagInfoDescription(info);
	if (severity == LLVMDSError) {
		pr_err("cannot compile kernel '%s': %s", d->kernel, text);
		d->failed = true;
	} else if (strstr(text, "stack frame size")) {	/* the attribute warn-stack-size */
		d->too_deep = true;
	} else {
		pr_debug("kernel '%s': %s", d->kernel, text);
	}
	LLVMDisposeMessage(text);
}

/* Has the compiler say when the function's frame is larger than a thread's stack allows. */
static void watch_frame(LLVMContextRef c, LLVMModuleRef m)
{
	static const char name[] = "warn-stack-size";
	char most[24];
	int n = snprintf(most, sizeof(most), "%zu", hg_cpu_stack_bytes() - OTHERS_STACK);

	LLVMAddAttributeAtIndex(LLVMGetNamedFunction(m, "kernel"), (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
				LLVMCreateStringAttribute(c, name, sizeof(name) - 1, most, (unsigned int)n));
}

/* A kernel as an optimised LLVM module. All results are the caller's. */
static enum hg_status build(const struct ir_func *fn, int variant, int tier, LLVMContextRef *context,
			    LLVMModuleRef *module, LLVMTargetMachineRef *tm)
{
	struct emit_options opt = host.opt;
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext(fn->name, c);
	LLVMPassBuilderOptionsRef passes;
	LLVMTargetDataRef layout;
	LLVMErrorRef err;
	char *text = NULL;
	enum hg_status st;

	opt.free_order = variant == FREE_ORDER;
	opt.brief = tier == 1;
	*tm = machine_get(tier);
	layout = LLVMCreateTargetDataLayout(*tm);
	LLVMSetModuleDataLayout(m, layout);
	LLVMDisposeTargetData(layout);
	LLVMSetTarget(m, host.triple);
	st = emit_llvm(fn, &opt, c, m, "kernel");
	if (st)
		goto err;
	watch_frame(c, m);
	if (LLVMVerifyModule(m, LLVMReturnStatusAction, &text)) {
		pr_err("kernel '%s': the compiler made invalid code: %.200s", fn->name, text);
		LLVMDisposeMessage(text);
		st = HG_ERR_UNSUPPORTED;
		goto err;
	}
	LLVMDisposeMessage(text);
	*context = c;
	*module = m;
	/* The first tier's code would not become smaller by what a pass takes. */
	if (tier == 1)
		return HG_OK;
	passes = LLVMCreatePassBuilderOptions();
	err = LLVMRunPasses(m, PASSES, *tm, passes);
	LLVMDisposePassBuilderOptions(passes);
	if (said(err, "optimise a kernel")) {
		st = HG_ERR_UNSUPPORTED;
		goto err;
	}
	emit_sink(LLVMGetNamedFunction(m, "kernel"));
	return HG_OK;

err:
	machine_put(*tm, tier);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	return st;
}

/* To an object file or assembly in memory. */
static enum hg_status compile(const struct ir_func *fn, int variant, int tier, LLVMCodeGenFileType type,
			      LLVMMemoryBufferRef *out)
{
	struct diagnosis d = { .kernel = fn->name };
	LLVMTargetMachineRef tm;
	LLVMContextRef c;
	LLVMModuleRef m;
	char *text = NULL;
	enum hg_status st = build(fn, variant, tier, &c, &m, &tm);

	if (st)
		return st;
	LLVMContextSetDiagnosticHandler(c, on_diagnosis, &d);
	if (LLVMTargetMachineEmitToMemoryBuffer(tm, m, type, &text, out)) {
		pr_err("cannot compile kernel '%s': %s", fn->name, text);
		LLVMDisposeMessage(text);
		st = HG_ERR_UNSUPPORTED;
	} else if (d.failed || d.too_deep) {
		if (d.too_deep)
			pr_err("kernel '%s': its code needs a larger stack than the %zu bytes of HGSHIM_STACK", fn->name,
			       hg_cpu_stack_bytes());
		LLVMDisposeMemoryBuffer(*out);
		st = HG_ERR_UNSUPPORTED;
	}
	machine_put(tm, tier);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	return st;
}

/* Loads an object; the code lives as long as the module. */
static enum hg_status load(struct hg_cpu_module *m, const void *object, size_t size, hg_cpu_entry *entry)
{
	struct code *code = malloc(sizeof(*code));
	enum hg_status st;

	if (!code)
		return HG_ERR_NOMEM;
	st = code_load(object, size, "kernel", &code->image);
	if (st) {
		free(code);
		return st;
	}
	code_lines_take(&code->lines, object, size);
	*entry = (hg_cpu_entry)(uintptr_t)code->image.entry;
	pthread_mutex_lock(&m->lock);
	code->next = m->code;
	m->code = code;
	pthread_mutex_unlock(&m->lock);
	return HG_OK;
}

/* Everything that the code depends on. */
static void cache_key(const struct hg_cpu_kernel *k, int variant, int tier, unsigned char key[16])
{
	const uint32_t version[] = { HG_CPU_ABI, LLVM_VERSION_MAJOR, LLVM_VERSION_MINOR, LLVM_VERSION_PATCH,
				     (uint32_t)variant, (uint32_t)tier, host.opt.check, (uint32_t)(hg_cpu_stack_bytes() >> 16) };
	XXH3_state_t *s = XXH3_createState();
	XXH128_canonical_t c;

	XXH3_128bits_reset(s);
	XXH3_128bits_update(s, k->module->key, 16);
	XXH3_128bits_update(s, k->fn->name, strlen(k->fn->name) + 1);
	XXH3_128bits_update(s, version, sizeof(version));
	XXH3_128bits_update(s, host.cpu, strlen(host.cpu) + 1);
	XXH3_128bits_update(s, host.features, strlen(host.features) + 1);
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(s));
	memcpy(key, c.digest, 16);
	XXH3_freeState(s);
}

static void install(struct hg_cpu_kernel *k, int variant, int tier, hg_cpu_entry entry)
{
	atomic_store_explicit(&k->entry[variant], entry, memory_order_release);
	atomic_store(&k->tier[variant], tier);
}

static void set_info(struct hg_cpu_kernel *k, uint32_t spill_bytes)
{
	const struct ir_func *fn = k->fn;

	k->info = (struct hg_cpu_kernel_info){
		.name = fn->name,
		.nr_blocks = fn->nr_blocks,
		.param_bytes = fn->param_bytes,
		.shared_bytes = fn->shared_bytes,
		.local_bytes = fn->local_bytes,
		.uses_stack = fn->uses_stack,
		.spill_bytes = spill_bytes,
	};
	k->ready = true;
}

/* What the cache keeps: this, which only an analysis of the kernel would tell, and the object file. */
struct cached {
	uint32_t spill_bytes, reserved;
	unsigned char object[];
};

static bool load_cached(struct hg_cpu_kernel *k, int variant, int tier)
{
	struct cached *data;
	unsigned char key[16];
	hg_cpu_entry entry;
	bool loaded;
	void *bytes;
	size_t size;

	if (!k->module->has_key)
		return false;
	cache_key(k, variant, tier, key);
	if (!hg_cache_get(key, &bytes, &size))
		return false;
	data = bytes;
	loaded = size > sizeof(*data) && !load(k->module, data->object, size - sizeof(*data), &entry);
	if (loaded && !k->ready)
		set_info(k, data->spill_bytes);
	free(data);
	if (!loaded)
		return false;
	install(k, variant, tier, entry);
	return true;
}

static void keep_cached(const struct hg_cpu_kernel *k, int variant, int tier, LLVMMemoryBufferRef object)
{
	size_t size = LLVMGetBufferSize(object);
	struct cached *data = malloc(sizeof(*data) + size);
	unsigned char key[16];

	if (!data)
		return;
	*data = (struct cached){ .spill_bytes = k->info.spill_bytes };
	memcpy(data->object, LLVMGetBufferStart(object), size);
	cache_key(k, variant, tier, key);
	hg_cache_put(key, data, sizeof(*data) + size);
	free(data);
}

static enum hg_status compile_tier(struct hg_cpu_kernel *k, int variant, int tier)
{
	LLVMMemoryBufferRef object;
	hg_cpu_entry entry;
	enum hg_status st = compile(k->fn, variant, tier, LLVMObjectFile, &object);

	if (st)
		return st;
	if (k->module->has_key && !k->module->fast_only)
		keep_cached(k, variant, tier, object);
	st = load(k->module, LLVMGetBufferStart(object), LLVMGetBufferSize(object), &entry);
	LLVMDisposeMemoryBuffer(object);
	if (st)
		return st;
	install(k, variant, tier, entry);
	return HG_OK;
}

/*
 * The optimised code. Another thread or process may be compiling the same just now: it is waited for, within reason, and
 * its result taken from the cache.
 */
static enum hg_status optimise(struct hg_cpu_kernel *k, int variant)
{
	enum { STEP_MS = 10, MOST_MS = 20000 };
	int lock = HG_CACHE_UNLOCKED;
	unsigned char key[16];
	enum hg_status st = HG_OK;

	if (k->module->has_key) {
		cache_key(k, variant, 2, key);
		lock = hg_cache_lock(key);
		for (int ms = 0; lock == HG_CACHE_BUSY && ms < MOST_MS && !atomic_load(&k->module->closing); ms += STEP_MS) {
			nanosleep(&(struct timespec){ .tv_nsec = STEP_MS * 1000000L }, NULL);
			lock = hg_cache_lock(key);
		}
		/* whoever had the lock, or somebody before this process asked */
		if (lock != HG_CACHE_UNLOCKED && load_cached(k, variant, 2)) {
			hg_cache_unlock(lock);
			return HG_OK;
		}
	}
	pr_debug("optimising kernel '%s'", k->fn->name);
	st = compile_tier(k, variant, 2);
	hg_cache_unlock(lock);
	return st;
}

/* ---- in the background ---- */

#define MAX_THREADS 4
#define NICENESS 5		/* behind the program, but not so far that its own threads keep faster code from it */

struct task {
	struct hg_cpu_kernel *kernel;
	int variant;
	struct task *next;
};

/* Tasks are done in the order in which their kernels were first wanted. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct task *first, **end;
	unsigned int nr_tasks;			/* of the list */
	unsigned int nr_threads, nr_idle;	/* never fewer than they were */
	_Atomic pid_t pid;			/* of the process whose threads run; 0: none yet */
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .end = &queue.first };

static void *background(void *unused)
{
	(void)unused;
	/* of this thread alone, on Linux; without it, it is as before */
	if (setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + NICENESS))
		pr_debug("the compiler's threads have the priority of the program");
	pthread_mutex_lock(&queue.lock);
	for (;;) {
		struct task *t = queue.first;

		if (!t) {
			queue.nr_idle++;
			pthread_cond_wait(&queue.work, &queue.lock);
			queue.nr_idle--;
			continue;
		}
		queue.first = t->next;
		if (!queue.first)
			queue.end = &queue.first;
		queue.nr_tasks--;
		pthread_mutex_unlock(&queue.lock);
		/* on failure, which was logged, the fast tier stays */
		if (optimise(t->kernel, t->variant))
			pr_debug("kernel '%s' stays in the fast tier", t->kernel->fn->name);
		pthread_mutex_lock(&queue.lock);
		t->kernel->queued--;
		pthread_cond_broadcast(&queue.done);
		free(t);
	}
	return NULL;
}

/* A forked child has no background threads, and whoever held the lock. */
static bool is_forked_child(void)
{
	pid_t pid = atomic_load(&queue.pid);

	return pid && pid != getpid();
}

static unsigned int most_threads(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (unsigned int)n;
}

/* One thread more, when those that wait are too few for the tasks; queue.lock is held. False: there is none at all. */
static bool need_thread(unsigned int nr_tasks)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int rc;

	if (queue.nr_threads && (nr_tasks <= queue.nr_idle || queue.nr_threads >= most_threads()))
		return true;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, HG_CPU_COMPILE_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, &attr, background, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc)
		return queue.nr_threads;
	pthread_setname_np(thread, "hgshim-jit");
	pthread_detach(thread);
	queue.nr_threads++;
	atomic_store(&queue.pid, getpid());
	return true;
}

static void optimise_later(struct hg_cpu_kernel *k, int variant)
{
	struct task *t = is_forked_child() || k->module->fast_only ? NULL : malloc(sizeof(*t));

	if (!t)
		return;
	*t = (struct task){ .kernel = k, .variant = variant };
	pthread_mutex_lock(&queue.lock);
	if (!need_thread(queue.nr_tasks + 1)) {
		pthread_mutex_unlock(&queue.lock);
		free(t);
		return;
	}
	k->queued++;
	queue.nr_tasks++;
	*queue.end = t;
	queue.end = &t->next;
	pthread_cond_signal(&queue.work);
	pthread_mutex_unlock(&queue.lock);
}

static void wait_queued(struct hg_cpu_kernel *k)
{
	if (is_forked_child())
		return;
	pthread_mutex_lock(&queue.lock);
	while (k->queued)
		pthread_cond_wait(&queue.done, &queue.lock);
	pthread_mutex_unlock(&queue.lock);
}

/* ---- kernels ---- */

static enum hg_status fill_info(struct hg_cpu_kernel *k)
{
	struct emit_info in;
	enum hg_status st = emit_analyze(k->fn, false, &in);

	if (st)
		return st;
	set_info(k, in.spill_bytes);
	emit_info_release(&in);
	return HG_OK;
}

/* Some code of this variant, from the cache or by the fast tier. */
static enum hg_status need_variant(struct hg_cpu_kernel *k, int variant)
{
	enum hg_status st = HG_OK;

	if (atomic_load_explicit(&k->entry[variant], memory_order_acquire))
		return HG_OK;
	/* the compiler's locks may be held for ever there */
	if (is_forked_child()) {
		pr_err("cannot compile kernel '%s' in a forked child", k->fn->name);
		return HG_ERR_UNAVAILABLE;
	}
	pthread_mutex_lock(&k->lock);
	if (atomic_load(&k->failed[variant])) {
		st = HG_ERR_UNSUPPORTED;
	} else if (!atomic_load(&k->entry[variant])) {
		if (load_cached(k, variant, 2)) {
			k->was_cached |= variant == ORDERED;
		} else {
			if (!load_cached(k, variant, 1)) {
				st = k->ready ? HG_OK : fill_info(k);
				if (!st)
					st = compile_tier(k, variant, 1);
			}
			if (st)
				atomic_store(&k->failed[variant], true);
			else
				optimise_later(k, variant);
		}
	}
	pthread_mutex_unlock(&k->lock);
	return st;
}

enum hg_status hg_cpu_kernel_get(struct hg_cpu_module *m, size_t index, struct hg_cpu_kernel **out)
{
	struct hg_cpu_kernel *k;
	enum hg_status st = need_host();

	if (st)
		return st;
	if (index >= m->nr_kernels)
		return HG_ERR_NOTFOUND;
	k = &m->kernel[index];
	if (k->fn->refused) {
		pr_err("%s", k->fn->refused);
		return HG_ERR_UNSUPPORTED;
	}
	st = need_variant(k, ORDERED);
	if (!st)
		*out = k;
	return st;
}

const struct hg_cpu_kernel_info *hg_cpu_kernel_info(const struct hg_cpu_kernel *k)
{
	return &k->info;
}

hg_cpu_entry hg_cpu_kernel_entry(const struct hg_cpu_kernel *k)
{
	return atomic_load_explicit(&k->entry[ORDERED], memory_order_acquire);
}

hg_cpu_entry hg_cpu_kernel_free_entry(struct hg_cpu_kernel *k)
{
	if (need_variant(k, FREE_ORDER))
		return NULL;
	return atomic_load_explicit(&k->entry[FREE_ORDER], memory_order_acquire);
}

void hg_cpu_kernel_where(const struct hg_cpu_kernel *k, const struct hg_cpu_state *s, uint32_t *line, uint32_t *lanes)
{
	struct hg_cpu_module *m = k->module;

	*line = *lanes = 0;
	pthread_mutex_lock(&m->lock);
	for (const struct code *c = m->code; c; c = c->next) {
		struct code_row row;

		if (s->pc - c->image.text >= c->lines.text_size)
			continue;
		if (!code_lines_find(&c->lines, s->pc - c->image.text, &row))
			break;
		*line = row.line;
		if (row.column && EMIT_MARK_KIND(row.column) < EMIT_MARK_APART)
			*lanes = code_lane_find(&c->lines, c->image.text, &row, 1u << EMIT_MARK_KIND(row.column), s, host.triple, host.cpu,
						host.features);
		break;
	}
	pthread_mutex_unlock(&m->lock);
}

int hg_cpu_kernel_tier(const struct hg_cpu_kernel *k)
{
	return atomic_load(&k->tier[ORDERED]);
}

bool hg_cpu_kernel_was_cached(const struct hg_cpu_kernel *k)
{
	return k->was_cached;
}

void hg_cpu_kernel_wait(struct hg_cpu_kernel *k)
{
	wait_queued(k);
}

/* ---- modules ---- */

void hg_cpu_module_fast_only(struct hg_cpu_module *m)
{
	m->fast_only = true;
}

enum hg_status hg_cpu_module_create_ir(const struct ir_module *ir, const unsigned char *key, struct hg_cpu_module **out)
{
	struct hg_cpu_module *m = calloc(1, sizeof(*m) + ir->nr_funcs * sizeof(m->kernel[0]));

	if (!m)
		return HG_ERR_NOMEM;
	m->ir = ir;
	m->nr_kernels = ir->nr_funcs;
	if (key) {
		m->has_key = true;
		memcpy(m->key, key, sizeof(m->key));
	}
	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < m->nr_kernels; i++) {
		m->kernel[i].module = m;
		m->kernel[i].fn = &ir->func[i];
		m->kernel[i].index = i;
		pthread_mutex_init(&m->kernel[i].lock, NULL);
	}
	*out = m;
	return HG_OK;
}

enum hg_status hg_cpu_module_create(const struct hg_module *m, struct hg_cpu_module **out)
{
	unsigned char key[16];

	hg_module_hash(m, key);
	return hg_cpu_module_create_ir(hg_module_ir(m), key, out);
}

/* Compilations of the module that have not begun are dropped, those that have are waited for. */
static void drop_queued(struct hg_cpu_module *m)
{
	if (is_forked_child())
		return;
	pthread_mutex_lock(&queue.lock);
	queue.end = &queue.first;
	while (*queue.end) {
		struct task *t = *queue.end;

		if (t->kernel->module != m) {
			queue.end = &t->next;
			continue;
		}
		*queue.end = t->next;
		t->kernel->queued--;
		queue.nr_tasks--;
		free(t);
	}
	pthread_mutex_unlock(&queue.lock);
	for (size_t i = 0; i < m->nr_kernels; i++)
		wait_queued(&m->kernel[i]);
}

void hg_cpu_module_destroy(struct hg_cpu_module *m)
{
	/* in a forked child the compiler's locks are held for ever, perhaps: its memory goes with the process */
	if (!m || is_forked_child())
		return;
	atomic_store(&m->closing, true);
	drop_queued(m);
	while (m->code) {
		struct code *code = m->code;

		m->code = code->next;
		code_unload(&code->image);
		code_lines_release(&code->lines);
		free(code);
	}
	for (size_t i = 0; i < m->nr_kernels; i++)
		pthread_mutex_destroy(&m->kernel[i].lock);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* Whether the kernel can be compiled at all; the compiler is ready then. */
static enum hg_status need_kernel(const struct ir_module *ir, size_t index)
{
	enum hg_status st = need_host();

	if (st)
		return st;
	if (index >= ir->nr_funcs)
		return HG_ERR_NOTFOUND;
	if (ir->func[index].refused) {
		pr_err("%s", ir->func[index].refused);
		return HG_ERR_UNSUPPORTED;
	}
	return HG_OK;
}

enum hg_status hg_cpu_kernel_object(const struct ir_module *ir, size_t index, int tier, bool free_order, void **out,
				    size_t *size)
{
	LLVMMemoryBufferRef buf;
	enum hg_status st = need_kernel(ir, index);

	if (st)
		return st;
	st = compile(&ir->func[index], free_order ? FREE_ORDER : ORDERED, tier, LLVMObjectFile, &buf);
	if (st)
		return st;
	*size = LLVMGetBufferSize(buf);
	*out = malloc(*size);
	if (*out)
		memcpy(*out, LLVMGetBufferStart(buf), *size);
	LLVMDisposeMemoryBuffer(buf);
	return *out ? HG_OK : HG_ERR_NOMEM;
}

enum hg_status hg_cpu_kernel_text(const struct ir_module *ir, size_t index, enum hg_cpu_text kind, int tier, char **out)
{
	LLVMMemoryBufferRef buf;
	enum hg_status st = need_kernel(ir, index);

	if (st)
		return st;
	if (kind == HG_CPU_LLVM) {
		LLVMTargetMachineRef tm;
		LLVMContextRef c;
		LLVMModuleRef m;
		char *text;

		st = build(&ir->func[index], ORDERED, tier, &c, &m, &tm);
		if (st)
			return st;
		text = LLVMPrintModuleToString(m);
		*out = strdup(text);
		LLVMDisposeMessage(text);
		machine_put(tm, tier);
		LLVMDisposeModule(m);
		LLVMContextDispose(c);
		return *out ? HG_OK : HG_ERR_NOMEM;
	}
	st = compile(&ir->func[index], ORDERED, tier, LLVMAssemblyFile, &buf);
	if (st)
		return st;
	*out = strndup(LLVMGetBufferStart(buf), LLVMGetBufferSize(buf));
	LLVMDisposeMemoryBuffer(buf);
	return *out ? HG_OK : HG_ERR_NOMEM;
}
