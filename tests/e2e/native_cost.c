/*
 * native_cost.c - counts what a call costs besides time: allocations, locks, system calls.
 *
 *     native_cost ROUNDS [alloc|lock|syscall]
 *
 * An ordinary program of the driver API, which it opens by name. The counts are those of the thread that calls: this
 * program's own malloc, pthread_mutex_lock, … come before the C library's for every library in the process, and a
 * seccomp filter tells another thread of each system call. Each line of output:
 *
 *     launch with 1 parameter: 5000 calls, 0 allocations, 0 locks, 0 system calls
 *
 * Where the kernel has no such filter, "system calls" is "-". With the second argument each launch wastes one such thing: a
 * counter that does not count is then seen. tests/e2e/test_native_cost compares runs with and without hgshim.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CALLS 250		/* in a round: what several rounds record has room, whether the log's writer runs or not */

/* ---- counting ---- */

static __thread uint64_t nr_allocs, nr_locks;

#define HG_EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *p);

HG_EXPORT void *malloc(size_t size)
{
	nr_allocs++;
	return __libc_malloc(size);
}

HG_EXPORT void *calloc(size_t n, size_t size)
{
	nr_allocs++;
	return __libc_calloc(n, size);
}

HG_EXPORT void *realloc(void *p, size_t size)
{
	nr_allocs++;
	return __libc_realloc(p, size);
}

HG_EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	nr_allocs++;
	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, bytes);
}

HG_EXPORT void free(void *p)
{
	nr_allocs++;
	__libc_free(p);
}

HG_EXPORT void *memalign(size_t align, size_t size)
{
	nr_allocs++;
	return __libc_memalign(align, size);
}

HG_EXPORT void *aligned_alloc(size_t align, size_t size)
{
	nr_allocs++;
	return __libc_memalign(align, size);
}

HG_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	void *p;

	nr_allocs++;
	p = __libc_memalign(align, size);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

/* The C library's function behind ours, found at its first call. */
#define NEXT(type, name)                                                                           \
	static type next;                                                                          \
	if (!next)                                                                                 \
		next = (type)dlsym(RTLD_NEXT, name)

typedef void *(*mmap_fn)(void *, size_t, int, int, int, off_t);
HG_EXPORT void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	NEXT(mmap_fn, "mmap");
	nr_allocs++;
	return next(addr, size, prot, flags, fd, offset);
}

typedef int (*munmap_fn)(void *, size_t);
HG_EXPORT int munmap(void *addr, size_t size)
{
	NEXT(munmap_fn, "munmap");
	nr_allocs++;
	return next(addr, size);
}

#define LOCK(name, type)                                                                           \
	typedef int (*name##_fn)(type *);                                                          \
	HG_EXPORT int name(type *lock)                                                             \
	{                                                                                          \
		NEXT(name##_fn, #name);                                                            \
		nr_locks++;                                                                        \
		return next(lock);                                                                 \
	}

LOCK(pthread_mutex_lock, pthread_mutex_t)
LOCK(pthread_mutex_trylock, pthread_mutex_t)
LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
LOCK(pthread_rwlock_tryrdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_trywrlock, pthread_rwlock_t)
LOCK(pthread_cond_signal, pthread_cond_t)
LOCK(pthread_cond_broadcast, pthread_cond_t)
LOCK(sem_wait, sem_t)
LOCK(sem_post, sem_t)

typedef int (*spin_fn)(pthread_spinlock_t *);
HG_EXPORT int pthread_spin_lock(pthread_spinlock_t *lock)
{
	NEXT(spin_fn, "pthread_spin_lock");
	nr_locks++;
	return next(lock);
}

typedef int (*wait_fn)(pthread_cond_t *, pthread_mutex_t *);
HG_EXPORT int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	NEXT(wait_fn, "pthread_cond_wait");
	nr_locks++;
	return next(cond, lock);
}

/* ---- system calls ---- */

static atomic_uint_fast64_t nr_syscalls;
static bool has_filter;
static uint32_t caller;			/* the thread that is counted */
static int listener = -1;
static atomic_int listening;

/* Lets every system call go on. Threads that the caller makes later are under the filter too, and not counted. */
static void *listen_main(void *arg)
{
	static struct seccomp_notif notif;

	(void)arg;
	while (!atomic_load(&listening))
		sched_yield();
	for (;;) {
		struct seccomp_notif_resp resp = { .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };

		memset(&notif, 0, sizeof(notif));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notif)) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return NULL;
		}
		if (notif.pid == caller)
			atomic_fetch_add(&nr_syscalls, 1);
		resp.id = notif.id;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
	}
}

/* Before the first CUDA call, so that nothing of the driver's has run yet. */
static void count_syscalls(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF) };
	struct sock_fprog program = { .len = 1, .filter = code };
	pthread_t thread;

	caller = (uint32_t)syscall(SYS_gettid);
	if (pthread_create(&thread, NULL, listen_main, NULL))
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return;
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0)
		return;
	/* from here on this thread makes no call that nobody listens to */
	atomic_store(&listening, 1);
	has_filter = true;
}

/* ---- CUDA ---- */

static void die(const char *what, int code)
{
	fprintf(stderr, "native_cost: %s: %d\n", what, code);
	exit(1);
}

static struct {
	CUresult (*cuInit)(unsigned int);
	CUresult (*cuDevicePrimaryCtxRetain)(CUcontext *, CUdevice);
	CUresult (*cuCtxSetCurrent)(CUcontext);
	CUresult (*cuCtxGetCurrent)(CUcontext *);
	CUresult (*cuCtxSynchronize)(void);
	CUresult (*cuModuleLoadData)(CUmodule *, const void *);
	CUresult (*cuModuleGetFunction)(CUfunction *, CUmodule, const char *);
	CUresult (*cuStreamCreate)(CUstream *, unsigned int);
	CUresult (*cuStreamQuery)(CUstream);
	CUresult (*cuMemAlloc_v2)(CUdeviceptr *, size_t);
	CUresult (*cuMemFree_v2)(CUdeviceptr);
	CUresult (*cuMemcpyHtoD_v2)(CUdeviceptr, const void *, size_t);
	CUresult (*cuMemcpyDtoH_v2)(void *, CUdeviceptr, size_t);
	CUresult (*cuLaunchKernel)(CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
				   unsigned int, unsigned int, CUstream, void **, void **);
	CUresult (*cuLaunchKernelEx)(const CUlaunchConfig *, CUfunction, void **, void **);
} cu;

static void open_driver(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_NOW);

	if (!lib)
		die(dlerror(), 0);
#define FIND(name)                                                                                 \
	do {                                                                                       \
		cu.name = (__typeof__(cu.name))dlsym(lib, #name);                                  \
		if (!cu.name)                                                                      \
			die("the driver has no " #name, 0);                                        \
	} while (0)
	FIND(cuInit);
	FIND(cuDevicePrimaryCtxRetain);
	FIND(cuCtxSetCurrent);
	FIND(cuCtxGetCurrent);
	FIND(cuCtxSynchronize);
	FIND(cuModuleLoadData);
	FIND(cuModuleGetFunction);
	FIND(cuStreamCreate);
	FIND(cuStreamQuery);
	FIND(cuMemAlloc_v2);
	FIND(cuMemFree_v2);
	FIND(cuMemcpyHtoD_v2);
	FIND(cuMemcpyDtoH_v2);
	FIND(cuLaunchKernel);
	FIND(cuLaunchKernelEx);
#undef FIND
}

#define CU(call)                                                                                   \
	do {                                                                                       \
		CUresult result_ = cu.call;                                                        \
		if (result_ != CUDA_SUCCESS)                                                       \
			die(#call, (int)result_);                                                  \
	} while (0)

static const char ptx[] =
	".version 8.0\n.target sm_75\n.address_size 64\n"
	".visible .entry none() { ret; }\n"
	".visible .entry one(.param .u64 p) { ret; }\n"
	".visible .entry eight(.param .u64 a, .param .u64 b, .param .u32 c, .param .u32 d, .param .f32 e, .param .u8 f,\n"
	"\t.param .align 8 .b8 g[24], .param .f64 h) { ret; }\n";

static CUfunction none, one, eight;
static CUstream stream;
static CUdeviceptr memory;
static unsigned char host[256];
static enum { WASTE_NOTHING, WASTE_ALLOC, WASTE_LOCK, WASTE_SYSCALL } waste;

static void wasted(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	void *volatile p;

	switch (waste) {
	case WASTE_NOTHING:
		break;
	case WASTE_ALLOC:
		p = malloc(1);
		(void)p;	/* one call: it is not freed */
		break;
	case WASTE_LOCK:
		pthread_mutex_lock(&lock);
		pthread_mutex_unlock(&lock);
		break;
	case WASTE_SYSCALL:
		syscall(SYS_gettid);
		break;
	}
}

static void do_launch_none(void)
{
	CU(cuLaunchKernel(none, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL));
	wasted();
}

static void do_launch_1(void)
{
	void *params[] = { &memory };

	CU(cuLaunchKernel(one, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
	wasted();
}

static void launch_8(CUstream s)
{
	static unsigned int c = 3, d = 4;
	static float e = 5;
	static char f = 6, g[24];
	static double h = 8;
	void *params[] = { &memory, &memory, &c, &d, &e, &f, g, &h };

	CU(cuLaunchKernel(eight, 4, 2, 1, 32, 2, 1, 0, s, params, NULL));
	wasted();
}

static void do_launch_8(void)
{
	launch_8(NULL);
}

static void do_launch_8_in_a_stream(void)
{
	launch_8(stream);
}

static void do_launch_extra(void)
{
	unsigned char block[8];
	size_t size = sizeof(block);
	void *extra[] = { CU_LAUNCH_PARAM_BUFFER_POINTER, block, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END };

	memcpy(block, &memory, sizeof(block));
	CU(cuLaunchKernel(one, 1, 1, 1, 32, 1, 1, 0, stream, NULL, extra));
	wasted();
}

static void do_launch_ex(void)
{
	const CUlaunchConfig config = { .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 32, .blockDimY = 1,
					.blockDimZ = 1, .hStream = stream };
	void *params[] = { &memory };

	CU(cuLaunchKernelEx(&config, one, params, NULL));
	wasted();
}

static void do_to_device(void)
{
	CU(cuMemcpyHtoD_v2(memory, host, sizeof(host)));
}

static void do_from_device(void)
{
	CU(cuMemcpyDtoH_v2(host, memory, sizeof(host)));
}

static void do_query(void)
{
	CU(cuStreamQuery(stream));
}

static void do_get_current(void)
{
	CUcontext ctx;

	CU(cuCtxGetCurrent(&ctx));
}

static void do_alloc_free(void)
{
	CUdeviceptr p;

	CU(cuMemAlloc_v2(&p, 4096));
	CU(cuMemFree_v2(p));
}

/* ---- the rounds ---- */

static int rounds;

static void count(const char *name, void (*call)(void))
{
	uint64_t allocs = 0, locks = 0, syscalls = 0;

	for (int i = 0; i < CALLS; i++)
		call();
	for (int round = 0; round < rounds; round++) {
		uint64_t a, l, s;

		/* the log's writer finds the time to take what was recorded */
		CU(cuCtxSynchronize());
		nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
		a = nr_allocs;
		l = nr_locks;
		s = atomic_load(&nr_syscalls);
		for (int i = 0; i < CALLS; i++)
			call();
		allocs += nr_allocs - a;
		locks += nr_locks - l;
		syscalls += atomic_load(&nr_syscalls) - s;
	}
	printf("%s: %d calls, %llu allocations, %llu locks, ", name, rounds * CALLS, (unsigned long long)allocs,
	       (unsigned long long)locks);
	if (has_filter)
		printf("%llu system calls\n", (unsigned long long)syscalls);
	else
		printf("- system calls\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	CUmodule module;
	CUcontext ctx;

	rounds = argc >= 2 ? atoi(argv[1]) : 0;
	if (rounds < 1 || argc > 3) {
		fprintf(stderr, "usage: native_cost ROUNDS [alloc|lock|syscall]\n");
		return 2;
	}
	if (argc == 3)
		waste = !strcmp(argv[2], "alloc") ? WASTE_ALLOC : !strcmp(argv[2], "lock") ? WASTE_LOCK : WASTE_SYSCALL;
	count_syscalls();
	open_driver();
	CU(cuInit(0));
	CU(cuDevicePrimaryCtxRetain(&ctx, 0));
	CU(cuCtxSetCurrent(ctx));
	CU(cuModuleLoadData(&module, ptx));
	CU(cuModuleGetFunction(&none, module, "none"));
	CU(cuModuleGetFunction(&one, module, "one"));
	CU(cuModuleGetFunction(&eight, module, "eight"));
	CU(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
	CU(cuMemAlloc_v2(&memory, sizeof(host)));
	count("launch without parameters", do_launch_none);
	count("launch with 1 parameter", do_launch_1);
	count("launch with 8 parameters", do_launch_8);
	count("launch with 8 parameters in a stream", do_launch_8_in_a_stream);
	count("launch with a parameter block", do_launch_extra);
	count("cuLaunchKernelEx", do_launch_ex);
	count("256 bytes to the device", do_to_device);
	count("256 bytes from the device", do_from_device);
	count("cuStreamQuery", do_query);
	count("cuCtxGetCurrent", do_get_current);
	count("cuMemAlloc and cuMemFree", do_alloc_free);
	return 0;
}
