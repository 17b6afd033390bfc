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
/* The same about any assertion: "assertion 'i < n' failed in a.cu:12, thread (1,0,0)", cut to fit. */
void hg_print_assertion_text(char *out, size_t size, const char *what, const char *file, uint32_t line, const uint32_t thread[3]);

/*
 * Prints what a GPU's kernels left in a print area (translate/gpu_abi.h): `size` bytes of records, which are believed in nothing. They
 * must not change meanwhile. False, with a warning: one is not as it must be, it and what follows is dropped. *asserted: one of
 * them was an assertion's. Any thread.
 */
bool hg_print_records(const void *records, size_t size, bool *asserted);
/* An assertion of which there is no record. */
void hg_print_assertion_of(const char *what, const char *file, uint32_t line, const char *function, const uint32_t block[3],
			   const uint32_t thread[3]);

/*
 * Writes what is there to the program's stdout (assertions: to its stderr), whole messages in the order in which they came. The
 * driver calls it where CUDA documents that printf's buffer is written: where the program has waited. Any thread.
 */
void hg_print_flush(void);
/* Bytes that are kept, CU_LIMIT_PRINTF_FIFO_SIZE; when there are more, the oldest messages go. */
void hg_print_limit(size_t bytes);
size_t hg_print_get_limit(void);
/* false: what kernels print is dropped: who replays a log does not speak for the program. */
void hg_print_enable(bool on);

#endif
