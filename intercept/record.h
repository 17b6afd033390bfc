/* record.h - writing calls into the log. */
#ifndef HG_INTERCEPT_RECORD_H
#define HG_INTERCEPT_RECORD_H

#include "common/place.h"
#include "intercept/frame.h"
#include "intercept/ledger.h"
#include "logdb/call.h"
#include "logdb/record.h"

/* Once, before the gate opens for the first time. */
void hg_record_init(const struct hg_recorder_config *cfg);

/* A row of calls.def with its signature taken apart. */
struct hg_shape {
	const struct hg_call_desc *desc;
	struct hg_arg arg[HG_MAX_ARGS];
	uint8_t nr_args;
	int8_t destroys;	/* index of the argument marked '-', or -1 */
	int8_t creates;		/* index of the argument that names the new object, or -1 */
	bool wanted;		/* HGSHIM_CALLS keeps such calls */
};
extern struct hg_shape hg_shapes[HG_CALL_ID_LIMIT];

/*
 * A call being recorded: hg_record_before, the call, hg_record_after. A call that destroys something takes its
 * sequence number, and the object out of the ledger, before; all others after.
 */
struct hg_recording {
	const struct hg_shape *shape;	/* NULL: not recorded */
	uint64_t seq;
	struct hg_entry taken;		/* id 0: nothing */
};

void hg_record_before_slow(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word);
static inline void hg_record_before(struct hg_recording *rec, struct hg_frame *f, enum hg_call_id id,
				    const uint64_t *word)
{
	rec->shape = NULL;
	/* inside a destroying call of the same thread: its own record comes first, and only one may be open */
	if (!hg_shim_recorder || f->thread->unfinished)
		return;
	rec->shape = &hg_shapes[id];
	if (rec->shape->destroys >= 0)
		hg_record_before_slow(rec, f, word);
}

/*
 * word: the arguments as passed, one for each word of the signature. image: the code of a `<image` word, NULL
 * for none. vars: the module or library whose variables' places end the record, or NULL.
 */
struct hg_record_more {
	const void *image;
	size_t image_size;
	const void *vars;
};

void hg_record_after(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word, CUresult r);
void hg_record_after_more(struct hg_recording *rec, struct hg_frame *f, const uint64_t *word, CUresult r,
			  const struct hg_record_more *more);

/*
 * The parameters of a function in the ledger, asked for once and kept. name, code: its name, and its module or library,
 * NULL where they are not at hand. NULL: the executor does not know them.
 */
const struct hg_kernel_info *hg_record_kernel(struct hg_entry *e, const char *name, const void *code);

/* Id of the calling thread's current context. */
uint64_t hg_record_ctx(struct hg_frame *f);
/* After a call that may have changed it, in this thread or (ended) in any. */
void hg_record_ctx_changed(struct hg_frame *f, bool ended);

/* The word for a stream argument: NULL becomes 2 for a caller whose default stream is its own. */
uint64_t hg_record_stream(struct hg_frame *f, CUstream stream);

/* How often the device's primary context is retained. */
int hg_record_retained(CUdevice dev);

/* Handles that succeeded in a call and were not in the ledger: what they name is not covered. */
uint64_t hg_record_nr_unknown(void);
void hg_record_unknown(void);

/* Id of the call's stack, 0 when stacks are off. Before a sequence number is taken. */
extern bool hg_record_stacks;
static inline uint32_t hg_record_stack(void)
{
	return __builtin_expect(hg_record_stacks, 0) ? hg_recorder_stack(hg_shim_recorder) : 0;
}

/* Parts of a record, for irregular calls: gathered first, since nothing may be written into an open record. */
#define HG_MAX_PARTS 3
struct hg_parts {
	unsigned int nr;
	size_t bytes;		/* padded */
	struct { const void *data; size_t size; } part[HG_MAX_PARTS];
	struct hg_payload_ref ref;
	uint64_t digest;
	unsigned char key[16];
};

/* Adds `size` bytes that the call read; the descriptor is what the word holds. */
uint64_t hg_parts_captured(struct hg_parts *p, const void *data, size_t size);
/* Adds the digest of `size` bytes that the call wrote. */
uint64_t hg_parts_digest(struct hg_parts *p, const void *data, size_t size);
void hg_parts_raw(struct hg_parts *p, const void *data, size_t size);

/* Takes a sequence number and writes the record. Returns its seq, 0 when it was not recorded. */
uint64_t hg_record_write(struct hg_frame *f, enum hg_call_id id, const uint64_t *word, const struct hg_parts *parts,
			 CUresult r);

/* What the body of an irregular call begins with; the entry `sym` then may use frame.real->sym. */
#define ENTER(frame, sym)                                                                          \
	do {                                                                                       \
		if (!hg_frame_enter(&(frame)))                                                     \
			return hg_shim_not_ready();                                                \
		if (!(frame).real->sym) {                                                          \
			hg_frame_leave(&(frame));                                                  \
			return hg_shim_missing(HG_SYM_##sym);                                      \
		}                                                                                  \
	} while (0)

/* Boxes arguments: pointers, handles and numbers become 64-bit words. */
#define HG_WORD(x) ((uint64_t)(uintptr_t)(x))

#endif
