/* handles.h - which pointers are handles of a test double. */
#ifndef TESTS_DRIVERS_COMMON_HANDLES_H
#define TESTS_DRIVERS_COMMON_HANDLES_H

#include <stdatomic.h>
#include <stdbool.h>

/* A handle is the address of its object, which begins with this. All functions: any thread. */
struct fake_ctx;
struct fake_obj {
	int kind;				/* the driver's own numbers, from 1 */
	atomic_uint refs;
	struct fake_ctx *ctx;			/* that it ends with, or NULL */
	void (*release)(struct fake_obj *obj);	/* when the last reference is put */
};

/* With one reference, which the handle holds. False: no memory. */
bool fake_handle_add(struct fake_obj *obj);
/* False: it was gone already. The handle's reference stays with the caller. */
bool fake_handle_remove(struct fake_obj *obj);
/* NULL: not such a handle. Lock-free; without a reference: using an object while another thread ends it is an error. */
void *fake_handle(const void *handle, int kind);
/* The kind of a handle; 0: none. */
int fake_handle_kind(const void *handle);
/* Calls `each` for every object that ends with the context; it may remove handles. NULL: for those that end with none. */
void fake_handles_of(struct fake_ctx *ctx, void (*each)(struct fake_obj *obj));

static inline void fake_ref(struct fake_obj *obj)
{
	atomic_fetch_add_explicit(&obj->refs, 1, memory_order_relaxed);
}

static inline void fake_put(struct fake_obj *obj)
{
	if (atomic_fetch_sub_explicit(&obj->refs, 1, memory_order_acq_rel) == 1)
		obj->release(obj);
}

#endif
