/* fake_test.h - what the tests of the Level Zero driver for tests share: the real loader with that driver, as a program has it. */
#ifndef TESTS_UNIT_FAKEZE_FAKE_TEST_H
#define TESTS_UNIT_FAKEZE_FAKE_TEST_H

#include <criterion/criterion.h>
#include <level_zero/ze_api.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/drivers/common/control.h"

/* The loader's functions, by dlsym; extensions as the driver gives them. */
struct ze_api {
#define ZE_CALL(table, member, name, params, args) ze_result_t (*name) params;
#include "tests/drivers/ze/calls.def"
};
extern struct ze_api ze;

/*
 * Each test is a process of its own, and loads the loader with the knobs it wants: "NAME=value", NULL at the end. Then zeInit, and a driver,
 * its first device and a context.
 */
void load_ze(const char *const *knob);
#define LOAD(...) load_ze((const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })
void start(void);
#define START(...) (LOAD(__VA_ARGS__), start())
extern ze_driver_handle_t driver;
extern ze_device_handle_t device;
extern ze_context_handle_t context;

#define OK(call)                                                                                   \
	do {                                                                                       \
		ze_result_t ok_ = (call);                                                          \
		cr_assert_eq(ok_, ZE_RESULT_SUCCESS, "%s gives 0x%x", #call, (unsigned int)ok_);   \
	} while (0)
#define GIVES(error, call)                                                                         \
	do {                                                                                       \
		ze_result_t is_ = (call);                                                          \
		cr_assert_eq(is_, (error), "%s gives 0x%x, not %s", #call, (unsigned int)is_, #error); \
	} while (0)

const char *temporary(const char *name);	/* a path for a file of this test */

ze_command_list_handle_t immediate_list(void);
ze_command_list_handle_t list(void);		/* that records */
ze_command_queue_handle_t queue(void);
/* Pools of 64, visible to the host, with timestamps. */
ze_event_pool_handle_t pool(void);
ze_event_handle_t event(ze_event_pool_handle_t p, uint32_t index);
uint32_t *host_memory(size_t size);		/* zeros */
void *device_memory(size_t size);
/* Reserved at the hint, mapped, with access. */
void *map(void *hint, size_t size, ze_physical_mem_handle_t *physical);
uint32_t read_u32(const void *device);

/* The kernels of kernels.spvasm: malloc'ed. */
unsigned char *code(size_t *size);
ze_result_t build_module(const void *words, size_t size, ze_module_handle_t *out, char *log, size_t log_size);
ze_module_handle_t module(void);
ze_kernel_handle_t kernel(ze_module_handle_t m, const char *name, uint32_t group);

/* What is written to stderr from now on. */
void catch_messages(void);
bool was_said(const char *part);

#endif
