/* io.h - whole reads and writes of files. */
#ifndef HG_COMMON_IO_H
#define HG_COMMON_IO_H

#include <stdbool.h>
#include <stddef.h>

/*
 * All of it, from where the file stands, whatever interrupts. False: an error, with errno; or the end of the file came first (errno 0), or
 * a device took nothing (ENOSPC). Then a part may have been read or written. Any thread; signal-safe.
 */
bool hg_read_all(int fd, void *to, size_t size);
bool hg_write_all(int fd, const void *from, size_t size);

#endif
