/* text.h - what fuzzers of PTX and hgIR text share: reading the input, and libFuzzer's mutator. Included once by a fuzzer. */
#ifndef HG_TESTS_FUZZ_TEXT_H
#define HG_TESTS_FUZZ_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "translate/ir.h"
#include "translate/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/* Calls use with what the front end, or the reader of hgIR and the verifier, takes; not at all otherwise. */
static void fuzz_text(const uint8_t *data, size_t size, void (*use)(const struct ir_module *ir))
{
	struct hg_module *m;
	struct ir_module *ir;
	char log[256];

	if (size > 5 && !memcmp(data, "hgir ", 5)) {
		if (ir_parse((const char *)data, size, &ir))
			return;
		if (!ir_verify(ir))
			use(ir);
		ir_module_free(ir);
		return;
	}
	/* Only text: other images are fuzz_fatbin's. */
	if (!size || (data[0] != '.' && data[0] != '/' && data[0] != '\n'))
		return;
	if (hg_module_load(data, size, 120, log, sizeof(log), &m))
		return;
	use(hg_module_ir(m));
	hg_module_free(m);
}

static bool in_word(uint8_t c)
{
	return c > ' ' && !strchr(",;()[]{}+", c);
}

/* The word, or (line) the line, around a random place. */
static void pick(const uint8_t *data, size_t size, bool line, unsigned int random, size_t *from, size_t *to)
{
	*from = *to = random % size;
	while (*from && (line ? data[*from - 1] != '\n' : in_word(data[*from - 1])))
		(*from)--;
	while (*to < size && (line ? data[*to] != '\n' : in_word(data[*to])))
		(*to)++;
}

/* Most changes of bytes are no PTX any more: half of the time a word or a line takes another one's place. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	bool line = seed >> 1 & 1;
	size_t from, to, old_from, old_to, n;
	uint8_t piece[256];

	if (size < 16 || seed & 1)
		return LLVMFuzzerMutate(data, size, max_size);
	pick(data, size, line, seed * 2654435761u >> 3, &from, &to);
	pick(data, size, line, seed * 40503u + 77, &old_from, &old_to);
	n = to - from;
	if (line && seed >> 2 & 1)
		old_to = old_from;	/* put in, not in place of */
	if (n > sizeof(piece) || size - (old_to - old_from) + n > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	memcpy(piece, data + from, n);
	memmove(data + old_from + n, data + old_to, size - old_to);
	memcpy(data + old_from, piece, n);
	return size - (old_to - old_from) + n;
}

#endif
