/* ze_api.h - Level Zero's loader, opened when it is needed. Private to target_ze.c and ze_*.c. */
#ifndef HG_REPLAY_ZE_API_H
#define HG_REPLAY_ZE_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <level_zero/ze_api.h>

#include "common/status.h"
#include "replay/vendor_call.h"

enum hg_ze_call {
#define ZE_CALL(operation, since, need, symbol, cuda) HG_ZE_##symbol,
#include "replay/ze_api.def"
	HG_ZE_CALLS
};

/* The loader's functions; an OPTIONAL one may be NULL. */
struct hg_ze {
	char path[VENDOR_PATH];		/* of the loader */
#define ZE_CALL(operation, since, need, symbol, cuda) __typeof__(symbol) *symbol;
#include "replay/ze_api.def"
};
extern struct hg_ze hg_ze;

/*
 * Opens the loader, once in the life of the process; a failure is final. HG_ERR_UNAVAILABLE: there is none, or it lacks what is needed,
 * and *why (lives for ever, NULL when it is there) says what was looked for and where. Says nothing itself. Any thread.
 */
enum hg_status hg_ze_load(const char **why) HG_MUST_CHECK;

/* After zeInit: from the end of the process on, a call that finds Level Zero ended says nothing. */
void hg_ze_began(void);

/* What a result of Level Zero is here; its name: "ZE_RESULT_ERROR_DEVICE_LOST", or "?". */
enum hg_status hg_ze_status(ze_result_t result);
const char *hg_ze_result_name(ze_result_t result);
/*
 * The result of a call, looked at: an error is said, with the call, the words of its arguments, the result's name and number, and what of
 * CUDA it stands for. ZE(zeEventDestroy, event) makes the call and looks. The arguments must have no side effects.
 */
enum hg_status hg_ze_check(enum hg_ze_call call, ze_result_t result, const uint64_t *word, size_t nr) HG_MUST_CHECK;

#define ZE(symbol, ...) hg_ze_check(HG_ZE_##symbol, ZE_RAW(symbol, __VA_ARGS__), VENDOR_ARGS(__VA_ARGS__))
/* The call alone, by a thread that shares the program's descriptors: its result, of which nothing is said. */
#define ZE_RAW(symbol, ...)                                                                                         \
	__extension__({                                                                                             \
		int result_;                                                                                        \
                                                                                                                    \
		if (!vendor_elsewhere((void (*)(void))hg_ze.symbol, VENDOR_ARGS(__VA_ARGS__), &result_))            \
			result_ = (int)hg_ze.symbol(__VA_ARGS__);                                                   \
		(ze_result_t)result_;                                                                               \
	})
/*
 * Where nothing can be done about an error: what was to go is left, and is counted, as Level Zero wants nothing to be destroyed that has
 * something left. True: it went.
 */
#define ZE_END(symbol, ...) hg_ze_ended(ZE(symbol, __VA_ARGS__))
#define ZE_TRY(symbol, ...) ((void)ZE_END(symbol, __VA_ARGS__))
bool hg_ze_ended(enum hg_status st);
uint64_t hg_ze_nr_left(void);

#endif
