/*
 * safety.c - programs that do unusual but legal things around CUDA calls; the first argument says which.
 * Ordinary code: it knows nothing of hgshim. Ends with PASS and status 0 unless said otherwise.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void pass(void)
{
	puts("PASS");
}

/* The child's status; a child that hangs is a failure. */
static int wait_for(pid_t pid)
{
	int status;

	for (int i = 0; i < 10000; i++) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status;
		if (got < 0)
			FAIL("waitpid: %s", strerror(errno));
		sleep_ms(1);
	}
	kill(pid, SIGKILL);
	FAIL("the child hangs");
}

static void plain(char **argv)
{
	(void)argv;
	work_all();
	pass();
}

static void nothing(char **argv)
{
	(void)argv;
}

static void fork_before(char **argv)
{
	pid_t pid = fork();

	(void)argv;
	work_all();
	if (!pid)
		exit(0);
	if (wait_for(pid) != 0)
		FAIL("the child failed");
	pass();
}

/* What a child of a process that uses CUDA sees: CUDA_ERROR_NOT_INITIALIZED, as with NVIDIA's driver. */
static void child_checks(void)
{
	CUdeviceptr p;
	CUcontext ctx;
	int version = 0;

	if (cuMemAlloc(&p, 4) != CUDA_ERROR_NOT_INITIALIZED)
		FAIL("cuMemAlloc in a forked child");
	if (cuInit(0) != CUDA_ERROR_NOT_INITIALIZED)
		FAIL("cuInit in a forked child");
	if (cuCtxGetCurrent(&ctx) != CUDA_ERROR_NOT_INITIALIZED)
		FAIL("cuCtxGetCurrent in a forked child");
	if (cuDriverGetVersion(&version) != CUDA_SUCCESS || !version)
		FAIL("cuDriverGetVersion in a forked child");
}

static void fork_after(char **argv)
{
	struct work w;

	(void)argv;
	work_open(&w);
	for (int i = 0; i < 20; i++) {
		pid_t pid;

		work_step(&w);
		fflush(stdout);
		pid = fork();
		if (!pid) {
			child_checks();
			/* every way out of a child */
			if (i % 3 == 0)
				exit(0);
			if (i % 3 == 1)
				_exit(0);
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		if (wait_for(pid) != 0)
			FAIL("child %d failed", i);
		work_check(&w);
	}
	work_close(&w);
	pass();
}

static atomic_bool stop;
static struct work shared_work;

static void *calling_thread(void *arg)
{
	CUdeviceptr p;

	(void)arg;
	CU(cuCtxSetCurrent(shared_work.ctx));
	while (!stop) {
		CUresult r = cuMemAlloc(&p, 4096);

		if (r == CUDA_SUCCESS)
			r = cuMemsetD8(p, 1, 4096);
		if (r == CUDA_SUCCESS)
			r = cuMemFree(p);
		/* what a driver says when the process is exiting */
		if (r == CUDA_ERROR_DEINITIALIZED)
			break;
		CU(r);
	}
	return NULL;
}

static void start_threads(pthread_t *thread, int n)
{
	work_open(&shared_work);
	for (int i = 0; i < n; i++)
		if (pthread_create(&thread[i], NULL, calling_thread, NULL))
			FAIL("pthread_create");
}

static void fork_with_threads(char **argv)
{
	pthread_t thread[4];

	(void)argv;
	start_threads(thread, 4);
	for (int i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (!pid) {
			child_checks();
			exit(0);
		}
		if (wait_for(pid) != 0)
			FAIL("child %d failed", i);
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	work_check(&shared_work);
	pass();
}

/* A fork that no handler of pthread_atfork sees. */
static void raw_fork(char **argv)
{
	struct work w;
	pid_t pid;

	(void)argv;
	work_open(&w);
	pid = (pid_t)syscall(SYS_fork);
	if (!pid) {
		child_checks();
		_exit(0);
	}
	if (wait_for(pid) != 0)
		FAIL("the child failed");
	work_step(&w);
	work_check(&w);
	pass();
}

static void vfork_exec(char **argv)
{
	struct work w;

	(void)argv;
	work_open(&w);
	for (int i = 0; i < 10; i++) {
		pid_t pid = vfork();

		if (!pid) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		if (wait_for(pid) != 0)
			FAIL("the child failed");
		work_step(&w);
	}
	work_check(&w);
	pass();
}

static void exec_self(char **argv)
{
	work_all();
	argv[1] = (char *)"plain";
	execv("/proc/self/exe", argv);
	FAIL("exec: %s", strerror(errno));
}

static void close_handle(char **argv)
{
	CUresult (*init)(unsigned int), (*alloc)(CUdeviceptr *, size_t), (*free_)(CUdeviceptr);

	(void)argv;
	for (int i = 0; i < 3; i++) {
		void *handle = dlopen("libcuda.so.1", RTLD_NOW);
		CUdeviceptr p;

		if (!handle)
			FAIL("dlopen: %s", dlerror());
		init = (CUresult(*)(unsigned int))dlsym(handle, "cuInit");
		alloc = (CUresult(*)(CUdeviceptr *, size_t))dlsym(handle, "cuMemAlloc_v2");
		free_ = (CUresult(*)(CUdeviceptr))dlsym(handle, "cuMemFree_v2");
		CU(init(0));
		work_all();
		CU(cuCtxSetCurrent(NULL));
		work_open(&shared_work);
		CU(alloc(&p, 100));
		/* more often than it was opened */
		dlclose(handle);
		CU(free_(p));
		work_step(&shared_work);
		work_check(&shared_work);
	}
	pass();
}

static pthread_key_t key;

/* A destructor of thread-local data, such as a per-thread handle's, calls CUDA while the thread ends. */
static void thread_data_gone(void *arg)
{
	CU(cuMemFree((CUdeviceptr)(uintptr_t)arg));
	CU(cuCtxSetCurrent(NULL));
}

static void *short_thread(void *arg)
{
	CUdeviceptr p;

	(void)arg;
	CU(cuCtxSetCurrent(shared_work.ctx));
	CU(cuMemAlloc(&p, 256));
	pthread_setspecific(key, (void *)(uintptr_t)p);
	return NULL;
}

static void thread_exit(char **argv)
{
	pthread_t thread[8];

	(void)argv;
	pthread_key_create(&key, thread_data_gone);
	work_open(&shared_work);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 8; i++)
			if (pthread_create(&thread[i], NULL, short_thread, NULL))
				FAIL("pthread_create");
		for (int i = 0; i < 8; i++)
			pthread_join(thread[i], NULL);
	}
	work_step(&shared_work);
	work_check(&shared_work);
	pass();
}

/* Daemons begin like this; then their own files get the low numbers. */
static void own_files(const char *dir, int *fd, int n)
{
	for (int i = 0; i < n; i++) {
		char path[4096];

		snprintf(path, sizeof(path), "%s/own-%d", dir, i);
		fd[i] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (fd[i] != 3 + i)
			FAIL("descriptor %d for '%s', not %d", fd[i], path, 3 + i);
		if (write(fd[i], path, strlen(path)) != (ssize_t)strlen(path))
			FAIL("write: %s", strerror(errno));
	}
}

static void check_files(const char *dir, const int *fd, int n)
{
	for (int i = 0; i < n; i++) {
		char path[4096], got[4096];
		ssize_t size;

		snprintf(path, sizeof(path), "%s/own-%d", dir, i);
		size = pread(fd[i], got, sizeof(got), 0);
		if (size != (ssize_t)strlen(path) || memcmp(got, path, (size_t)size) != 0)
			FAIL("'%s' has %zd bytes that are not its own", path, size);
	}
}

static void close_all(char **argv)
{
	struct work w;
	int fd[40];

	if (argv[3])	/* before the first CUDA call */
		closefrom(3);
	work_open(&w);
	for (int round = 0; round < 3; round++) {
		closefrom(3);
		own_files(argv[2], fd, 40);
		for (int i = 0; i < 200; i++) {
			CUdeviceptr p;

			CU(cuMemAlloc(&p, 1 << 16));
			CU(cuMemsetD8(p, 7, 1 << 16));
			work_step(&w);
			CU(cuMemFree(p));
		}
		work_check(&w);
		sleep_ms(150);	/* for whoever writes in the background */
		check_files(argv[2], fd, 40);
	}
	work_close(&w);
	check_files(argv[2], fd, 40);
	pass();
}

/* No descriptor may appear in the program: some use the number that open gives next. */
static void no_descriptors(char **argv)
{
	int before, after;

	(void)argv;
	before = open("/dev/null", O_RDONLY);
	close(before);
	work_all();
	after = open("/dev/null", O_RDONLY);
	if (before != after)
		FAIL("the next descriptor was %d and is %d", before, after);
	pass();
}

static sigjmp_buf jump;
static volatile sig_atomic_t nr_faults;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)info;
	(void)context;
	nr_faults++;
	siglongjmp(jump, 1);
}

static void fault_once(void)
{
	volatile uintptr_t nowhere = 16;
	int before = nr_faults;

	if (!sigsetjmp(jump, 1)) {
		*(volatile int *)nowhere = 1;
		FAIL("no fault");
	}
	if (nr_faults != before + 1)
		FAIL("%d faults, not one", nr_faults - before);
}

static void own_segv_handler(char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct work w;
	int early = !strcmp(argv[2], "early");

	if (early)
		sigaction(SIGSEGV, &sa, NULL);
	work_open(&w);
	work_step(&w);
	work_check(&w);
	if (!early)
		sigaction(SIGSEGV, &sa, NULL);
	fault_once();
	for (int i = 0; i < 10; i++) {
		work_step(&w);
		work_check(&w);
		fault_once();
	}
	work_close(&w);
	pass();
}

static void exit_in_calls(char **argv)
{
	pthread_t thread[4];

	start_threads(thread, 4);
	sleep_ms(30);
	pass();
	fflush(stdout);
	if (!strcmp(argv[2], "exit"))
		exit(0);
	if (!strcmp(argv[2], "_exit"))
		_exit(0);
	if (!strcmp(argv[2], "abort"))
		abort();
	if (!strcmp(argv[2], "quick_exit"))
		quick_exit(0);
	kill(getpid(), SIGTERM);
	pause();
}

/* Libraries free what they hold when the program ends; the handler was registered before CUDA was first used. */
static void at_exit(void)
{
	work_step(&shared_work);
	work_check(&shared_work);
	work_close(&shared_work);
	pass();
	fflush(stdout);
}

static void exit_order(char **argv)
{
	(void)argv;
	atexit(at_exit);
	work_open(&shared_work);
	exit(0);
}

__attribute__((destructor)) static void late(void)
{
	CUdeviceptr p;

	/* after everything: the answer matters little, but it must come */
	if (getenv("SAFETY_LATE"))
		(void)cuMemAlloc(&p, 16);
}

/* Runs children that never touch CUDA. */
static void plain_children(char **argv)
{
	(void)argv;
	for (int i = 0; i < 5; i++)
		if (system("exec /bin/true") != 0)
			FAIL("a child failed");
	work_all();
	if (system("/bin/echo child > /dev/null") != 0)
		FAIL("a child failed");
	pass();
}

static atomic_int nr_callbacks, nr_refused;

/* Calls are not permitted here; each gets an answer, and none waits for a checkpoint. */
static void callback(void *arg)
{
	CUdeviceptr p;
	const char *text;

	(void)arg;
	sleep_ms(2);
	if (cuMemAlloc(&p, 64) != CUDA_SUCCESS)
		nr_refused++;
	if (cuGetErrorString(CUDA_ERROR_INVALID_VALUE, &text) != CUDA_SUCCESS || !*text)
		FAIL("cuGetErrorString in a callback");
	nr_callbacks++;
}

static void slow_callback(void *arg)
{
	(void)arg;
	sleep_ms(2500);
	nr_callbacks++;
}

static void *looping_thread(void *arg)
{
	struct work *w = arg;
	uint32_t back[16], v = 0;
	CUstream s;
	CUdeviceptr p;

	CU(cuCtxSetCurrent(w->ctx));
	CU(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	while (!stop) {
		CU(cuMemAlloc(&p, sizeof(back)));
		CU(cuMemsetD32Async(p, ++v, 16, s));
		CU(cuMemcpyDtoHAsync(back, p, sizeof(back), s));
		CU(cuStreamSynchronize(s));
		for (int i = 0; i < 16; i++)
			if (back[i] != v)
				FAIL("a thread read %u, not %u", back[i], v);
		CU(cuMemFree(p));
	}
	CU(cuStreamDestroy(s));
	return NULL;
}

/*
 * Works until the file goes away: something to take a checkpoint of. The second argument names it, the third
 * says what is unusual.
 */
static void loop(char **argv)
{
	const char *how = argv[3] ? argv[3] : "";
	int nr_threads = !strcmp(how, "threads") ? 8 : 0;
	pthread_t thread[8];
	struct work w;
	FILE *f;

	if (!strcmp(how, "ignore"))
		for (int s = 1; s <= SIGRTMAX; s++)
			if (s != SIGCHLD && s != SIGSEGV && s != SIGBUS && s != SIGFPE && s != SIGILL)
				signal(s, SIG_IGN);
	work_open(&w);
	work_step(&w);
	if (!strcmp(how, "closefrom"))
		closefrom(3);
	if (!strcmp(how, "child")) {
		pid_t pid = fork();

		while (!pid)
			pause();
		printf("CHILD %d\n", (int)pid);
	}
	if (!strcmp(how, "alien")) {
		/* past the loader's search and past dlopen */
		if (!dlmopen(LM_ID_NEWLM, argv[4], RTLD_NOW))
			FAIL("dlmopen: %s", dlerror());
	}
	if (!strcmp(how, "fault")) {
		CUdeviceptr nowhere = 0x10;
		uint32_t v = 1, n = 1;
		void *params[] = { &nowhere, &v, &n };

		CU(cuLaunchKernel(w.add, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
		if (cuCtxSynchronize() == CUDA_SUCCESS)
			FAIL("no fault");
	}
	if (!strcmp(how, "pool")) {
		CUmemPoolProps props = { .allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
					 .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE } };
		CUmemoryPool pool;

		CU(cuMemPoolCreate(&pool, &props));
	}
	for (int i = 0; i < nr_threads; i++)
		if (pthread_create(&thread[i], NULL, looping_thread, &w))
			FAIL("pthread_create");
	f = fopen(argv[2], "w");
	if (!f)
		FAIL("cannot make '%s'", argv[2]);
	fclose(f);
	if (!strcmp(how, "slow"))
		CU(cuLaunchHostFunc(NULL, slow_callback, NULL));
	puts("READY");
	fflush(stdout);
	while (access(argv[2], F_OK) == 0) {
		if (strcmp(how, "fault") != 0)
			work_step(&w);
		if (!strcmp(how, "callbacks"))
			CU(cuLaunchHostFunc(NULL, callback, NULL));
		if (!strcmp(how, "slow"))
			CU(cuCtxSynchronize());
		sleep_ms(2);
	}
	stop = true;
	for (int i = 0; i < nr_threads; i++)
		pthread_join(thread[i], NULL);
	if (strcmp(how, "fault") != 0)
		work_check(&w);
	if (!strcmp(how, "callbacks") && (!nr_callbacks || nr_callbacks != nr_refused))
		FAIL("%d callbacks, %d refused calls", nr_callbacks, nr_refused);
	pass();
}

static const struct { const char *name; void (*fn)(char **argv); } modes[] = {
	{ "plain", plain }, { "nothing", nothing }, { "fork-before", fork_before }, { "fork-after", fork_after },
	{ "fork-with-threads", fork_with_threads }, { "raw-fork", raw_fork }, { "vfork-exec", vfork_exec },
	{ "exec", exec_self }, { "dlclose", close_handle }, { "thread-exit", thread_exit }, { "closefrom", close_all },
	{ "no-descriptors", no_descriptors }, { "segv-handler", own_segv_handler }, { "exit-in-calls", exit_in_calls },
	{ "atexit", exit_order }, { "plain-children", plain_children }, { "loop", loop },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].fn(argv);
			return 0;
		}
	fprintf(stderr, "usage: %s MODE...\n", argv[0]);
	return 2;
}
