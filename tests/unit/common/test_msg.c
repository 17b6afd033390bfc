/* test_msg.c - messages, status texts, fault points. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/msg.h"
#include "common/status.h"

static char caught[4096];
static enum hg_msg_level caught_level;

static void sink(enum hg_msg_level level, const char *line, void *arg)
{
	(void)arg;
	caught_level = level;
	strncpy(caught, line, sizeof(caught) - 1);
}

/* What stderr receives while f runs. */
static void to_stderr(void (*f)(void), char *out, size_t size)
{
	int pipes[2], was = dup(2);
	ssize_t n;

	cr_assert_eq(pipe(pipes), 0);
	dup2(pipes[1], 2);
	f();
	dup2(was, 2);
	close(pipes[1]);
	n = read(pipes[0], out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	close(pipes[0]);
	close(was);
}

static void one_error(void)
{
	errno = EBADF;
	pr_err("cannot open '%s': %m", "x");
	cr_assert_eq(errno, EBADF);
	pr_info("not shown by default");
}

Test(msg, an_error_is_one_line_on_stderr_and_keeps_errno)
{
	char text[512];

	unsetenv("HGSHIM_VERBOSE");
	to_stderr(one_error, text, sizeof(text));
	cr_assert_str_eq(text, "hgshim: error: cannot open 'x': Bad file descriptor\n");
}

static void long_error(void)
{
	static char text[8192];

	memset(text, 'a', sizeof(text) - 1);
	pr_err("%s", text);
}

Test(msg, a_message_that_is_too_long_is_cut_and_still_a_line)
{
	char text[8192];
	size_t len;

	to_stderr(long_error, text, sizeof(text));
	len = strlen(text);
	cr_assert_gt(len, 1000);
	cr_assert_eq(text[len - 1], '\n');
	cr_assert_null(memchr(text, '\n', len - 1));
}

Test(msg, a_sink_takes_the_line_bare)
{
	hg_msg_sink_set(sink, NULL);
	pr_warn("odd '%d'", 7);
	hg_msg_sink_set(NULL, NULL);
	cr_assert_str_eq(caught, "odd '7'");
	cr_assert_eq(caught_level, HG_MSG_WARN);
}

Test(msg, the_level_comes_from_the_environment)
{
	setenv("HGSHIM_VERBOSE", "0", 1);
	cr_assert(hg_msg_shown(HG_MSG_ERR));
	cr_assert(!hg_msg_shown(HG_MSG_WARN));
}

Test(status, every_status_has_a_text_and_an_exit_code)
{
	for (int st = HG_OK; st <= HG_ERR_DIFFERS; st++) {
		cr_assert_not_null(hg_status_text((enum hg_status)st));
		cr_assert_str_neq(hg_status_text((enum hg_status)st), "unknown status");
	}
	cr_assert_str_eq(hg_status_text((enum hg_status)999), "unknown status");
	cr_assert_eq(hg_status_exit_code(HG_OK), 0);
	cr_assert_eq(hg_status_exit_code(HG_ERR_DIFFERS), 1);
	cr_assert_eq(hg_status_exit_code(HG_ERR_CORRUPT), 3);
	cr_assert_eq(hg_status_exit_code(HG_ERR_UNAVAILABLE), 4);
}

Test(fault, points_fail_as_often_as_asked)
{
	setenv("HGSHIM_FAULT", "always,second:2,later:2+", 1);
	for (int i = 1; i <= 4; i++) {
		cr_assert(hg_fault("always"));
		cr_assert_eq(hg_fault("second"), i == 2);
		cr_assert_eq(hg_fault("later"), i >= 2);
		cr_assert(!hg_fault("other"));
	}
}

Test(fault, without_the_variable_nothing_fails)
{
	unsetenv("HGSHIM_FAULT");
	cr_assert(!hg_fault("always"));
	cr_assert(!hg_fault("always"));
}
