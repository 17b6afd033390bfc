/* hgshim-ckpt.c - takes a checkpoint of a running program, or moves it to another target. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"
#include "common/status.h"
#include "logdb/control.h"
#include "replay/target.h"
#include "tools/progress.h"

#define DEFAULT_TIMEOUT_S 60
#define EXIT_REFUSED 1
#define EXIT_USAGE 2
#define EXIT_UNAVAILABLE 4

/* Nothing heard for so long, beyond the request's own time: the process is stuck, or lies. */
#define SILENCE_MS 60000

static struct {
	bool quiet, json, allow_partial;
	uint32_t timeout_ms;
	const char *migrate;		/* target, or NULL */
	pid_t pid;
} opt = { .timeout_ms = DEFAULT_TIMEOUT_S * 1000u };

static char failure[1024];
static bool is_silent;

/* The one message of a refusal; always gives the exit code for it. */
__attribute__((format(printf, 1, 2))) static int refuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(failure, sizeof(failure), fmt, ap);
	va_end(ap);
	if (!is_silent)
		pr_err("%s", failure);
	return EXIT_REFUSED;
}

/* ---- the process ---- */

struct mapping {
	uint64_t start, end, dev_major, dev_minor, inode;
	bool shared, deleted;
	char path[PATH_MAX];
};

#define MAX_CONTROLS 8
#define MAX_DRIVERS 8

/* A library that is called as the CUDA driver is, and is not hgshim. */
struct driver {
	uint64_t dev_major, dev_minor, inode;
	char path[PATH_MAX];
};

struct process {
	pid_t pid, parent;
	uint32_t inner_pid;		/* in its own pid namespace */
	char state;
	struct mapping control[MAX_CONTROLS];	/* files of that name; one of them is ours */
	size_t nr_controls;
	bool has_shim;
	struct driver driver[MAX_DRIVERS];
	size_t nr_drivers;		/* may be more than fit: then only the first are known */
	char nvidia_file[64];		/* "": none */
};

static bool parse_mapping(const char *line, struct mapping *m)
{
	static const char deleted[] = " (deleted)";
	char perm[8];
	int at = 0;
	size_t len;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %" SCNx64 ":%" SCNx64 " %" SCNu64 " %n", &m->start, &m->end, perm,
		   &m->dev_major, &m->dev_minor, &m->inode, &at) < 6 || !at)
		return false;
	m->shared = strchr(perm, 's');
	snprintf(m->path, sizeof(m->path), "%s", line + at);
	len = strcspn(m->path, "\n");
	m->path[len] = 0;
	m->deleted = len >= sizeof(deleted) && !strcmp(m->path + len - sizeof(deleted) + 1, deleted);
	if (m->deleted)
		m->path[len - sizeof(deleted) + 1] = 0;
	return true;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_mapping_of(const struct mapping *m, const struct stat *st)
{
	return st->st_ino == m->inode && major(st->st_dev) == m->dev_major && minor(st->st_dev) == m->dev_minor;
}

/*
 * Opens what a process has mapped. map_files reaches deleted files and other mount namespaces, but needs a
 * privilege that the path does not need.
 */
static int open_mapping(pid_t pid, const struct mapping *m, int flags)
{
	char path[PATH_MAX + 64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)pid, m->start, m->end);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%d/root%s", (int)pid, m->path);
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0) {
		struct stat st;

		/* overlay file systems show another device number in /proc/PID/maps: the inode must do there */
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (is_mapping_of(m, &st) || st.st_ino == m->inode))
			return fd;
		close(fd);
		errno = ENOENT;
	}
	return -1;
}

/* hgshim under another name (installed as libcuda.so.1) names its engine. */
static bool is_hgshim(pid_t pid, const struct mapping *m)
{
	static const char mark[] = "libhgshim-engine.so";
	struct stat st;
	bool found = false;
	void *data;
	int fd;

	if (!strcmp(base_name(m->path), "libhgshim.so"))
		return true;
	fd = open_mapping(pid, m, O_RDONLY);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size < 16 << 20) {
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data != MAP_FAILED) {
			found = memmem(data, (size_t)st.st_size, mark, sizeof(mark));
			munmap(data, (size_t)st.st_size);
		}
	}
	close(fd);
	return found;
}

static bool is_driver(const char *path)
{
	return !strncmp(base_name(path), "libcuda.so", strlen("libcuda.so"));
}

static int cannot_look(pid_t pid, int err)
{
	if (err == ENOENT || err == ESRCH)
		return refuse("there is no process %d", (int)pid);
	if (err == EACCES || err == EPERM)
		return refuse("cannot look into process %d: it belongs to someone else (%s)", (int)pid, strerror(err));
	return refuse("cannot look into process %d: %s", (int)pid, strerror(err));
}

/* Of numbers with blanks between them: a line of pids has the innermost namespace's last. */
static uint32_t last_number(const char *text)
{
	uint32_t n = 0;
	char *end;

	for (;; text = end) {
		unsigned long next = strtoul(text, &end, 10);

		if (end == text)
			return n;
		n = (uint32_t)next;
	}
}

static int read_status(struct process *p)
{
	char path[64], line[1024];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)p->pid);
	f = fopen(path, "re");
	if (!f)
		return cannot_look(p->pid, errno);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "State:", 6)) {
			sscanf(line + 6, " %c", &p->state);
		} else if (!strncmp(line, "PPid:", 5)) {
			p->parent = (pid_t)strtol(line + 5, NULL, 10);
		} else if (!strncmp(line, "NSpid:", 6)) {
			p->inner_pid = last_number(line + 6);
		}
	}
	fclose(f);
	if (p->state == 'Z' || p->state == 'X')
		return refuse("process %d has ended", (int)p->pid);
	return 0;
}

/* A descriptor of NVIDIA's device files means that someone in the process talks to its driver. */
static void find_nvidia_file(struct process *p)
{
	char path[64], link[PATH_MAX];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
	dir = opendir(path);
	if (!dir)
		return;
	for (d = readdir(dir); d; d = readdir(dir)) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = 0;
		if (!strncmp(link, "/dev/nvidia", strlen("/dev/nvidia")))
			snprintf(p->nvidia_file, sizeof(p->nvidia_file), "%.*s", (int)sizeof(p->nvidia_file) - 1, link);
	}
	closedir(dir);
}

static void add_driver(struct process *p, const struct mapping *m)
{
	struct driver *d;

	/* one file has several mappings, one behind the other */
	for (size_t i = 0; i < p->nr_drivers && i < MAX_DRIVERS; i++)
		if (!strcmp(p->driver[i].path, m->path) && p->driver[i].inode == m->inode)
			return;
	if (p->nr_drivers++ >= MAX_DRIVERS)
		return;
	d = &p->driver[p->nr_drivers - 1];
	d->dev_major = m->dev_major;
	d->dev_minor = m->dev_minor;
	d->inode = m->inode;
	snprintf(d->path, sizeof(d->path), "%s", m->path);
}

/* What the process has mapped that matters here. */
static int look_into(struct process *p)
{
	static struct mapping m;
	char path[64], *line = NULL;
	size_t capacity = 0;
	FILE *f;
	int rc;

	rc = read_status(p);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)p->pid);
	f = fopen(path, "re");
	if (!f)
		return cannot_look(p->pid, errno);
	errno = 0;
	while (getline(&line, &capacity, f) >= 0) {
		if (!parse_mapping(line, &m) || m.path[0] != '/')
			continue;
		if (m.shared && !strcmp(base_name(m.path), "control") && m.end - m.start == 4096 &&
		    p->nr_controls < MAX_CONTROLS)
			p->control[p->nr_controls++] = m;
		if (!strcmp(base_name(m.path), "libhgshim.so"))
			p->has_shim = true;
		else if (is_driver(m.path)) {
			if (is_hgshim(p->pid, &m))
				p->has_shim = true;
			else
				add_driver(p, &m);
		}
	}
	rc = ferror(f) ? cannot_look(p->pid, errno) : 0;
	free(line);
	fclose(f);
	if (!rc)
		find_nvidia_file(p);
	return rc;
}

/* A child that has called exec is a program of its own. */
static bool is_same_program(pid_t a, pid_t b)
{
	struct stat sa, sb;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)a);
	if (stat(path, &sa) != 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)b);
	return stat(path, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static int refuse_unrecorded(const struct process *p)
{
	static struct process parent;

	parent.pid = p->parent;
	if (!p->has_shim && (p->nr_drivers || p->nvidia_file[0]))
		return refuse("process %d uses CUDA without hgshim ('%s'): start it with LD_PRELOAD=libhgshim.so", (int)p->pid,
			      p->nr_drivers ? p->driver[0].path : p->nvidia_file);
	if (!p->has_shim)
		return refuse("process %d does not have hgshim: start it with LD_PRELOAD=libhgshim.so", (int)p->pid);
	/* whether the parent may be looked into is not the question */
	is_silent = true;
	if (p->parent > 0)
		(void)look_into(&parent);
	is_silent = false;
	if (parent.has_shim && parent.nr_controls && is_same_program(p->pid, p->parent))
		return refuse("process %d is a forked child of process %d, which is recorded: CUDA does not work in such a child, and only the parent can be checkpointed",
			      (int)p->pid, (int)p->parent);
	return refuse("process %d is not recorded: it has made no CUDA call yet, or its log could not be made (it said so)",
		      (int)p->pid);
}

/*
 * Is it the driver that hgshim says it opened? By its path, or where that leads to; the process's word, so it is only
 * looked up, and only what is called as a driver is. Its mappings alone say what the process uses.
 */
static bool is_named(const struct process *p, const struct driver *d, const char *named)
{
	char path[PATH_MAX];
	struct stat st;

	if (named[0] != '/' || !is_driver(named))
		return false;
	if (!strcmp(named, d->path))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/root%s", (int)p->pid, named);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == d->inode && major(st.st_dev) == d->dev_major &&
	       minor(st.st_dev) == d->dev_minor;
}

/* `named` is the driver that hgshim opened; "": none. What is opened besides it is not recorded. */
static int refuse_other_driver(const struct process *p, const char *executor, const char *named)
{
	for (size_t i = 0; i < p->nr_drivers; i++) {
		if (i >= MAX_DRIVERS)
			return refuse("process %d has loaded %zu CUDA drivers", (int)p->pid, p->nr_drivers);
		if (!is_named(p, &p->driver[i], named))
			return refuse("process %d has also loaded '%s', a CUDA driver that hgshim does not record", (int)p->pid,
				      p->driver[i].path);
	}
	/* that driver's own, which it keeps also after the process has left it */
	if (p->nvidia_file[0] && !named[0] && strcmp(executor, "cuda") != 0)
		return refuse("process %d has also opened '%s', past hgshim", (int)p->pid, p->nvidia_file);
	return 0;
}

/*
 * The thread that waits for requests, in the numbers of our own pid namespace: by its number in the process's own. A thread
 * that did not wait for the signal would die of it, and the process too; so it must also have hgshim's name
 * and every signal blocked. (While it waits, the kernel shows the one that it waits for as not blocked.)
 */
static int find_thread(const struct process *p, uint32_t inner_tid, pid_t *out)
{
	const uint64_t awaited = UINT64_C(1) << (SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET - 1);
	/* those that cannot be blocked, and the two that the C library keeps to itself */
	const uint64_t never = UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1) | UINT64_C(3) << 31;
	char path[320], line[1024];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	dir = opendir(path);
	if (!dir)
		return cannot_look(p->pid, errno);
	*out = 0;
	for (d = readdir(dir); d && !*out; d = readdir(dir)) {
		uint32_t inner = 0;
		uint64_t blocked = 0;
		bool ours = false;
		FILE *f;

		if (!isdigit((unsigned char)d->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)p->pid, d->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		while (fgets(line, sizeof(line), f)) {
			if (!strncmp(line, "Name:\thgshim", 12)) {
				ours = true;
			} else if (!strncmp(line, "SigBlk:", 7)) {
				blocked = strtoull(line + 7, NULL, 16);
			} else if (!strncmp(line, "NSpid:", 6)) {
				inner = last_number(line + 6);
			}
		}
		fclose(f);
		if (inner == inner_tid && ours && (blocked | awaited | never) == UINT64_MAX)
			*out = (pid_t)strtol(d->d_name, NULL, 10);
	}
	closedir(dir);
	if (!*out)
		return refuse("process %d has no thread of hgshim that takes checkpoints: its log is damaged, or it is ending", (int)p->pid);
	return 0;
}

/* ---- the control page ---- */

/* Written by the other process at any time, with anything: each field is read once and never trusted. */
#define READ(c, field) (*(volatile __typeof__((c)->field) *)&(c)->field)

static _Atomic uint32_t *word_of(uint32_t *field)
{
	return (_Atomic uint32_t *)field;
}

/* The file may be cut short under the mapping. */
static void on_bus_error(int signo)
{
	static const char text[] = "hgshim-ckpt: the control page went away while it was used\n";

	(void)signo;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_REFUSED);
	_exit(EXIT_REFUSED);
}

/* Is it the page of a hgshim? NULL: no, with the reason said unless it is merely a file of the same name. */
static struct hg_control *map_page(const struct process *p, const struct mapping *m)
{
	struct hg_control *c;
	struct stat st;
	int fd;

	fd = open_mapping(p->pid, m, O_RDWR);
	if (fd < 0) {
		if (m->deleted)
			refuse("the log directory of process %d was removed ('%s')", (int)p->pid, m->path);
		else
			refuse("cannot open '%s' of process %d: %s", m->path, (int)p->pid, strerror(errno));
		return NULL;
	}
	c = MAP_FAILED;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(*c))
		c = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (c != MAP_FAILED && READ(c, magic) == HG_CONTROL_MAGIC)
		return c;
	if (c != MAP_FAILED)
		munmap(c, 4096);
	refuse("'%s' of process %d is not a control page of hgshim", m->path, (int)p->pid);
	return NULL;
}

static int map_control(const struct process *p, struct hg_control **out, const char **path)
{
	struct sigaction sa = { .sa_handler = on_bus_error };
	struct hg_control *c = NULL;

	sigaction(SIGBUS, &sa, NULL);
	for (size_t i = 0; i < p->nr_controls && !c; i++) {
		/* the reason why none is ours is the last one's */
		is_silent = i + 1 < p->nr_controls;
		c = map_page(p, &p->control[i]);
		*path = p->control[i].path;
	}
	is_silent = false;
	if (!c)
		return EXIT_REFUSED;
	if (READ(c, version) != HG_CONTROL_VERSION)
		return refuse("process %d runs another version of hgshim: its control page is of version %u, not %u", (int)p->pid,
			      READ(c, version), HG_CONTROL_VERSION);
	if (READ(c, pid) != p->inner_pid)
		return refuse("process %d holds the log of another process (%u): it is a forked child, or the log is not its own",
			      (int)p->pid, READ(c, pid));
	*out = c;
	return 0;
}

static void futex_wait(uint32_t *word, uint32_t value, uint32_t ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

static bool is_gone(int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	return poll(&pfd, 1, 0) > 0;
}

/* One request at a time: `lock` holds our pid, unless its holder is dead. */
static int take_lock(struct hg_control *c, uint64_t end)
{
	uint32_t mine = (uint32_t)getpid();

	for (;;) {
		uint32_t holder = 0;

		if (atomic_compare_exchange_strong(word_of(&c->lock), &holder, mine))
			return 0;
		if (holder > INT32_MAX || (kill((pid_t)holder, 0) < 0 && errno == ESRCH)) {
			if (atomic_compare_exchange_strong(word_of(&c->lock), &holder, mine))
				return 0;
			continue;
		}
		if (now_ms() >= end)
			return refuse("another hgshim-ckpt (process %u) is busy with process %d", holder, (int)opt.pid);
		futex_wait(&c->lock, holder, 50);
	}
}

static const char *const state_text[] = {
	[HG_CONTROL_IDLE] = "waiting",
	[HG_CONTROL_QUIESCING] = "stopping",
	[HG_CONTROL_COPYING] = "copying",
	[HG_CONTROL_COMMITTING] = "writing",
	[HG_CONTROL_MIGRATING] = "moving",
};

/* A text on the page, up to its NUL or `size` - 1 bytes; made fit for a terminal. */
static void read_text(const char *text, char *out, size_t size)
{
	size_t i;

	for (i = 0; i < size - 1; i++) {
		char ch = *(volatile const char *)&text[i];

		if (!ch)
			break;
		out[i] = (unsigned char)ch < 0x20 || ch == 0x7f ? '?' : ch;
	}
	out[i] = 0;
}

static char process_state(void)
{
	char path[64], text[512], *paren, state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)opt.pid);
	f = fopen(path, "re");
	if (!f)
		return 'X';
	/* the name, in parentheses, may hold anything */
	if (fgets(text, sizeof(text), f)) {
		paren = strrchr(text, ')');
		if (paren && paren[1])
			state = paren[2];
	}
	fclose(f);
	return state;
}

/*
 * Takes a request back that was not begun. Lost when the process begins it at the same moment; then
 * it takes a snapshot that nobody waits for.
 */
static void withdraw(struct hg_control *c, uint32_t request)
{
	if (READ(c, state) == HG_CONTROL_IDLE)
		atomic_compare_exchange_strong(word_of(&c->request), &request, request - 1);
}

/* Waits for reply == request. */
static int wait_reply(struct hg_control *c, uint32_t request, int pidfd)
{
	struct hg_progress bar = { 0 };
	uint32_t shown = HG_CONTROL_IDLE, last_progress = READ(c, progress);
	uint64_t heard = now_ms();
	int rc = 0;

	while (READ(c, reply) != request) {
		uint32_t state = READ(c, state), progress = READ(c, progress);
		uint64_t done = READ(c, done), total = READ(c, total), now = now_ms();

		if (is_gone(pidfd)) {
			hg_progress_end(&bar);
			return refuse("process %d ended during the checkpoint; its earlier snapshots are whole", (int)opt.pid);
		}
		if (progress != last_progress) {
			last_progress = progress;
			heard = now;
		}
		if (state == HG_CONTROL_IDLE && now - heard > opt.timeout_ms) {
			char s = process_state();

			withdraw(c, request);
			hg_progress_end(&bar);
			if (s == 'T' || s == 't')
				return refuse("process %d is stopped and did not answer within %u ms", (int)opt.pid, opt.timeout_ms);
			return refuse("process %d did not answer within %u ms", (int)opt.pid, opt.timeout_ms);
		}
		if (now - heard > (uint64_t)opt.timeout_ms + SILENCE_MS) {
			hg_progress_end(&bar);
			return refuse("process %d began a checkpoint and makes no progress", (int)opt.pid);
		}
		if (state <= HG_CONTROL_MIGRATING && state != shown) {
			heard = now;
			shown = state;
			hg_progress_end(&bar);
			hg_progress_start(&bar, state_text[state], HG_PROGRESS_BYTES, total, opt.quiet || opt.json);
		}
		hg_progress_total(&bar, total);
		hg_progress_update(&bar, done < total ? done : total);
		futex_wait(&c->progress, progress, 20);
	}
	hg_progress_end(&bar);
	return rc;
}

/* What the process answered, read once. */
struct answer {
	uint32_t status;
	uint64_t snapshot, bytes, bytes_written, stall_ns;
	char message[sizeof(((struct hg_control *)0)->message)];
	char executor[sizeof(((struct hg_control *)0)->executor)];
};

static int request_checkpoint(const struct process *p, struct hg_control *c, pid_t tid, int pidfd, struct answer *out)
{
	uint32_t request;
	int rc;

	/* of a hgshim-ckpt that was killed: the process may still be at it */
	if (READ(c, request) != READ(c, reply)) {
		rc = wait_reply(c, READ(c, request), pidfd);
		if (rc)
			return rc;
	}
	c->timeout_ms = opt.timeout_ms;
	c->flags = (opt.allow_partial ? HG_CONTROL_ALLOW_PARTIAL : 0) | (opt.migrate ? HG_CONTROL_MIGRATE : 0);
	memset(c->target, 0, sizeof(c->target));
	if (opt.migrate)
		snprintf(c->target, sizeof(c->target), "%s", opt.migrate);
	request = READ(c, request) + 1;
	atomic_store(word_of(&c->request), request);
	syscall(SYS_futex, &c->request, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	if (syscall(SYS_tgkill, p->pid, tid, SIGRTMIN + HG_CONTROL_SIGNAL_OFFSET) < 0) {
		int err = errno;

		withdraw(c, request);
		return refuse("cannot signal process %d: %s", (int)p->pid, strerror(err));
	}
	rc = wait_reply(c, request, pidfd);
	if (rc)
		return rc;
	out->status = READ(c, status);
	out->snapshot = READ(c, snapshot);
	out->bytes = READ(c, bytes);
	out->bytes_written = READ(c, bytes_written);
	out->stall_ns = READ(c, stall_ns);
	read_text(c->message, out->message, sizeof(out->message));
	read_text(c->executor, out->executor, sizeof(out->executor));
	return 0;
}

/* What the process's answer means for the command. */
static int judge(const struct answer *a)
{
	const char *why = a->message[0] ? a->message : hg_status_text((enum hg_status)a->status);

	if (a->status != HG_OK && opt.migrate) {
		refuse("cannot move process %d to target '%s': %s", (int)opt.pid, opt.migrate, why);
		return a->status == HG_ERR_UNAVAILABLE ? EXIT_UNAVAILABLE : EXIT_REFUSED;
	}
	if (a->status != HG_OK)
		return refuse("cannot checkpoint process %d: %s", (int)opt.pid, why);
	/* one that does not know the request takes a snapshot and stays where it is */
	if (opt.migrate && strcmp(a->executor, opt.migrate) != 0)
		return refuse("process %d took snapshot %" PRIu64 " and still runs on '%s': its hgshim is of another version",
			      (int)opt.pid, a->snapshot, a->executor);
	return 0;
}

static int checkpoint(struct answer *out, char log[PATH_MAX])
{
	static struct process p;
	const char *path = NULL;
	struct hg_control *c = NULL;
	char executor[sizeof(c->executor)], named[sizeof(c->driver)];
	pid_t tid;
	int rc, pidfd;

	p.pid = opt.pid;
	rc = look_into(&p);
	if (rc)
		return rc;
	if (!p.nr_controls)
		return refuse_unrecorded(&p);
	rc = map_control(&p, &c, &path);
	if (rc)
		return rc;
	read_text(c->executor, executor, sizeof(executor));
	read_text(c->driver, named, sizeof(named));
	rc = refuse_other_driver(&p, executor, named);
	if (rc)
		return rc;
	if (opt.migrate && !strcmp(executor, opt.migrate))
		return refuse("process %d runs on target '%s' already", (int)p.pid, executor);
	rc = find_thread(&p, READ(c, tid), &tid);
	if (rc)
		return rc;
	pidfd = (int)syscall(SYS_pidfd_open, p.pid, 0);
	if (pidfd < 0)
		return cannot_look(p.pid, errno);
	rc = take_lock(c, now_ms() + opt.timeout_ms);
	if (rc)
		goto out;
	rc = request_checkpoint(&p, c, tid, pidfd, out);
	atomic_store(word_of(&c->lock), 0);
	syscall(SYS_futex, &c->lock, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	if (!rc)
		rc = judge(out);
	snprintf(log, PATH_MAX, "%.*s", (int)(base_name(path) - 1 - path), path);
out:
	close(pidfd);
	return rc;
}

/* ---- the command ---- */

static void print_json(int rc, const struct answer *a, const char *log)
{
	json_t *o = rc ? json_pack("{s:b, s:i, s:s%}", "ok", 0, "pid", (int)opt.pid, "error", failure, strlen(failure)) :
			 json_pack("{s:b, s:i, s:I, s:I, s:I, s:f, s:s}", "ok", 1, "pid", (int)opt.pid, "snapshot",
				   (json_int_t)a->snapshot, "bytes", (json_int_t)a->bytes, "bytes_written",
				   (json_int_t)a->bytes_written, "stall_ms", (double)a->stall_ns / 1e6, "log", log);
	char *text = NULL;

	if (o && (!opt.migrate || !json_object_set_new(o, "target", json_string(opt.migrate))))
		text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(6));
	if (text)
		puts(text);
	else
		pr_err("cannot write the result as JSON");
	free(text);
	json_decref(o);
}

static void print_text(const struct answer *a)
{
	char bytes[16], written[16], stall[16];

	printf("snapshot %" PRIu64 ": %s (%s written), program stopped for %s", a->snapshot, hg_text_bytes(a->bytes, bytes),
	       hg_text_bytes(a->bytes_written, written), hg_text_ns(a->stall_ns, stall));
	if (opt.migrate)
		printf(", now on target '%s'", opt.migrate);
	putchar('\n');
}

static void help(void)
{
	printf("usage: hgshim-ckpt [--timeout S] [--allow-partial] [--migrate TARGET] [--quiet] [--json] PID\n"
	       "Takes a checkpoint of a program that runs with LD_PRELOAD=libhgshim.so; the program runs on.\n"
	       "\n"
	       "  --timeout S       give up, and let the program run on, when it cannot be stopped in S seconds (60)\n"
	       "  --allow-partial   take the snapshot even where it lacks something, and mark it\n"
	       "  --migrate TARGET  move the running program to another target (%s), after a snapshot\n"
	       "  --quiet           no progress bar, no output but errors\n"
	       "  --json            the result as one JSON object\n"
	       "\n"
	       "Exit status: 0 the snapshot is durable, and the program on the target; 1 refused, and the program runs on as it\n"
	       "did; 2 wrong usage; 4 the target is not available.\n",
	       hg_target_list);
}

static bool parse_seconds(const char *text, uint32_t *ms)
{
	char *end;
	double s;

	errno = 0;
	s = strtod(text, &end);
	if (end == text || *end || errno || !(s > 0) || s > 1e6)
		return false;
	*ms = (uint32_t)(s * 1000);
	if (!*ms)
		*ms = 1;
	return true;
}

/* -1: a target of this version. */
static int check_target(const char *name)
{
	if (hg_target_is_named(name))
		return -1;
	if (!hg_target_is_planned(name))
		return hg_usage_error("'%s' is not a target; a process can be moved to: %s", name, hg_target_list);
	refuse("cannot migrate to '%s': a process can be moved to: %s", name, hg_target_list);
	return EXIT_UNAVAILABLE;
}

enum { OPT_TIMEOUT = 256, OPT_PARTIAL, OPT_MIGRATE, OPT_QUIET, OPT_JSON, OPT_HELP };

static int next_option(int argc, char **argv)
{
	static const struct option options[] = {
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "allow-partial", no_argument, NULL, OPT_PARTIAL },
		{ "migrate", required_argument, NULL, OPT_MIGRATE },
		{ "quiet", no_argument, NULL, OPT_QUIET },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};

	return getopt_long(argc, argv, "+:", options, NULL);
}

/* -1: go on. */
static int parse_args(int argc, char **argv)
{
	uint64_t pid;
	int o;

	opterr = 0;
	for (o = next_option(argc, argv); o != -1; o = next_option(argc, argv)) {
		switch (o) {
		case OPT_TIMEOUT:
			if (!parse_seconds(optarg, &opt.timeout_ms))
				return hg_usage_error("'%s' is not a number of seconds", optarg);
			break;
		case OPT_PARTIAL:
			opt.allow_partial = true;
			break;
		case OPT_MIGRATE:
			opt.migrate = optarg;
			break;
		case OPT_QUIET:
			opt.quiet = true;
			break;
		case OPT_JSON:
			opt.json = true;
			break;
		case OPT_HELP:
			help();
			return hg_stdout_finish() ? 0 : EXIT_REFUSED;
		case ':':
			return hg_usage_error("'%s' needs a value", argv[optind - 1]);
		default:
			return hg_usage_error("unknown option '%s'", argv[optind - 1]);
		}
	}
	if (opt.migrate && opt.allow_partial)
		return hg_usage_error("--allow-partial does not go with --migrate: what a snapshot lacks, the program would lack");
	if (optind + 1 != argc)
		return hg_usage_error(optind == argc ? "which process? give its pid" : "one pid at a time");
	if (!hg_text_number(argv[optind], &pid) || pid == 0 || pid > INT32_MAX)
		return hg_usage_error("'%s' is not a pid", argv[optind]);
	opt.pid = (pid_t)pid;
	if (opt.migrate)
		return check_target(opt.migrate);
	return -1;
}

int main(int argc, char **argv)
{
	struct answer a = { 0 };
	char log[PATH_MAX] = "";
	int rc;

	hg_msg_prefix("hgshim-ckpt");
	rc = parse_args(argc, argv);
	if (rc >= 0 && rc != EXIT_UNAVAILABLE)
		return rc;
	if (rc < 0)
		rc = checkpoint(&a, log);
	if (opt.json)
		print_json(rc, &a, log);
	else if (!rc && !opt.quiet)
		print_text(&a);
	/* the snapshot is there, but who asked may not have been told */
	if (!hg_stdout_finish() && !rc)
		rc = EXIT_REFUSED;
	return rc;
}
