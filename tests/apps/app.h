/* app.h - what the acceptance programs share: options, holds, comparison and the last line they print. */
#ifndef TESTS_APPS_APP_H
#define TESTS_APPS_APP_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * The programs know nothing of checkpoints. Each one
 *  - does its work in rounds (--rounds N), many launches long, and says how far it is twenty times ("ROUND r");
 *  - rests a while in each round where --pace MICROSECONDS asks for it, as programs do that wait for input;
 *  - prints a line "BUFFER name address bytes" for each device buffer, once they exist;
 *  - where --hold FILE@ROUND asks for it (several times if wished), waits after that round with
 *    nothing in flight: creates FILE and goes on when someone has removed it;
 *  - compares its result with one computed on the CPU in another way, and ends with "PASS <checksum>"
 *    and exit status 0, or with a reason on stderr and exit status 1.
 */
#define APP_MAX_HOLDS 16

static struct {
	int rounds;
	int pace_us;
	int nr_holds;
	struct {
		const char *file;
		int round;
	} hold[APP_MAX_HOLDS];
	const char *image;		/* --image FILE: see ptx_driver.c */
} app;

static inline void app_fail(const char *what)
{
	fflush(stdout);
	fprintf(stderr, "FAIL %s\n", what);
	exit(1);
}

static inline void app_args(int argc, char **argv, int rounds)
{
	app.rounds = rounds;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--rounds") && i + 1 < argc) {
			app.rounds = atoi(argv[++i]);
		} else if (!strcmp(argv[i], "--pace") && i + 1 < argc) {
			app.pace_us = atoi(argv[++i]);
		} else if (!strcmp(argv[i], "--image") && i + 1 < argc) {
			app.image = argv[++i];
		} else if (!strcmp(argv[i], "--hold") && i + 1 < argc && app.nr_holds < APP_MAX_HOLDS) {
			char *at = strrchr(argv[++i], '@');

			app.hold[app.nr_holds].file = argv[i];
			app.hold[app.nr_holds].round = at ? atoi(at + 1) : -1;
			if (at)
				*at = '\0';
			app.nr_holds++;
		} else {
			fprintf(stderr, "usage: %s [--rounds N] [--pace US] [--hold FILE[@ROUND]]...\n", argv[0]);
			exit(2);
		}
	}
	if (app.rounds < 1)
		app.rounds = 1;
	for (int i = 0; i < app.nr_holds; i++)
		if (app.hold[i].round < 0)
			app.hold[i].round = app.rounds / 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static inline void app_buffer(const char *name, const void *device, size_t bytes)
{
	printf("BUFFER %s 0x%llx %zu\n", name, (unsigned long long)(uintptr_t)device, bytes);
}

static inline int app_says_round(int round)
{
	return app.rounds < 20 || round % (app.rounds / 20) == 0;
}

/* Something has to be done before this round, with nothing in flight. Called once in each round. */
static inline int app_stops(int round)
{
	const struct timespec pace = { app.pace_us / 1000000, app.pace_us % 1000000 * 1000l };

	if (app.pace_us)
		nanosleep(&pace, NULL);
	if (app_says_round(round))
		return 1;
	for (int i = 0; i < app.nr_holds; i++)
		if (app.hold[i].round == round)
			return 1;
	return 0;
}

/* The caller has synchronised. */
static inline void app_stop(int round)
{
	const struct timespec tick = { 0, 2000000 };

	if (app_says_round(round))
		printf("ROUND %d\n", round);
	for (int i = 0; i < app.nr_holds; i++) {
		FILE *f;

		if (app.hold[i].round != round)
			continue;
		printf("HELD %d\n", round);
		f = fopen(app.hold[i].file, "w");
		if (!f)
			app_fail("cannot create the hold file");
		fclose(f);
		while (!access(app.hold[i].file, F_OK))
			nanosleep(&tick, NULL);
	}
}

static inline uint32_t app_random(uint32_t *state)
{
	uint32_t x = *state;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

/* Uniform in [-1, 1), exact in float. */
static inline float app_random_float(uint32_t *state)
{
	return (float)((int32_t)(app_random(state) >> 8) - (1 << 23)) / (float)(1 << 23);
}

/* FNV-1a, running: start with 0. */
static inline uint64_t app_sum(uint64_t sum, const void *data, size_t size)
{
	const unsigned char *p = (const unsigned char *)data;

	if (!sum)
		sum = 0xcbf29ce484222325ull;
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ p[i]) * 0x100000001b3ull;
	return sum;
}

static inline int app_pass(uint64_t sum)
{
	printf("PASS %016llx\n", (unsigned long long)sum);
	return 0;
}

#define APP_EQUAL(got, want, i)                                                                    \
	do {                                                                                       \
		if ((got) != (want)) {                                                             \
			fprintf(stderr, "%s:%d: element %zu: got %.9g, want %.9g\n", __FILE__,     \
				__LINE__, (size_t)(i), (double)(got), (double)(want));             \
			app_fail("the result differs from the CPU's");                             \
		}                                                                                  \
	} while (0)

#define APP_NEAR(got, want, tolerance, i)                                                          \
	do {                                                                                       \
		if (!(fabs((double)(got) - (double)(want)) <= (tolerance))) {                      \
			fprintf(stderr, "%s:%d: element %zu: got %.9g, want %.9g +- %g\n",         \
				__FILE__, __LINE__, (size_t)(i), (double)(got), (double)(want),    \
				(double)(tolerance));                                              \
			app_fail("the result differs from the CPU's");                             \
		}                                                                                  \
	} while (0)

#ifdef __CUDACC__
#define CU(call)                                                                                   \
	do {                                                                                       \
		cudaError_t cu_ = (call);                                                          \
		if (cu_ != cudaSuccess) {                                                          \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,              \
				cudaGetErrorString(cu_));                                          \
			app_fail("a CUDA call failed");                                            \
		}                                                                                  \
	} while (0)

#define APP_ROUND(round)                                                                           \
	do {                                                                                       \
		if (app_stops(round)) {                                                            \
			CU(cudaDeviceSynchronize());                                               \
			app_stop(round);                                                           \
		}                                                                                  \
	} while (0)

#define APP_LAUNCHED() CU(cudaGetLastError())
#endif

#endif
