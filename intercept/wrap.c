/* wrap.c - the recorded calls that are regular: each derives from its row in calls.def. */
#include "intercept/record.h"

/* HG_WORDS(a, b, c): the arguments as a list of words, up to 10 of them. */
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define COUNT_(x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, n, ...) n
#define COUNT(...) COUNT_(__VA_ARGS__, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define WORDS_1(x) HG_WORD(x)
#define WORDS_2(x, ...) HG_WORD(x), WORDS_1(__VA_ARGS__)
#define WORDS_3(x, ...) HG_WORD(x), WORDS_2(__VA_ARGS__)
#define WORDS_4(x, ...) HG_WORD(x), WORDS_3(__VA_ARGS__)
#define WORDS_5(x, ...) HG_WORD(x), WORDS_4(__VA_ARGS__)
#define WORDS_6(x, ...) HG_WORD(x), WORDS_5(__VA_ARGS__)
#define WORDS_7(x, ...) HG_WORD(x), WORDS_6(__VA_ARGS__)
#define WORDS_8(x, ...) HG_WORD(x), WORDS_7(__VA_ARGS__)
#define WORDS_9(x, ...) HG_WORD(x), WORDS_8(__VA_ARGS__)
#define WORDS_10(x, ...) HG_WORD(x), WORDS_9(__VA_ARGS__)
#define HG_WORDS(...) __VA_OPT__(CAT(WORDS_, COUNT(__VA_ARGS__))(__VA_ARGS__))

#define HG_CALL_X(...)	/* in irregular.c and image.c */
#define HG_CALL(id_, op, sym, params, args, sig)                                                   \
	CUresult sym params                                                                        \
	{                                                                                          \
		const uint64_t word_[] = { HG_WORDS args };                                        \
		struct hg_recording recording_;                                                    \
		struct hg_frame frame_;                                                            \
		CUresult result_;                                                                  \
                                                                                                   \
		if (!hg_frame_enter(&frame_))                                                      \
			return hg_shim_not_ready();                                                \
		if (!frame_.real->sym) {                                                           \
			hg_frame_leave(&frame_);                                                   \
			return hg_shim_missing(HG_SYM_##sym);                                      \
		}                                                                                  \
		hg_record_before(&recording_, &frame_, HG_ID_##sym, word_);                        \
		result_ = frame_.real->sym args;                                                   \
		hg_record_after(&recording_, &frame_, word_, result_);                             \
		hg_frame_leave(&frame_);                                                           \
		return result_;                                                                    \
	}
#include "logdb/calls.def"
