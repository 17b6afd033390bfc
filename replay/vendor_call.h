/*
 * vendor_call.h - a vendor's runtime: its functions found, and calls with their arguments as words, for messages, and to be made by another
 * thread. Private to replay/.
 */
#ifndef HG_REPLAY_VENDOR_CALL_H
#define HG_REPLAY_VENDOR_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VENDOR_PATH 512			/* bytes of a file's name */
#define VENDOR_WORDS 12			/* most arguments of a call */

/* A function that is called: a row of the vendor's table. */
struct vendor_function {
	const char *symbol;
	const char *since;		/* the version of the vendor's interface that has it first */
	const char *cuda;		/* what of CUDA it stands for */
	enum { NEEDED, OPTIONAL } need;
	size_t at;			/* of the pointer to it, in the structure that has all of them */
};
/*
 * Looks them up in an open library: `all` is that structure, and gets NULL for an OPTIONAL one that is missing; path is the file that was opened.
 * False: a NEEDED one is missing, and `why` says which. vendor: as people call the interface.
 */
bool vendor_functions(void *library, const char *vendor, const struct vendor_function *function, size_t nr, void *all, char path[VENDOR_PATH],
		      char *why, size_t why_size);
/* Calls load, once for the process, where what it opens is the program's too (hg_target_elsewhere). */
void vendor_load_once(pthread_once_t *once, void (*load)(void));

/*
 * True: the call was made, by a thread that shares the program's descriptors, as a runtime keeps its own among them
 * (hg_target_elsewhere). Arguments are words as they are passed: integers and pointers alone, and so is what it gives, an int.
 */
bool vendor_elsewhere(void (*fn)(void), const uint64_t *word, size_t nr, int *result);
/* The arguments for people: "1, 0x7f0000001000, 64", cut to fit. */
void vendor_args_text(char *out, size_t size, const uint64_t *word, size_t nr);

#define VENDOR_W1(a) (uint64_t)(a)
#define VENDOR_W2(a, ...) (uint64_t)(a), VENDOR_W1(__VA_ARGS__)
#define VENDOR_W3(a, ...) (uint64_t)(a), VENDOR_W2(__VA_ARGS__)
#define VENDOR_W4(a, ...) (uint64_t)(a), VENDOR_W3(__VA_ARGS__)
#define VENDOR_W5(a, ...) (uint64_t)(a), VENDOR_W4(__VA_ARGS__)
#define VENDOR_W6(a, ...) (uint64_t)(a), VENDOR_W5(__VA_ARGS__)
#define VENDOR_W7(a, ...) (uint64_t)(a), VENDOR_W6(__VA_ARGS__)
#define VENDOR_W8(a, ...) (uint64_t)(a), VENDOR_W7(__VA_ARGS__)
#define VENDOR_W9(a, ...) (uint64_t)(a), VENDOR_W8(__VA_ARGS__)
#define VENDOR_W10(a, ...) (uint64_t)(a), VENDOR_W9(__VA_ARGS__)
#define VENDOR_W11(a, ...) (uint64_t)(a), VENDOR_W10(__VA_ARGS__)
#define VENDOR_W12(a, ...) (uint64_t)(a), VENDOR_W11(__VA_ARGS__)
#define VENDOR_NTH(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, n, ...) n
#define VENDOR_LIST(...)                                                                                            \
	VENDOR_NTH(__VA_ARGS__, VENDOR_W12, VENDOR_W11, VENDOR_W10, VENDOR_W9, VENDOR_W8, VENDOR_W7, VENDOR_W6,     \
		   VENDOR_W5, VENDOR_W4, VENDOR_W3, VENDOR_W2, VENDOR_W1, )                                         \
	(__VA_ARGS__)
/* Two arguments of a call: the words, and how many they are. The expressions are evaluated once. */
#define VENDOR_ARGS(...)                                                                                            \
	(const uint64_t[]){ VENDOR_LIST(__VA_ARGS__) }, sizeof((const uint64_t[]){ VENDOR_LIST(__VA_ARGS__) }) / sizeof(uint64_t)

#endif
