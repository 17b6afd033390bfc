/* simt_spirv_read.c - SPIR-V to LLVM bitcode, by llvm-spirv-15 as a child process. */
#define _GNU_SOURCE
#define XXH_INLINE_ALL
#include <errno.h>
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
#include <unistd.h>
#include <xxhash.h>

#include "common/io.h"
#include "tests/drivers/simt/simt_wave.h"

#define MAGIC 0x07230203u
#define MAX_PATH 4096
#define MAX_BITCODE (256u << 20)
#define CHILD_STACK (256u << 10)
#define FORMAT "SPV-IR 1"	/* of what is kept; goes with the options of the reader */

/* ---- the child ---- */

struct child {
	const char *const *argv;
	char *stack;	/* of the reader, before it is one */
	int log;
	int status;	/* as of waitpid */
	int error;	/* of clone or exec */
};

/* Both run in memory that is still the parent's: nothing in them may allocate or take locks. */
static int reader_main(void *arg)
{
	static const char *const environment[] = { "PATH=/usr/bin:/bin", NULL };
	struct child *c = arg;
	struct sigaction was, plain = { .sa_handler = SIG_DFL };
	struct rlimit none = { 0, 0 };
	sigset_t empty;

	/* handlers of the application must not run here */
	for (int i = 1; i < 65; i++)
		if (!sigaction(i, NULL, &was) && was.sa_handler != SIG_IGN && was.sa_handler != SIG_DFL)
			sigaction(i, &plain, NULL);
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	setrlimit(RLIMIT_CORE, &none);
	if (dup2(c->log, 1) >= 0 && dup2(c->log, 2) >= 0) {
		close_range(3, ~0u, 0);
		execvpe(c->argv[0], (char *const *)c->argv, (char *const *)environment);
	}
	c->error = errno;
	_exit(127);
}

static int keeper_main(void *arg)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	struct child *c = arg;
	pid_t pid;

	/* where it is ignored, nobody can be waited for */
	sigaction(SIGCHLD, &plain, NULL);
	pid = clone(reader_main, c->stack, CLONE_VM | CLONE_VFORK | SIGCHLD, c);
	if (pid < 0)
		c->error = errno;
	else
		while (waitpid(pid, &c->status, 0) < 0 && errno == EINTR)
			;
	_exit(0);
}

/*
 * Runs it until it ends. The process may be an application that knows nothing of it: so it is the child of a child that ends without a
 * signal, and that none but those who ask for such children can wait for. (A child that calls exec gets its signal back.)
 */
static enum hg_status run_reader(const char *const *argv, int log, int *status, int *error)
{
	struct child c = { .argv = argv, .log = log };
	char *stack = malloc(2 * CHILD_STACK);
	sigset_t all, before;
	pid_t pid;

	if (!stack)
		return HG_ERR_NOMEM;
	c.stack = stack + CHILD_STACK;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = clone(keeper_main, stack + 2 * CHILD_STACK, CLONE_VM | CLONE_VFORK, &c);
	if (pid < 0)
		c.error = errno;
	else
		while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	free(stack);
	*status = c.status;
	*error = c.error;
	return HG_OK;
}

/* ---- files ---- */

/* malloc'ed; NULL: it is not there, or cannot be read. */
static void *read_file(const char *path, size_t max, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data = NULL;
	struct stat st;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size <= max)
		data = malloc((size_t)st.st_size + 1);
	if (data && !hg_read_all(fd, data, (size_t)st.st_size)) {
		free(data);
		data = NULL;
	}
	close(fd);
	if (data) {
		data[st.st_size] = 0;
		*size = (size_t)st.st_size;
	}
	return data;
}

/* A folder of this user alone. */
static bool find_folder(char *path, size_t size, char *why, size_t why_size)
{
	const char *own = getenv("HGSHIM_SIMT_CACHE"), *tmp = getenv("TMPDIR");
	struct stat st;
	int n;

	if (own && *own)
		n = snprintf(path, size, "%s", own);
	else
		n = snprintf(path, size, "%s/hgshim-simt-spirv-%u", tmp && *tmp ? tmp : "/tmp", (unsigned int)getuid());
	if (n < 0 || (size_t)n >= size) {
		snprintf(why, why_size, "the folder for what the reader of SPIR-V makes has too long a name");
		return false;
	}
	if ((mkdir(path, 0700) && errno != EEXIST) || stat(path, &st)) {
		snprintf(why, why_size, "%s: %s", path, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || st.st_mode & 022) {
		snprintf(why, why_size, "%s: not a folder of this user alone", path);
		return false;
	}
	return true;
}

/* ---- the reader ---- */

/* Why it failed: its first words, or how it ended. */
static enum hg_status explain(const char *reader, const char *log, int status, int error, char *why, size_t why_size)
{
	size_t size;
	char *text;

	if (error) {
		snprintf(why, why_size, "%s, which reads SPIR-V, cannot be run: %s", reader, strerror(error));
		return HG_ERR_UNSUPPORTED;
	}
	text = read_file(log, 1u << 20, &size);
	if (text)
		text[strcspn(text, "\n")] = 0;
	if (text && *text)
		snprintf(why, why_size, "%s does not take it: %s", reader, text);
	else if (WIFSIGNALED(status))
		snprintf(why, why_size, "%s does not take it: ended by signal %d", reader, WTERMSIG(status));
	else
		snprintf(why, why_size, "%s does not take it: ended with %d", reader, WEXITSTATUS(status));
	free(text);
	return HG_ERR_CORRUPT;
}

/* base: a name that nobody else has, where `words` are. */
static enum hg_status convert(const char *reader, const char *base, const char *kept, char *why, size_t why_size)
{
	char out[MAX_PATH + 8], log[MAX_PATH + 8];
	const char *argv[] = { reader, "-r", "--spirv-target-env=SPV-IR", "--spirv-ext=+all", base, "-o", out, NULL };
	int fd, status = 0, error = 0;
	enum hg_status st;

	snprintf(out, sizeof(out), "%s.bc", base);
	snprintf(log, sizeof(log), "%s.log", base);
	fd = open(log, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		snprintf(why, why_size, "%s: %s", log, strerror(errno));
		return HG_ERR_IO;
	}
	st = run_reader(argv, fd, &status, &error);
	close(fd);
	if (st || error || status) {
		enum hg_status reason = explain(reader, log, status, error, why, why_size);

		if (!st)
			st = reason;
	} else if (rename(out, kept)) {
		snprintf(why, why_size, "%s: %s", kept, strerror(errno));
		st = HG_ERR_IO;
	}
	unlink(log);
	if (st)
		unlink(out);
	return st;
}

enum hg_status simt_spirv_read(const void *words, size_t size, void **bitcode, size_t *bitcode_size, char *why, size_t why_size)
{
	const char *reader = getenv("HGSHIM_LLVM_SPIRV");
	char folder[MAX_PATH - 64], kept[MAX_PATH], base[MAX_PATH];
	XXH128_hash_t hash;
	uint32_t magic = 0;
	enum hg_status st;
	int fd;

	if (size >= 20 && size % 4 == 0)
		memcpy(&magic, words, 4);
	if (magic != MAGIC) {
		snprintf(why, why_size, "%zu bytes that are no SPIR-V module", size);
		return HG_ERR_CORRUPT;
	}
	if (!reader || !*reader)
		reader = "llvm-spirv-15";
	if (!find_folder(folder, sizeof(folder), why, why_size))
		return HG_ERR_IO;
	hash = XXH3_128bits_withSeed(words, size, XXH3_64bits(reader, strlen(reader)) ^ XXH3_64bits(FORMAT, sizeof(FORMAT)));
	snprintf(kept, sizeof(kept), "%s/%016llx%016llx.bc", folder, (unsigned long long)hash.high64, (unsigned long long)hash.low64);
	*bitcode = read_file(kept, MAX_BITCODE, bitcode_size);
	if (*bitcode)
		return HG_OK;
	snprintf(base, sizeof(base), "%s/new.XXXXXX", folder);
	fd = mkostemp(base, O_CLOEXEC);
	if (fd < 0) {
		snprintf(why, why_size, "%s: %s", base, strerror(errno));
		return HG_ERR_IO;
	}
	st = hg_write_all(fd, words, size) ? HG_OK : HG_ERR_IO;
	if (st)
		snprintf(why, why_size, "%s: %s", base, strerror(errno));
	close(fd);
	if (!st)
		st = convert(reader, base, kept, why, why_size);
	unlink(base);
	if (st)
		return st;
	*bitcode = read_file(kept, MAX_BITCODE, bitcode_size);
	if (*bitcode)
		return HG_OK;
	snprintf(why, why_size, "%s: cannot be read", kept);
	return HG_ERR_IO;
}
