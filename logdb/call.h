/* call.h - the table of recorded calls: ids, descriptors, parsed signatures. */
#ifndef HG_LOGDB_CALL_H
#define HG_LOGDB_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

/* What replay does with a call. Stored in logs (schema): add at the end, never renumber. */
#define HG_OPS(X)                                                                                  \
	X(NONE)		/* no effect on device state; kept for the reader of the log */           \
	X(CTX)		/* creates or retains a context */                                         \
	X(CTX_END)	/* destroys, releases or resets one */                                     \
	X(CTX_CURRENT)	/* moves a thread's current context; the record header carries it */       \
	X(MODULE)	/* loads code: module or library */                                        \
	X(MODULE_END)                                                                              \
	X(FUNCTION)	/* looks a kernel up */                                                    \
	X(GLOBAL)	/* looks a module variable up: no effect */                                \
	X(STREAM)                                                                                  \
	X(STREAM_END)                                                                              \
	X(EVENT)                                                                                   \
	X(EVENT_END)                                                                               \
	X(EVENT_RECORD)                                                                            \
	X(STREAM_WAIT)                                                                             \
	X(ALLOC)	/* device memory */                                                        \
	X(FREE)                                                                                    \
	X(HOST_ALLOC)	/* host memory that the driver owns or maps */                             \
	X(HOST_REGISTER)                                                                           \
	X(HOST_FREE)                                                                               \
	X(H2D)                                                                                     \
	X(D2H)                                                                                     \
	X(D2D)                                                                                     \
	X(FILL)                                                                                    \
	X(LAUNCH)                                                                                  \
	X(HOST_FUNC)	/* a function of the application: replay cannot call it, and says so */    \
	X(SYNC)                                                                                    \
	X(SET)		/* sets an attribute that a rebuilt object needs again */                  \
	X(COPY)		/* a structured copy, any direction; see words.h */

enum hg_op {
#define HG_OP(name) HG_OP_##name,
	HG_OPS(HG_OP)
#undef HG_OP
	HG_OP_COUNT
};

enum hg_call_id {
#define HG_CALL(id, op, sym, params, args, sig) HG_ID_##sym = id,
#include "logdb/calls.def"
	HG_CALL_ID_LIMIT = 512	/* every id is below */
};

enum hg_kind {
	HG_KIND_CTX = 1, HG_KIND_MODULE, HG_KIND_LIBRARY, HG_KIND_FUNCTION, HG_KIND_STREAM,
	HG_KIND_EVENT, HG_KIND_LAST_OBJECT = HG_KIND_EVENT,
	HG_KIND_DPTR, HG_KIND_HPTR, HG_KIND_SIZE, HG_KIND_U32, HG_KIND_I32, HG_KIND_U64,
	HG_KIND_DEV, HG_KIND_CSTR, HG_KIND_BYTES, HG_KIND_IMAGE, HG_KIND_OPAQUE,
};

enum hg_dir { HG_DIR_IN, HG_DIR_OUT, HG_DIR_READ, HG_DIR_DESTROY };	/* none, >, <, - */

#define HG_MAX_ARGS 20

struct hg_arg {
	enum hg_dir dir;
	enum hg_kind kind;
	int len_arg;		/* index of the argument that holds the length, or -1 */
	char name[28];		/* from the row's arguments, truncated */
};

struct hg_call_desc {
	const char *name;	/* ABI symbol, e.g. "cuMemAlloc_v2" */
	const char *args;	/* "(dptr, bytesize)" */
	const char *signature;
	enum hg_op op;
	uint16_t id;
	bool irregular;
};

/* NULL when id is not in the table, as in a log from a newer hgshim. */
const struct hg_call_desc *hg_call_by_id(unsigned int id);
const struct hg_call_desc *hg_call_by_name(const char *name);
const char *hg_op_name(enum hg_op op);	/* "?" when unknown */
const char *hg_kind_name(enum hg_kind kind);

/* Number of arguments (0..HG_MAX_ARGS), or -1 if the signature or the names are malformed. */
int hg_signature_parse(const char *signature, const char *args, struct hg_arg out[HG_MAX_ARGS]);

static inline bool hg_kind_is_object(enum hg_kind k)
{
	return k >= HG_KIND_CTX && k <= HG_KIND_LAST_OBJECT;
}

#endif
