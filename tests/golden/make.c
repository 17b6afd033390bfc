/*
 * make.c - makes the golden log of this version: a small log with something in every table.
 *
 *   cc -I. tests/golden/make.c tests/unit/logdb/helper.c logdb/*.c common/*.c -pthread -lcriterion -o make-golden
 *   ./make-golden tests/golden/v1
 *
 * A golden log is made once, when its version of the format comes into being, and never again: it is what shows
 * that later versions still read it. tests/unit/logdb/test_golden.c says what must be in it.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/logdb/helper.h"

int main(int argc, char **argv)
{
	static unsigned char memory[20000], image[3000], copied[2000];
	struct test_memory m = { .addr = 0x200000000000, .data = memory, .size = sizeof(memory) };
	uint64_t ctx, module, f, a, stream, number, written, words[4];
	struct hg_recorder *r;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (unsigned char)(i * i >> 7);
	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (unsigned char)(i * 3);
	memset(copied, 0x5a, sizeof(copied));
	setenv("HGSHIM_RING", "16384:2", 1);
	r = test_start(argv[1]);

	ctx = test_ctx(r);
	module = test_module(r, ctx, image, sizeof(image));
	f = test_function(r, ctx, module, "_Z6vecaddPKfS0_Pfi");
	test_func_set(r, ctx, f, 8, 98304);
	a = test_alloc(r, ctx, m.addr, m.size);
	test_alloc(r, ctx, m.addr + 0x100000, 4096);
	words[0] = 0x9000;
	words[1] = 1;
	stream = test_record(r, HG_ID_cuStreamCreate, ctx, words, 2);
	test_launch(r, ctx, f, 1);
	if (!stream || test_snapshot(r, &m, a, &number, &written))
		return 1;

	test_free(r, ctx, m.addr + 0x100000);
	memory[0] ^= 1;
	if (test_snapshot(r, &m, a, &number, &written))
		return 1;
	/* the tail behind the last snapshot */
	test_h2d(r, ctx, m.addr, copied, sizeof(copied));
	words[0] = stream;
	test_record(r, HG_ID_cuStreamSynchronize, ctx, words, 1);
	for (uint64_t i = 0; i < 5; i++)
		test_launch(r, ctx, f, i);
	hg_recorder_unsupported(r, "cuGraphCreate");
	hg_recorder_stop(r);
	return 0;
}
