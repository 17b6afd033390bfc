/* view.c - taking a record apart, and printing it. */
#include "logdb/view.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "common/msg.h"
#include "logdb/ring.h"

static struct hg_call_row table[HG_CALL_ID_LIMIT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void parse_table(void)
{
	for (unsigned int id = 0; id < HG_CALL_ID_LIMIT; id++) {
		const struct hg_call_desc *desc = hg_call_by_id(id);

		if (!desc)
			continue;
		table[id].nr_args = hg_signature_parse(desc->signature, desc->args, table[id].arg);
		if (table[id].nr_args >= 0)
			table[id].desc = desc;
	}
}

const struct hg_call_row *hg_call_row(unsigned int id)
{
	pthread_once(&once, parse_table);
	if (id >= HG_CALL_ID_LIMIT || !table[id].desc)
		return NULL;
	return &table[id];
}

bool hg_arg_is_blob(const struct hg_arg *a)
{
	return a->kind == HG_KIND_CSTR || a->kind == HG_KIND_IMAGE ||
	       (a->kind == HG_KIND_BYTES);
}

size_t hg_blob_bytes(uint64_t word)
{
	switch (hg_blob_enc(word)) {
	case HG_BLOB_INLINE:
		return hg_blob_len(word);
	case HG_BLOB_PAYLOAD:
		return sizeof(struct hg_payload_ref);
	case HG_BLOB_DIGEST:
		return 8;
	case HG_BLOB_IMAGE:
		return 16;
	case HG_BLOB_ABSENT:
		return 0;
	}
	return SIZE_MAX;
}

static enum hg_status corrupt(const struct hg_rec *rec, const char *what)
{
	pr_err("record %" PRIu64 " is damaged: %s", rec->seq, what);
	return HG_ERR_CORRUPT;
}

enum hg_status hg_rec_view_row(const void *data, size_t size, const struct hg_call_row *row,
			       struct hg_rec_view *out)
{
	const struct hg_rec *rec = data;
	size_t left;
	const unsigned char *at;

	if (size < sizeof(*rec)) {
		pr_err("a record is cut short: %zu bytes", size);
		return HG_ERR_CORRUPT;
	}
	if (rec->size < sizeof(*rec) || rec->size > size || rec->size & 7)
		return corrupt(rec, "its size is wrong");
	if (rec->nr_words > (rec->size - sizeof(*rec)) / 8)
		return corrupt(rec, "it has more words than room");

	out->rec = rec;
	out->desc = row ? row->desc : NULL;
	out->nr_args = row ? row->nr_args : 0;
	if (!row)
		return HG_OK;
	if (rec->nr_words != row->nr_args)
		return corrupt(rec, "its number of words is not its call's");
	memcpy(out->arg, row->arg, (size_t)row->nr_args * sizeof(row->arg[0]));

	at = (const unsigned char *)&rec->word[rec->nr_words];
	left = rec->size - sizeof(*rec) - 8 * (size_t)rec->nr_words;
	for (int i = 0; i < row->nr_args; i++) {
		size_t bytes;

		out->blob[i] = NULL;
		if (!hg_arg_is_blob(&row->arg[i]))
			continue;
		bytes = hg_blob_bytes(rec->word[i]);
		if (bytes > left || hg_pad8(bytes) > left)
			return corrupt(rec, "a blob is longer than the record");
		if (bytes)
			out->blob[i] = at;
		/* a string may be handed out as one only if it ends */
		if (row->arg[i].kind == HG_KIND_CSTR && hg_blob_enc(rec->word[i]) == HG_BLOB_INLINE &&
		    bytes && at[bytes - 1])
			return corrupt(rec, "a string has no end");
		at += hg_pad8(bytes);
		left -= hg_pad8(bytes);
	}
	return HG_OK;
}

enum hg_status hg_rec_view(const void *data, size_t size, struct hg_rec_view *out)
{
	const struct hg_rec *rec = data;
	const struct hg_call_row *row = size >= sizeof(*rec) ? hg_call_row(rec->call) : NULL;

	return hg_rec_view_row(data, size, row, out);
}

const char *hg_rec_cstr(const struct hg_rec_view *v, int arg)
{
	if (v->arg[arg].kind != HG_KIND_CSTR || hg_blob_enc(v->rec->word[arg]) != HG_BLOB_INLINE || !v->blob[arg])
		return NULL;
	return v->blob[arg];
}

static void print_str(const char *s, FILE *f)
{
	fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(f, "\\x%02x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

static void print_bytes(const unsigned char *p, size_t size, FILE *f)
{
	for (size_t i = 0; i < size; i++)
		fprintf(f, "%02x", p[i]);
}

static void print_blob(const struct hg_rec_view *v, int i, FILE *f)
{
	uint64_t word = v->rec->word[i];
	const unsigned char *p = v->blob[i];
	uint64_t len = hg_blob_len(word), digest;
	struct hg_payload_ref ref;

	switch (hg_blob_enc(word)) {
	case HG_BLOB_INLINE:
		if (v->arg[i].kind == HG_KIND_CSTR && p) {
			print_str((const char *)p, f);
			return;
		}
		fprintf(f, "<%" PRIu64 " bytes", len);
		if (p) {
			fputs(": ", f);
			print_bytes(p, len < 32 ? (size_t)len : 32, f);
			if (len > 32)
				fputs("...", f);
		}
		fputc('>', f);
		return;
	case HG_BLOB_PAYLOAD:
		memcpy(&ref, p, sizeof(ref));
		fprintf(f, "<%" PRIu64 " bytes, xxh3 %016" PRIx64 ", payload-%u at %" PRIu64 ">", len, ref.digest,
			ref.file, ref.offset);
		return;
	case HG_BLOB_DIGEST:
		memcpy(&digest, p, sizeof(digest));
		fprintf(f, "<%" PRIu64 " bytes, xxh3 %016" PRIx64 ">", len, digest);
		return;
	case HG_BLOB_IMAGE:
		fprintf(f, "<image ");
		print_bytes(p, 16, f);
		fprintf(f, ", %" PRIu64 " bytes>", len);
		return;
	case HG_BLOB_ABSENT:
		fprintf(f, "<%" PRIu64 " bytes, not kept>", len);
		return;
	}
}

static void print_word(const struct hg_rec_view *v, int i, FILE *f)
{
	const struct hg_arg *a = &v->arg[i];
	uint64_t w = v->rec->word[i];

	switch (a->kind) {
	case HG_KIND_CTX: case HG_KIND_MODULE: case HG_KIND_LIBRARY: case HG_KIND_FUNCTION:
	case HG_KIND_STREAM: case HG_KIND_EVENT:
		if (a->dir == HG_DIR_OUT) {
			fprintf(f, "0x%" PRIx64, w);
			/* the new object's id is the record's number */
			if (!v->rec->result && !(v->rec->flags & HG_REC_KNOWN))
				fprintf(f, " -> #%" PRIu64, v->rec->seq);
		} else if (!w) {
			fputs("NULL", f);
		} else if (a->kind == HG_KIND_STREAM && w <= 2) {
			fputs(w == 1 ? "legacy" : "per-thread", f);
		} else {
			fprintf(f, "#%" PRIu64, w);
		}
		return;
	case HG_KIND_DPTR: case HG_KIND_HPTR: case HG_KIND_OPAQUE:
		fprintf(f, "0x%" PRIx64, w);
		return;
	case HG_KIND_I32:
		fprintf(f, "%d", (int32_t)w);
		return;
	case HG_KIND_U64:
		fprintf(f, w > UINT32_MAX ? "0x%" PRIx64 : "%" PRIu64, w);
		return;
	case HG_KIND_SIZE: case HG_KIND_U32: case HG_KIND_DEV:
		fprintf(f, "%" PRIu64, w);
		return;
	case HG_KIND_CSTR: case HG_KIND_BYTES: case HG_KIND_IMAGE:
		print_blob(v, i, f);
		return;
	}
}

void hg_rec_print(const struct hg_rec_view *v, FILE *f)
{
	const struct hg_rec *rec = v->rec;

	fprintf(f, "%" PRIu64 " t%u ", rec->seq, rec->thread);
	if (rec->call == HG_REC_GAP) {
		fprintf(f, "(%" PRIu64 " records were dropped here)",
			rec->nr_words > HG_GAP_COUNT ? rec->word[HG_GAP_COUNT] : 0);
		return;
	}
	if (rec->call == HG_REC_CANCELLED) {
		fputs("(a call that did not come about)", f);
		return;
	}
	if (!v->desc) {
		fprintf(f, "call %u, which this hgshim does not know (", rec->call);
		for (int i = 0; i < rec->nr_words; i++)
			fprintf(f, "%s0x%" PRIx64, i ? ", " : "", rec->word[i]);
		fprintf(f, ") = %d", rec->result);
		return;
	}
	fprintf(f, "%s(", v->desc->name);
	for (int i = 0; i < v->nr_args; i++) {
		fprintf(f, "%s%s=", i ? ", " : "", v->arg[i].name);
		print_word(v, i, f);
	}
	fprintf(f, ") = %d", rec->result);
}

uint64_t hg_rec_memory_size(const struct hg_rec_view *v)
{
	uint64_t pitch = 0, size = 0, rows = 0;
	int nr_in = 0;

	for (int i = 0; i < v->nr_args; i++) {
		if (v->arg[i].kind != HG_KIND_SIZE)
			continue;
		if (v->arg[i].dir == HG_DIR_OUT)
			pitch = v->rec->word[i];
		else if (nr_in++ == 0)
			size = v->rec->word[i];
		else
			rows = v->rec->word[i];
	}
	/* cuMemAllocPitch: the pitch is written by the call, the sizes are width and height */
	return pitch && nr_in == 2 ? pitch * rows : size;
}
