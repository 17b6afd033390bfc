/* ledger.h - the objects an application holds: which serial id has a handle or an address. */
#ifndef HG_INTERCEPT_LEDGER_H
#define HG_INTERCEPT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logdb/call.h"

struct hg_kernel_info;

/*
 * Any thread may call anything. Look-ups take no lock. Handles and addresses are used again by drivers, ids
 * are not; an entry goes before the call that destroys its object, and comes back if that call fails.
 * Entries are never unmapped, so one read while its object is destroyed by another thread is stale, not lost.
 */
struct hg_entry {
	uint64_t id, handle;
	uint64_t parent;		/* id: of the context; of a function, the module or library */
	uint64_t size;			/* of memory */
	enum hg_kind kind;		/* an object's, HG_KIND_DPTR or HG_KIND_HPTR */
	uint32_t retained;		/* contexts: times the primary one was retained */
	uint32_t made_by;		/* enum hg_call_id of the call that made it */
	const struct hg_kernel_info *kernel;	/* functions: once asked for */
	struct hg_entry *next_free;
};

/* NULL when the handle names no object of that kind. */
struct hg_entry *hg_ledger_find(enum hg_kind kind, uint64_t handle);

/* Adds a copy of *e, in place of what was there. False, with a message once: out of memory. */
bool hg_ledger_add(const struct hg_entry *e);
/* Removes; false when it was not there. */
bool hg_ledger_take(enum hg_kind kind, uint64_t handle, struct hg_entry *out);
/* Removes everything that has this parent, and what has those as parents. Costs nothing where there can be none. */
void hg_ledger_drop_children(const struct hg_entry *parent);

/* Stops at, and returns, the first result that is not 0. Changes wait meanwhile. */
int hg_ledger_each(int (*each)(const struct hg_entry *e, void *arg), void *arg);
size_t hg_ledger_count(enum hg_kind kind);
/* With the gate closed: what functions' parameters are is asked again; what knew them is going. */
void hg_ledger_forget_kernels(void);

/* True once an entry was lost for want of memory: what is in the ledger is then not everything. */
bool hg_ledger_is_incomplete(void);

#endif
