/* fuzz_log.c - records, blocks, objects, signatures and rings, without the checksums that keep random bytes away. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "logdb/logdb_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static FILE *nowhere;

static void silent(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)line;
	(void)arg;
}

/* A copy of exactly the bytes, so that the sanitizer sees a read behind them. */
static void *exact(const uint8_t *data, size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		abort();
	if (size)
		memcpy(p, data, size);
	return p;
}

static void touch(const struct hg_rec_view *v, struct hg_track *t)
{
	for (int i = 0; i < v->nr_args; i++) {
		const char *s = hg_rec_cstr(v, i);

		/* a string handed out must end within the record */
		if (s && s + strlen(s) >= (const char *)v->rec + v->rec->size)
			abort();
	}
	hg_rec_print(v, nowhere);
	(void)!hg_track_apply(t, v);
}

static enum hg_status touch_record(const struct hg_rec_view *v, void *arg)
{
	touch(v, arg);
	return HG_OK;
}

static void encode_all(struct hg_track *t)
{
	for (size_t i = 0; i < t->nr_obj; i++) {
		struct hg_track again = { 0 };
		void *data;
		size_t size;

		if (hg_tracked_encode(t->obj[i], &data, &size))
			continue;
		/* what was decoded or made by a record can be stored and read again */
		if (t->obj[i]->parent < t->obj[i]->id && hg_track_decode(&again, t->obj[i]->id, data, size))
			abort();
		hg_track_release(&again);
		free(data);
	}
}

static void fuzz_record(const uint8_t *data, size_t size)
{
	struct hg_track t = { 0 };
	struct hg_rec_view v;
	void *copy = exact(data, size);

	if (!hg_rec_view(copy, size, &v)) {
		touch(&v, &t);
		touch(&v, &t);
		encode_all(&t);
	}
	hg_track_release(&t);
	free(copy);
}

static void fuzz_block(const uint8_t *data, size_t size)
{
	static struct hg_log log;
	struct hg_track t = { 0 };
	struct hg_block *b;
	MDB_val v;

	if (size < sizeof(*b))
		return;
	b = exact(data, size);
	b->magic = HG_BLOCK_MAGIC;
	b->bytes = (uint32_t)(size - sizeof(*b));
	b->checksum = hg_hash64(b + 1, size - sizeof(*b));
	v.mv_size = size;
	v.mv_data = b;
	(void)!hg_log_block(&log, b->last_seq & 0xffff, &v, 0, UINT64_MAX, touch_record, &t);
	encode_all(&t);
	hg_track_release(&t);
	free(b);
}

static void fuzz_object(const uint8_t *data, size_t size)
{
	struct hg_track t = { 0 };
	void *copy = exact(data, size);
	uint64_t id = 0;

	/* an object says when it was born, which is its id: let that pass */
	if (size >= 40)
		memcpy(&id, data + 32, sizeof(id));
	if (!hg_track_decode(&t, id, copy, size))
		encode_all(&t);
	hg_track_release(&t);
	free(copy);
}

static void fuzz_signature(const uint8_t *data, size_t size)
{
	struct hg_arg arg[HG_MAX_ARGS];
	char *text = malloc(size + 1), *args;
	int n;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	args = strchr(text, '(');
	if (args) {
		char *signature = strndup(text, (size_t)(args - text));

		n = hg_signature_parse(signature, args, arg);
		for (int i = 0; i < n; i++)
			if (arg[i].len_arg >= n || !strcmp(hg_kind_name(arg[i].kind), "?") ||
			    !memchr(arg[i].name, '\0', sizeof(arg[i].name)))
				abort();
		free(signature);
	}
	free(text);
}

static void fuzz_lane(const uint8_t *data, size_t size)
{
	size_t bytes = hg_ring_bytes(1, HG_RING_LANE_BYTES_MIN);
	struct hg_ring *r = aligned_alloc(128, (bytes + 127) & ~(size_t)127);
	uint64_t pos, head;
	bool damaged;

	if (!r)
		abort();
	memset(r, 0, bytes);
	hg_ring_init(r, 1, HG_RING_LANE_BYTES_MIN, 1);
	if (!hg_ring_is_valid(r, bytes) || size < 16)
		goto out;
	memcpy(&pos, data, 8);
	memcpy(&head, data + 8, 8);
	pos &= ~UINT64_C(7);
	size -= 16;
	memcpy((unsigned char *)r + r->lanes_at, data + 16, size < r->lane_bytes ? size : r->lane_bytes);
	for (;;) {
		const struct hg_rec *rec = hg_ring_next(r, 0, &pos, head, &damaged);

		if (!rec)
			break;
		if ((const unsigned char *)rec + rec->size > hg_ring_lane(r, 1) ||
		    sizeof(*rec) + 8 * (size_t)rec->nr_words > rec->size)
			abort();
	}
out:
	free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const part[])(const uint8_t *data, size_t size) = {
		fuzz_record, fuzz_block, fuzz_object, fuzz_signature, fuzz_lane,
	};

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	if (!nowhere || !size)
		return 0;
	hg_msg_sink_set(silent, NULL);
	part[data[0] % (sizeof(part) / sizeof(part[0]))](data + 1, size - 1);
	return 0;
}
