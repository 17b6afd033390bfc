/* progress.c - a progress bar, and what the command-line tools share. */
#include "tools/progress.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/msg.h"

#define DRAW_INTERVAL_NS 50000000u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void hg_progress_start(struct hg_progress *p, const char *what, enum hg_progress_unit unit, uint64_t total,
		       bool quiet)
{
	memset(p, 0, sizeof(*p));
	p->what = what;
	p->total = total;
	p->bytes = unit == HG_PROGRESS_BYTES;
	p->shown = !quiet && isatty(STDERR_FILENO);
	p->started_ns = now_ns();
	hg_progress_update(p, 0);
}

static void amount(const struct hg_progress *p, uint64_t n, char text[24])
{
	if (p->bytes)
		hg_text_bytes(n, text);
	else
		snprintf(text, 24, "%llu", (unsigned long long)n);
}

static int terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
		return size.ws_col;
	return 80;
}

static void draw(struct hg_progress *p, uint64_t done)
{
	char line[512], bar[64], done_text[24], total_text[24];
	int columns = terminal_columns(), room, len;
	double part;

	amount(p, done, done_text);
	if (!p->total) {
		len = snprintf(line, sizeof(line), "\r%s: %s\033[K", p->what, done_text);
	} else {
		if (done > p->total)
			done = p->total;
		part = (double)done / (double)p->total;
		amount(p, p->total, total_text);
		room = columns - (int)strlen(p->what) - (int)strlen(done_text) - (int)strlen(total_text) - 14;
		if (room > 40)
			room = 40;
		if (room < 0)
			room = 0;
		for (int i = 0; i < room; i++)
			bar[i] = i < (int)(part * room) ? '#' : '.';
		bar[room] = '\0';
		len = snprintf(line, sizeof(line), "\r%s [%s] %3d%% %s/%s\033[K", p->what, bar, (int)(part * 100),
			       done_text, total_text);
	}
	if (len > (int)sizeof(line) - 1)
		len = sizeof(line) - 1;
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		p->shown = false;
}

void hg_progress_update(struct hg_progress *p, uint64_t done)
{
	uint64_t now;

	if (!p->shown)
		return;
	now = now_ns();
	if (p->drawn_ns && now - p->drawn_ns < DRAW_INTERVAL_NS)
		return;
	p->drawn_ns = now;
	draw(p, done);
}

void hg_progress_total(struct hg_progress *p, uint64_t total)
{
	p->total = total;
}

void hg_progress_end(struct hg_progress *p)
{
	static const char wipe[] = "\r\033[K";

	if (!p->shown)
		return;
	p->shown = false;
	if (write(STDERR_FILENO, wipe, sizeof(wipe) - 1) < 0)
		return;
}

const char *hg_text_bytes(uint64_t bytes, char text[16])
{
	static const char unit[][4] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t u = 0;

	while (value >= 1024 && u + 1 < sizeof(unit) / sizeof(unit[0])) {
		value /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(text, 16, "%llu B", (unsigned long long)bytes);
	else
		snprintf(text, 16, "%.1f %s", value, unit[u]);
	return text;
}

const char *hg_text_ns(uint64_t ns, char text[16])
{
	if (ns < 1000)
		snprintf(text, 16, "%llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		snprintf(text, 16, "%.1f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(text, 16, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(text, 16, "%.2f s", (double)ns / 1e9);
	return text;
}

bool hg_text_number(const char *text, uint64_t *out)
{
	unsigned long long value;
	char *end;

	/* strtoull takes signs and blanks; a number here begins with a digit */
	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10);
	if (errno || *end)
		return false;
	*out = value;
	return true;
}

int hg_usage_error(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pr_err("%s (try --help)", text);
	return 2;
}

bool hg_stdout_finish(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	pr_err("cannot write the output: %s", strerror(errno));
	return false;
}
