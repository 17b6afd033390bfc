/* module.h - modules, as kernels see them. */
#ifndef TESTS_DRIVERS_ZE_MODULE_H
#define TESTS_DRIVERS_ZE_MODULE_H

#include "tests/drivers/ze/spirv.h"
#include "tests/drivers/ze/ze.h"

struct simt_spirv;
struct zd_module {
	struct zd_object obj;		/* its parent is the context */
	struct zd_device *device;
	struct spirv_module *code;
	struct simt_spirv **executor;	/* of each kernel */
};

#endif
