/*
 * criterion.h - the part of Criterion that these tests use, in one process image.
 *
 * ThreadSanitizer cannot run Criterion's test processes (they are started at fixed addresses). Where it is on, the
 * unit tests are compiled against this file instead: each test in a forked child, results as TAP.
 */
#ifndef TESTS_UNIT_PLAIN_CRITERION_H
#define TESTS_UNIT_PLAIN_CRITERION_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
	const char *suite, *name;
	void (*run)(void);
	void (*init)(void), (*fini)(void);
	double timeout;
	int signal, exit_code;
	bool disabled;
	const char *description;
	struct plain_test *next;
};

/* One list for all files of a program. */
__attribute__((weak)) struct plain_test *plain_tests;
__attribute__((weak)) int plain_failures;

#define Test(suite_, name_, ...)                                                                   \
	static void suite_##_##name_##_run(void);                                                  \
	static struct plain_test suite_##_##name_##_test;                                          \
	__attribute__((constructor)) static void suite_##_##name_##_add(void)                      \
	{                                                                                          \
		suite_##_##name_##_test =                                                          \
			(struct plain_test){ .suite = #suite_, .name = #name_,                     \
					     .run = suite_##_##name_##_run, ##__VA_ARGS__ };       \
		suite_##_##name_##_test.next = plain_tests;                                        \
		plain_tests = &suite_##_##name_##_test;                                            \
	}                                                                                          \
	static void suite_##_##name_##_run(void)

#define PLAIN_CHECK(fatal, condition, ...)                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			plain_failures++;                                                          \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);    \
			if (fatal)                                                                 \
				_exit(1);                                                          \
		}                                                                                  \
	} while (0)

#define cr_assert(c, ...) PLAIN_CHECK(1, c)
#define cr_assert_not(c, ...) PLAIN_CHECK(1, !(c))
#define cr_assert_eq(a, b, ...) PLAIN_CHECK(1, (a) == (b))
#define cr_assert_neq(a, b, ...) PLAIN_CHECK(1, (a) != (b))
#define cr_assert_lt(a, b, ...) PLAIN_CHECK(1, (a) < (b))
#define cr_assert_leq(a, b, ...) PLAIN_CHECK(1, (a) <= (b))
#define cr_assert_gt(a, b, ...) PLAIN_CHECK(1, (a) > (b))
#define cr_assert_geq(a, b, ...) PLAIN_CHECK(1, (a) >= (b))
#define cr_assert_null(a, ...) PLAIN_CHECK(1, !(a))
#define cr_assert_not_null(a, ...) PLAIN_CHECK(1, (a))
#define cr_assert_str_eq(a, b, ...) PLAIN_CHECK(1, !strcmp(a, b))
#define cr_assert_str_neq(a, b, ...) PLAIN_CHECK(1, strcmp(a, b))
#define cr_assert_arr_eq(a, b, n, ...) PLAIN_CHECK(1, !memcmp(a, b, n))
#define cr_expect(c, ...) PLAIN_CHECK(0, c)
#define cr_expect_not(c, ...) PLAIN_CHECK(0, !(c))
#define cr_expect_eq(a, b, ...) PLAIN_CHECK(0, (a) == (b))
#define cr_expect_neq(a, b, ...) PLAIN_CHECK(0, (a) != (b))
#define cr_expect_lt(a, b, ...) PLAIN_CHECK(0, (a) < (b))
#define cr_expect_leq(a, b, ...) PLAIN_CHECK(0, (a) <= (b))
#define cr_expect_gt(a, b, ...) PLAIN_CHECK(0, (a) > (b))
#define cr_expect_geq(a, b, ...) PLAIN_CHECK(0, (a) >= (b))
#define cr_expect_null(a, ...) PLAIN_CHECK(0, !(a))
#define cr_expect_not_null(a, ...) PLAIN_CHECK(0, (a))
#define cr_expect_str_eq(a, b, ...) PLAIN_CHECK(0, !strcmp(a, b))
#define cr_expect_str_neq(a, b, ...) PLAIN_CHECK(0, strcmp(a, b))
#define cr_expect_str_empty(a, ...) PLAIN_CHECK(0, !*(a))
#define cr_expect_arr_eq(a, b, n, ...) PLAIN_CHECK(0, !memcmp(a, b, n))
#define cr_expect_arr_neq(a, b, n, ...) PLAIN_CHECK(0, memcmp(a, b, n))
#define cr_skip_test(...) _exit(77)
#define cr_skip(...) _exit(77)
#define cr_fatal(...) PLAIN_CHECK(1, !"reached")
#define cr_assert_fail(...) PLAIN_CHECK(1, !"reached")

/* The first test to be compiled brings main; it is the same in each. Options of Criterion are not looked at. */
__attribute__((weak)) int main(void)
{
	int failed = 0;

	for (struct plain_test *t = plain_tests; t; t = t->next) {
		int status = 0;
		pid_t pid;

		if (t->disabled) {
			printf("ok - %s::%s # SKIP disabled\n", t->suite, t->name);
			continue;
		}
		fflush(stdout);
		pid = fork();
		if (!pid) {
			alarm(t->timeout > 0 ? (unsigned int)t->timeout * 10 + 10 : 300);
			if (t->init)
				t->init();
			t->run();
			if (t->fini)
				t->fini();
			exit(plain_failures ? 1 : 0);	/* so that the sanitizer reports at exit */
		}
		waitpid(pid, &status, 0);
		if (t->signal ? WIFSIGNALED(status) && WTERMSIG(status) == t->signal :
				WIFEXITED(status) && WEXITSTATUS(status) == t->exit_code) {
			printf("ok - %s::%s\n", t->suite, t->name);
		} else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			printf("ok - %s::%s # SKIP by itself\n", t->suite, t->name);
		} else {
			failed++;
			printf("not ok - %s::%s %s %d\n", t->suite, t->name,
			       WIFSIGNALED(status) ? "signal" : "exit status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		}
	}
	return failed != 0;
}

#endif
