/* print_test.h - what kernels print, caught. */
#ifndef HG_TESTS_PRINT_TEST_H
#define HG_TESTS_PRINT_TEST_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "replay/device_print.h"

/* What hg_print_flush writes to a stream; malloc'ed. */
static inline char *flushed(FILE *stream)
{
	int fd = fileno(stream), saved;
	char *text = calloc(1, 65536);
	FILE *f = tmpfile();

	cr_assert(f && text);
	fflush(stream);
	saved = dup(fd);
	dup2(fileno(f), fd);
	hg_print_flush();
	fflush(stream);
	dup2(saved, fd);
	close(saved);
	rewind(f);
	cr_assert(fread(text, 1, 65535, f) < 65535);
	fclose(f);
	return text;
}

#endif
