/*
 * criterion.h - the part of Criterion that the unit tests use, for programs that Criterion's own library cannot run
 * in: ThreadSanitizer leaves it no room for its arena. Each test runs in a forked process.
 */
#ifndef MINI_CRITERION_H
#define MINI_CRITERION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct mini_options {
	void (*init)(void);
	void (*fini)(void);
	double timeout;
	int signal;
	int exit_code;
	bool disabled;
};

struct mini_test {
	const char *name;
	void (*run)(void);
	struct mini_options options;
	struct mini_test *next;
};

struct mini_test *mini_tests __attribute__((weak));
int mini_failed __attribute__((weak));

#define Test(suite, name, ...)                                                                     \
	static void suite##_##name##_run(void);                                                    \
	__attribute__((constructor)) static void suite##_##name##_add(void)                        \
	{                                                                                          \
		static struct mini_test test = { #suite "." #name, suite##_##name##_run, { __VA_ARGS__ }, NULL }; \
                                                                                                   \
		test.next = mini_tests;                                                            \
		mini_tests = &test;                                                                \
	}                                                                                          \
	static void suite##_##name##_run(void)

#define MINI_CHECK(condition, text, stop)                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, text);                  \
			mini_failed = 1;                                                           \
			if (stop)                                                                  \
				exit(1);                                                           \
		}                                                                                  \
	} while (0)

#define cr_assert(c, ...) MINI_CHECK(c, #c, 1)
#define cr_expect(c, ...) MINI_CHECK(c, #c, 0)
#define cr_assert_not(c, ...) MINI_CHECK(!(c), "not " #c, 1)
#define cr_expect_not(c, ...) MINI_CHECK(!(c), "not " #c, 0)
#define cr_assert_eq(a, b, ...) MINI_CHECK((a) == (b), #a " == " #b, 1)
#define cr_expect_eq(a, b, ...) MINI_CHECK((a) == (b), #a " == " #b, 0)
#define cr_assert_neq(a, b, ...) MINI_CHECK((a) != (b), #a " != " #b, 1)
#define cr_expect_neq(a, b, ...) MINI_CHECK((a) != (b), #a " != " #b, 0)
#define cr_assert_leq(a, b, ...) MINI_CHECK((a) <= (b), #a " <= " #b, 1)
#define cr_expect_leq(a, b, ...) MINI_CHECK((a) <= (b), #a " <= " #b, 0)
#define cr_assert_lt(a, b, ...) MINI_CHECK((a) < (b), #a " < " #b, 1)
#define cr_expect_lt(a, b, ...) MINI_CHECK((a) < (b), #a " < " #b, 0)
#define cr_assert_geq(a, b, ...) MINI_CHECK((a) >= (b), #a " >= " #b, 1)
#define cr_expect_geq(a, b, ...) MINI_CHECK((a) >= (b), #a " >= " #b, 0)
#define cr_assert_gt(a, b, ...) MINI_CHECK((a) > (b), #a " > " #b, 1)
#define cr_expect_gt(a, b, ...) MINI_CHECK((a) > (b), #a " > " #b, 0)
#define cr_assert_null(a, ...) MINI_CHECK(!(a), #a " is NULL", 1)
#define cr_expect_null(a, ...) MINI_CHECK(!(a), #a " is NULL", 0)
#define cr_assert_not_null(a, ...) MINI_CHECK(a, #a " is not NULL", 1)
#define cr_expect_not_null(a, ...) MINI_CHECK(a, #a " is not NULL", 0)
#define cr_assert_str_eq(a, b, ...) MINI_CHECK(!strcmp(a, b), #a " is " #b, 1)
#define cr_expect_str_eq(a, b, ...) MINI_CHECK(!strcmp(a, b), #a " is " #b, 0)
#define cr_assert_str_neq(a, b, ...) MINI_CHECK(strcmp(a, b), #a " is not " #b, 1)
#define cr_expect_str_neq(a, b, ...) MINI_CHECK(strcmp(a, b), #a " is not " #b, 0)
#define cr_assert_arr_eq(a, b, n, ...) MINI_CHECK(!memcmp(a, b, n), #a " is " #b, 1)
#define cr_expect_arr_eq(a, b, n, ...) MINI_CHECK(!memcmp(a, b, n), #a " is " #b, 0)
#define cr_assert_fail(...) MINI_CHECK(0, "fail", 1)
#define cr_expect_fail(...) MINI_CHECK(0, "fail", 0)
#define cr_skip_test(...) exit(77)

/* argv[1]: only the tests whose name contains it. */
__attribute__((weak)) int main(int argc, char **argv)
{
	int nr_failed = 0, nr_run = 0;

	for (struct mini_test *t = mini_tests; t; t = t->next) {
		int status;
		pid_t pid;

		if ((argc > 1 && !strstr(t->name, argv[1])) || t->options.disabled)
			continue;
		fflush(NULL);
		pid = fork();
		if (!pid) {
			if (t->options.init)
				t->options.init();
			t->run();
			if (t->options.fini)
				t->options.fini();
			exit(mini_failed);
		}
		nr_run++;
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 1;
		if (t->options.signal ? !WIFSIGNALED(status) || WTERMSIG(status) != t->options.signal :
					!WIFEXITED(status) || (WEXITSTATUS(status) != t->options.exit_code &&
							       WEXITSTATUS(status) != 77)) {
			printf("not ok %s: status %#x\n", t->name, (unsigned int)status);
			nr_failed++;
		} else {
			printf("%s %s\n", WIFEXITED(status) && WEXITSTATUS(status) == 77 ? "skip" : "ok", t->name);
		}
	}
	return nr_failed || !nr_run;
}

#endif
