/* fake_test.h - what the tests of the fake CUDA driver share: the driver loaded as a program does, a context, kernels. */
#ifndef TESTS_UNIT_FAKECUDA_FAKE_TEST_H
#define TESTS_UNIT_FAKECUDA_FAKE_TEST_H

#include <criterion/criterion.h>
#include <stdint.h>

#include "intercept/symbols.h"
#include "tests/drivers/common/control.h"

/* The driver's functions, by dlsym. */
extern struct hg_real cu;
extern void *cu_library;

/* Each test is a process of its own, and loads the driver with the knobs it wants: "NAME=value", NULL at the end. */
void load_driver(const char *const *knob);
#define LOAD(...) load_driver((const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })
/* …and cuInit, and the primary context current. */
CUcontext start(void);
#define START(...) (LOAD(__VA_ARGS__), start())

/* A path for a file of this test. */
const char *temporary(const char *name);

#define OK(call)                                                                                   \
	do {                                                                                       \
		CUresult ok_ = (call);                                                             \
		cr_assert_eq(ok_, CUDA_SUCCESS, "%s gives %d", #call, (int)ok_);                   \
	} while (0)
#define GIVES(error, call)                                                                         \
	do {                                                                                       \
		CUresult is_ = (call);                                                             \
		cr_assert_eq(is_, (error), "%s gives %d, not %s", #call, (int)is_, #error);        \
	} while (0)

/* Something for a stream to wait for. */
struct door {
	_Atomic int is_open, was_reached;
};
void hold_stream(CUstream s, struct door *door);	/* a host function that waits for the door */
void open_door(struct door *door);
void await_door(struct door *door);			/* until the stream stands before it */

/*
 * PTX with: fill(u32 *p, u32 n, u32 v); add(u32 *p, u32 n, u32 v); nothing(); crash(); trap_(); wide(a block of 400 bytes, u32
 * *out): out = its last word; shared_(u32 *out, dynamic): 64 threads reverse their numbers through dynamic shared memory;
 * bump(u32 *out): *out = ++counter; and variables counter (5), hidden (7, not visible), table (const), here (address of hidden).
 */
extern const char test_ptx[];
CUmodule load_module(void);
CUfunction function(CUmodule m, const char *name);
void launch(CUfunction f, unsigned int blocks, unsigned int threads, CUstream s, void **params);
uint32_t read_u32(CUdeviceptr p);

#endif
