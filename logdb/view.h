/* view.h - rows of the table with their signatures parsed; taking records apart by a given row. */
#ifndef HG_LOGDB_VIEW_H
#define HG_LOGDB_VIEW_H

#include "logdb/record.h"

struct hg_call_row {
	const struct hg_call_desc *desc;
	int nr_args;
	struct hg_arg arg[HG_MAX_ARGS];
};

/* Of this build's table; NULL when the id is not in it. Parsed once. Thread-safe. */
const struct hg_call_row *hg_call_row(unsigned int id);

/* As hg_rec_view, by a row of the log's own schema; row NULL: only the header is checked. */
enum hg_status hg_rec_view_row(const void *data, size_t size, const struct hg_call_row *row,
			       struct hg_rec_view *out) HG_MUST_CHECK;

bool hg_arg_is_blob(const struct hg_arg *a);
/* Bytes that follow a record for a blob word, without padding; SIZE_MAX: no such encoding. */
size_t hg_blob_bytes(uint64_t word);
/* Bytes of the memory that an allocating or registering record made. */
uint64_t hg_rec_memory_size(const struct hg_rec_view *v);
/* A string kept in the record, or NULL. */
const char *hg_rec_cstr(const struct hg_rec_view *v, int arg);

#endif
