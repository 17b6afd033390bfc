/* thread.c - threads of a double's devices, chance and time, and its knobs. */
#define _GNU_SOURCE
#include "tests/drivers/common/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"

bool fake_thread_start(void *(*main)(void *), void *arg)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t block, before;
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	sigfillset(&block);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&block, own[i]);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &block, &before);
	err = pthread_create(&thread, &attr, main, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return !err;
}

uint64_t fake_random_seed(uint64_t number)
{
	return number * 0x9e3779b97f4a7c15u | 1;
}

void fake_rest(uint64_t *random, unsigned int most_us)
{
	struct timespec t = { 0, 0 };
	uint64_t r = *random;

	if (!most_us)
		return;
	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	*random = r;
	if (r & 7)
		return;
	t.tv_nsec = (long)((r >> 8) % most_us) * 1000;
	nanosleep(&t, NULL);
}

uint64_t fake_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fake_rest_until(uint64_t ns)
{
	uint64_t now = fake_now_ns();
	struct timespec t;

	if (now >= ns)
		return;
	t = (struct timespec){ (time_t)((ns - now) / 1000000000), (long)((ns - now) % 1000000000) };
	while (nanosleep(&t, &t))
		;
}

uint64_t fake_knob(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	uint64_t v;

	if (!text || !*text)
		return otherwise;
	v = strtoull(text, &end, 0);
	if (*end) {
		pr_err("'%s=%s' is not a number: taken as %llu", name, text, (unsigned long long)otherwise);
		return otherwise;
	}
	return v;
}

int fake_knob_pattern(const char *name)
{
	const char *text = getenv(name);

	return text && !strcmp(text, "off") ? -1 : (int)(fake_knob(name, 0xcd) & 0xff);
}
