/* device_print.h - what kernels print, and what an assertion of theirs says: kept until the program waits for the device. */
#ifndef HG_REPLAY_DEVICE_PRINT_H
#define HG_REPLAY_DEVICE_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "translate/cpu_abi.h"

/*
 * Helpers of kernel code (translate/cpu_rt.h). They read the kernel's memory, and a bad address in them is the kernel's fault: no
 * lock is held and nothing is owned while they do.
 */
void hg_print_format(uint32_t mask, const uint64_t *format, const uint64_t *args, uint32_t *count);
void hg_print_assert(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t mask, const uint64_t *text,
		     const uint32_t *line);
/* What hg_print_assert said last on this thread: for the message about the fault that it raised. */
const char *hg_print_assertion(void);

/*
 * Writes what is there to the program's stdout (assertions: to its stderr), whole messages in the order in which they came. The
 * driver calls it where CUDA documents that printf's buffer is written: where the program has waited. Any thread.
 */
void hg_print_flush(void);
/* Bytes that are kept, CU_LIMIT_PRINTF_FIFO_SIZE; when there are more, the oldest messages go. */
void hg_print_limit(size_t bytes);
/* false: what kernels print is dropped: who replays a log does not speak for the program. */
void hg_print_enable(bool on);

#endif
