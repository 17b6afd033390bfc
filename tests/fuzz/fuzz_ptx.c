/* fuzz_ptx.c - anything as PTX or as hgIR text: no crash, and what is accepted prints and parses to itself. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/ir.h"
#include "translate/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static void drop(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

static void round_trip(const struct ir_module *ir)
{
	struct ir_module *again;
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return;
	if (ir_verify(ir))
		abort();
	ir_print(ir, f);
	fclose(f);
	if (ir_parse(text, size, &again) || !ir_equal(ir, again))
		abort();
	ir_module_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hg_module *m;
	struct ir_module *ir;
	char log[256];

	hg_msg_sink_set(drop, NULL);
	if (size > 5 && !memcmp(data, "hgir ", 5)) {
		if (ir_parse((const char *)data, size, &ir))
			return 0;
		if (!ir_verify(ir))
			round_trip(ir);
		ir_module_free(ir);
		return 0;
	}
	/* Only text: other images are fuzz_fatbin's. */
	if (!size || (data[0] != '.' && data[0] != '/' && data[0] != '\n'))
		return 0;
	if (hg_module_load(data, size, 120, log, sizeof(log), &m))
		return 0;
	round_trip(hg_module_ir(m));
	hg_module_free(m);
	return 0;
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
