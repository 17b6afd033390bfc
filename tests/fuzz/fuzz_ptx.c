/* fuzz_ptx.c - anything as PTX or as hgIR text: no crash, and what is accepted prints and parses to itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/fuzz/text.h"
#include "translate/ir.h"

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
	hg_msg_sink_set(drop, NULL);
	fuzz_text(data, size, round_trip);
	return 0;
}
