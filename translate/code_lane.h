/* code_lane.h - which lane of a warp it was whose access the hardware stopped, by the instruction that did it. */
#ifndef HG_TRANSLATE_CODE_LANE_H
#define HG_TRANSLATE_CODE_LANE_H

#include "translate/code_lines.h"
#include "translate/jit.h"

/*
 * Code at `at` (lines->text_size bytes), an access of lanes side by side, `stride` bytes from one to the next, at s->pc, of line and
 * column `row`. It consists of some vector accesses, which are found and put in order. The lane's bit, or 0 if it cannot be told.
 */
uint32_t code_lane_find(const struct code_lines *lines, uint64_t at, const struct code_row *row, unsigned int stride,
			const struct hg_cpu_state *s, const char *triple, const char *cpu, const char *features);

#endif
