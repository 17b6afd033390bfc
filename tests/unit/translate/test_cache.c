/* test_cache.c - the disk cache of compiled code: damaged files, folders of others, processes that die, one compilation for all. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/translate/code_util.h"
#include "translate/cache.h"
#include "translate/jit.h"

#define BYTES 5000

static char dir[] = "/tmp/hgshim-cache-XXXXXX";
static const char *file_of_0 = "00000000000000000000000000000000.o";

static void begin(void)
{
	cr_assert(mkdtemp(dir));
	setenv("HGSHIM_CACHE", dir, 1);
	unsetenv("HGSHIM_CACHE_MAX");
}

static void end(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(cache, .init = begin, .fini = end, .timeout = 60);

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(unsigned char k, size_t size)
{
	unsigned char key[16] = { k }, *data = malloc(size);

	memset(data, k, size);
	hg_cache_put(key, data, size);
	free(data);
}

/* 1: there and right; 0: absent; -1: wrong. */
static int get(unsigned char k, size_t size)
{
	unsigned char key[16] = { k }, *data;
	void *got;
	size_t n;
	int r = 1;

	if (!hg_cache_get(key, &got, &n))
		return 0;
	data = got;
	for (size_t i = 0; i < n; i++)
		if (data[i] != k)
			r = -1;
	free(got);
	return n == size ? r : -1;
}

static size_t nr_files(void)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	for (struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

Test(cache, what_is_cut_or_changed_is_removed_and_not_given)
{
	static const off_t at[] = { 0, 7, 8, 15, 16, 24, 39, 40, 41, 2500, 5039 };

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		unsigned char byte;
		int fd;

		put(0, BYTES);
		cr_assert_eq(get(0, BYTES), 1);
		cr_assert_eq(truncate(path_of(file_of_0), at[i]), 0);
		cr_assert_eq(get(0, BYTES), 0, "cut at %ld", (long)at[i]);
		cr_assert_neq(access(path_of(file_of_0), F_OK), 0);

		put(0, BYTES);
		fd = open(path_of(file_of_0), O_RDWR);
		cr_assert(pread(fd, &byte, 1, at[i]) == 1);
		byte ^= 0x40;
		cr_assert(pwrite(fd, &byte, 1, at[i]) == 1);
		close(fd);
		cr_assert_eq(get(0, BYTES), 0, "changed at %ld", (long)at[i]);
		cr_assert_neq(access(path_of(file_of_0), F_OK), 0);
	}
	put(0, BYTES);
	cr_assert_eq(truncate(path_of(file_of_0), 1 << 20), 0);
	cr_assert_eq(get(0, BYTES), 0, "longer");
}

Test(cache, an_entry_under_anothers_name_is_not_given)
{
	char from[128];

	put(1, BYTES);
	strcpy(from, path_of("01000000000000000000000000000000.o"));
	cr_assert_eq(rename(from, path_of(file_of_0)), 0);
	cr_assert_eq(get(0, BYTES), 0);
}

Test(cache, what_is_no_file_neither_blocks_nor_is_followed)
{
	char other[128];

	cr_assert_eq(mkfifo(path_of(file_of_0), 0600), 0);
	cr_assert_eq(get(0, BYTES), 0);
	put(1, BYTES);
	strcpy(other, path_of("01000000000000000000000000000000.o"));
	cr_assert_eq(symlink(other, path_of(file_of_0)), 0);
	cr_assert_eq(get(0, BYTES), 0);
	put(0, BYTES);
	cr_assert_eq(get(0, BYTES), 1);
	cr_assert_eq(get(1, BYTES), 1, "what the link named was written over");
	cr_assert_eq(unlink(path_of(file_of_0)), 0);
	cr_assert_eq(mkdir(path_of(file_of_0), 0700), 0);
	cr_assert_eq(get(0, BYTES), 0);
	put(0, BYTES);
	cr_assert_eq(get(0, BYTES), 0);
	cr_assert_eq(nr_files(), 2, "something was left behind");
}

Test(cache, a_folder_that_others_may_write_in_is_not_used)
{
	put(0, BYTES);
	cr_assert_eq(chmod(dir, 0770), 0);
	catch_messages();
	cr_assert_eq(get(0, BYTES), 0);
	cr_assert(strstr(last_message, "is not used"), "%s", last_message);
	last_message[0] = 0;
	put(1, BYTES);
	cr_assert_eq(last_message[0], 0, "said twice");
	cr_assert_eq(chmod(dir, 0700), 0);
	cr_assert_eq(get(1, BYTES), 0);
	cr_assert_eq(get(0, BYTES), 1);
}

Test(cache, a_full_disk_leaves_nothing_behind)
{
	struct rlimit limit = { 1000, 1000 };

	put(1, 100);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	put(0, BYTES);
	cr_assert_eq(get(0, BYTES), 0);
	cr_assert_eq(get(1, 100), 1);
	cr_assert_eq(nr_files(), 1);
}

Test(cache, processes_killed_while_they_write_leave_whole_entries)
{
	enum { ROUNDS = 25, WRITERS = 3, KEYS = 5, SIZE = 300000 };

	for (int round = 0; round < ROUNDS; round++) {
		pid_t pid[WRITERS];

		for (int p = 0; p < WRITERS; p++) {
			pid[p] = fork();
			if (pid[p])
				continue;
			for (int i = p; ; i++) {
				put((unsigned char)(i % KEYS), SIZE);
				if (get((unsigned char)(i % KEYS), SIZE) < 0)
					_exit(1);
			}
		}
		nanosleep(&(struct timespec){ .tv_nsec = 3000000 + round * 777000 }, NULL);
		for (int p = 0; p < WRITERS; p++) {
			int status;

			kill(pid[p], SIGKILL);
			cr_assert_eq(waitpid(pid[p], &status, 0), pid[p]);
			cr_assert(WIFSIGNALED(status), "a process read what nobody wrote");
		}
		for (int k = 0; k < KEYS; k++)
			cr_assert_geq(get((unsigned char)k, SIZE), 0);
	}
	cr_assert_geq(nr_files(), KEYS);
}

/* What a killed process was writing goes when it is old; what others write just now stays. */
Test(cache, a_folder_with_other_files_keeps_them)
{
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct stat s;
	int fd = open(path_of("thesis.o"), O_WRONLY | O_CREAT, 0600);

	cr_assert(fd >= 0 && !ftruncate(fd, 1 << 20) && !futimens(fd, old));
	close(fd);
	setenv("HGSHIM_CACHE_MAX", "4K", 1);
	put(1, BYTES);
	put(2, BYTES);
	cr_expect_eq(stat(path_of("thesis.o"), &s), 0, "the oldest and largest file of the folder is gone");
}

Test(cache, abandoned_files_are_removed)
{
	struct timespec old[2] = { { .tv_sec = time(NULL) - 3600 }, { .tv_sec = time(NULL) - 3600 } };

	cr_assert_eq(close(creat(path_of("tmp-old"), 0600)), 0);
	cr_assert_eq(utimensat(AT_FDCWD, path_of("tmp-old"), old, 0), 0);
	cr_assert_eq(close(creat(path_of("tmp-new"), 0600)), 0);
	put(0, BYTES);
	cr_assert_neq(access(path_of("tmp-old"), F_OK), 0);
	cr_assert_eq(access(path_of("tmp-new"), F_OK), 0);
}

Test(cache, a_lock_is_held_by_one_and_dies_with_its_process)
{
	unsigned char key[16] = { 1, 2, 3 }, other[16] = { 9 };
	int lock = hg_cache_lock(key), second, ready[2];
	pid_t pid;
	char c;

	cr_assert_geq(lock, 0);
	cr_assert_eq(hg_cache_lock(key), HG_CACHE_BUSY);	/* of this process too */
	second = hg_cache_lock(other);
	cr_assert_geq(second, 0);
	hg_cache_unlock(lock);
	hg_cache_unlock(second);
	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		c = hg_cache_lock(key) >= 0;
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		pause();
	}
	cr_assert_eq(read(ready[0], &c, 1), 1);
	cr_assert(c);
	cr_assert_eq(hg_cache_lock(key), HG_CACHE_BUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	lock = hg_cache_lock(key);
	cr_assert_geq(lock, 0);
	hg_cache_unlock(lock);
	setenv("HGSHIM_CACHE", "0", 1);
	cr_assert_eq(hg_cache_lock(key), HG_CACHE_UNLOCKED);
	hg_cache_unlock(HG_CACHE_UNLOCKED);
}

/* ---- compiling ---- */

static const char kernel[] = ".version 9.0\n.target sm_80\n.address_size 64\n"
	".visible .entry k(.param .u64 p) {\n.reg .b32 %r<4>; .reg .b64 %rd<4>;\n"
	"ld.param.u64 %rd1, [p]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd1, %rd1, %rd2;\n"
	"ld.global.u32 %r2, [%rd1]; add.u32 %r2, %r2, %r1; st.global.u32 [%rd1], %r2; ret; }\n";

/* Loads and compiles; whether the optimised code is there, and where it came from. */
static void *compile(void *was_cached)
{
	struct hg_module *m;
	struct hg_cpu_module *cm;
	struct hg_cpu_kernel *k;
	bool ok = !hg_module_load(kernel, 0, 121, NULL, 0, &m) && !hg_cpu_module_create(m, &cm) && !hg_cpu_kernel_get(cm, 0, &k);

	if (!ok)
		return NULL;
	hg_cpu_kernel_wait(k);
	ok = hg_cpu_kernel_tier(k) == 2;
	if (was_cached)
		*(bool *)was_cached = hg_cpu_kernel_was_cached(k);
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
	return ok ? dir : NULL;
}

Test(cache, many_threads_and_processes_optimise_a_kernel_once)
{
	enum { PROCESSES = 3, THREADS = 3 };
	int log = open(path_of(".log"), O_RDWR | O_CREAT | O_APPEND, 0600), found = 0;
	static char text[65536];
	pid_t pid[PROCESSES];
	bool cached = false;

	for (int p = 0; p < PROCESSES; p++) {
		pthread_t thread[THREADS];
		void *ok;

		pid[p] = fork();
		if (pid[p])
			continue;
		dup2(log, 2);
		hg_msg_level_set(HG_MSG_DEBUG);
		for (int i = 0; i < THREADS; i++)
			if (pthread_create(&thread[i], NULL, compile, NULL))
				_exit(1);
		for (int i = 0; i < THREADS; i++)
			if (pthread_join(thread[i], &ok) || !ok)
				_exit(1);
		_exit(0);
	}
	for (int p = 0; p < PROCESSES; p++) {
		int status;

		waitpid(pid[p], &status, 0);
		cr_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	}
	cr_assert_geq(pread(log, text, sizeof(text) - 1, 0), 0);
	for (char *at = strstr(text, "optimising kernel 'k'"); at; at = strstr(at + 1, "optimising kernel 'k'"))
		found++;
	cr_assert_eq(found, 1, "%d compilations:\n%s", found, text);
	cr_assert(compile(&cached));
	cr_assert(cached);
	close(log);
}

/* A whole entry, but no code: it is compiled again, and what is kept then is right. */
Test(cache, an_entry_without_code_is_compiled_anew)
{
	unsigned char key[2][16], junk[3000];
	size_t nr_keys = 0;
	bool cached = true;
	DIR *d;

	cr_assert(compile(NULL));
	d = opendir(dir);
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		if (strlen(e->d_name) != 34)
			continue;
		cr_assert_lt(nr_keys, 2);
		for (int i = 0; i < 16; i++)
			key[nr_keys][i] = (unsigned char)strtoul((char[]){ e->d_name[i * 2], e->d_name[i * 2 + 1], 0 }, NULL, 16);
		nr_keys++;
	}
	closedir(d);
	cr_assert_eq(nr_keys, 2, "one for each tier");
	memset(junk, 0x5a, sizeof(junk));
	for (size_t i = 0; i < nr_keys; i++)
		hg_cache_put(key[i], junk, sizeof(junk));
	catch_messages();
	cr_assert(compile(&cached));
	cr_assert_not(cached);
	cr_assert(compile(&cached));
	cr_assert(cached, "what is kept is still wrong");
}

/* How many threads of this process compile in the background. */
static unsigned int compiler_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned int n = 0;

	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		char path[320], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "r");
		n += f && fgets(name, sizeof(name), f) && !strcmp(name, "hgshim-jit\n");
		if (f)
			fclose(f);
	}
	closedir(d);
	return n;
}

Test(cache, kernels_are_optimised_on_several_threads)
{
	enum { KERNELS = 6, MOST = 4 };
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char text[KERNELS * 200 + 100] = ".version 9.0\n.target sm_80\n.address_size 64\n";
	struct hg_cpu_kernel *k[KERNELS];
	struct hg_cpu_module *cm;
	struct hg_module *m;
	unsigned int cpus;
	cpu_set_t set;
	int lock;

	cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	cpus = (unsigned int)CPU_COUNT(&set);
	for (int i = 0; i < KERNELS; i++)
		sprintf(text + strlen(text), ".visible .entry k%d(.param .u64 p) { .reg .b32 %%r<2>; .reg .b64 %%rd<2>;\n"
			"ld.param.u64 %%rd1, [p]; mov.u32 %%r1, %d; st.global.u32 [%%rd1], %%r1; ret; }\n", i, i);
	/* as if another process were compiling all of them: whoever takes one up waits */
	lock = open(path_of(".lock"), O_RDWR | O_CREAT, 0600);
	cr_assert_eq(fcntl(lock, F_OFD_SETLK, &all), 0);
	m = load_text(text);
	cr_assert_eq(hg_cpu_module_create(m, &cm), HG_OK);
	for (size_t i = 0; i < KERNELS; i++) {
		cr_assert_eq(hg_cpu_kernel_get(cm, i, &k[i]), HG_OK);
		cr_assert_eq(hg_cpu_kernel_tier(k[i]), 1);
	}
	cr_assert_eq(compiler_threads(), cpus < MOST ? cpus : MOST);
	close(lock);
	for (size_t i = 0; i < KERNELS; i++) {
		hg_cpu_kernel_wait(k[i]);
		cr_assert_eq(hg_cpu_kernel_tier(k[i]), 2);
	}
	hg_cpu_module_destroy(cm);
	hg_module_free(m);
}

/* Modules that go while their kernels wait for their turn, from several threads at once. */
static void *come_and_go(void *unused)
{
	(void)unused;
	for (int i = 0; i < 10; i++) {
		struct hg_module *m;
		struct hg_cpu_module *cm;
		struct hg_cpu_kernel *k;

		if (hg_module_load(kernel, 0, 121, NULL, 0, &m) || hg_cpu_module_create(m, &cm) || hg_cpu_kernel_get(cm, 0, &k))
			return NULL;
		hg_cpu_module_destroy(cm);
		hg_module_free(m);
	}
	return dir;
}

Test(cache, modules_go_while_their_kernels_are_optimised)
{
	pthread_t thread[3];
	void *ok;

	setenv("HGSHIM_CACHE", "0", 1);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, come_and_go, NULL), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(pthread_join(thread[i], &ok), 0);
		cr_assert(ok);
	}
}
