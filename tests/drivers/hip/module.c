/* module.c - code objects in the HIP double: modules, functions, their attributes. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/msg.h"
#include "tests/drivers/hip/hip.h"
#include "tests/drivers/simt/simt_amdgcn.h"

static void module_release(struct fake_obj *obj)
{
	struct hd_module *m = (struct hd_module *)obj;

	for (size_t i = 0; i < m->nr_functions; i++)
		pthread_mutex_destroy(&m->function[i].lock);
	free(m->function);
	co_free(m->code);
	free(m);
}

static void function_release(struct fake_obj *obj)
{
	struct hd_function *f = (struct hd_function *)obj;

	simt_amdgcn_put(f->executor);
	fake_put(&f->module->obj);
}

/* ---- an image ---- */

/* Reads memory whose size only the image itself tells: what is not there is an error, and no signal. */
static bool read_memory(void *dst, const void *src, size_t size)
{
	struct iovec to = { dst, size }, from = { (void *)(uintptr_t)src, size };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)size;
}

static hipError_t read_image(const void *image, struct co_object **out)
{
	unsigned char header[64], *bytes;
	struct co_object *co;
	char why[512];
	uint64_t size;

	if (!read_memory(header, image, sizeof(header)))
		return hd_misuse(hipErrorInvalidImage, "%p: there are no 64 bytes to read", image);
	size = co_claimed_size(header);
	if (!size || size > (uint64_t)1 << 32)
		return hd_misuse(hipErrorInvalidImage, "%p is no ELF file of 64 bits (the double takes no other image)", image);
	bytes = malloc(size);
	if (!bytes)
		return hipErrorOutOfMemory;
	if (!read_memory(bytes, image, size)) {
		free(bytes);
		return hd_misuse(hipErrorInvalidImage, "%p: it says to have %llu bytes, which are not there", image,
				 (unsigned long long)size);
	}
	co = co_read(bytes, size, why, sizeof(why));
	free(bytes);
	if (!co)
		return hd_misuse(hipErrorInvalidImage, "code object: %s", why);
	*out = co;
	return hipSuccess;
}

/* A feature that the object wants on or off must be so on the device. */
static bool suits(int wanted, const char *feature)
{
	const char *has = strstr(hd_config.chip->arch_name, feature);

	return wanted < 0 || (has && (has[strlen(feature)] == '+') == (wanted == 1));
}

static hipError_t check_device(const struct co_object *co)
{
	const struct hd_chip *chip = hd_config.chip;
	const char *name = co->target + strlen("amdgcn-amd-amdhsa--");
	size_t length = strcspn(name, ":");

	if (co->mach != chip->mach)
		return hd_refuse(hipErrorNoBinaryForGpu, "the code object is for machine 0x%x (%s), the device is %s (0x%x)", co->mach,
				 name, chip->arch_name, chip->mach);
	if (length != strlen(chip->arch) || strncmp(name, chip->arch, length))
		return hd_refuse(hipErrorNoBinaryForGpu, "the metadata are for '%s', the header is for %s", co->target, chip->arch);
	if (!suits(co->sramecc, "sramecc") || !suits(co->xnack, "xnack"))
		return hd_refuse(hipErrorNoBinaryForGpu, "the code object is for '%s', the device is %s", name, chip->arch_name);
	for (size_t i = 0; i < co->nr_kernels; i++) {
		const struct co_kernel *k = &co->kernel[i];

		if (k->wave == 32 && !chip->has_wave32)
			return hd_misuse(hipErrorInvalidImage, "kernel '%s' is for waves of 32, which %s has not", k->name, chip->arch);
		if (k->lds_bytes > HD_LDS_BYTES)
			return hd_misuse(hipErrorInvalidImage, "kernel '%s' has %u bytes of LDS; %s has %u", k->name, k->lds_bytes, chip->arch,
					 HD_LDS_BYTES);
	}
	return hipSuccess;
}

/* ---- modules ---- */

static bool add_functions(struct hd_module *m)
{
	m->function = calloc(m->code->nr_kernels + 1, sizeof(*m->function));
	if (!m->function)
		return false;
	for (size_t i = 0; i < m->code->nr_kernels; i++) {
		struct hd_function *f = &m->function[i];

		f->obj.kind = HD_FUNCTION;
		f->obj.release = function_release;
		f->module = m;
		f->kernel = &m->code->kernel[i];
		pthread_mutex_init(&f->lock, NULL);
		m->nr_functions++;
		fake_ref(&m->obj);
		if (!fake_handle_add(&f->obj)) {
			fake_put(&m->obj);
			return false;
		}
	}
	return true;
}

static void unload(struct hd_module *m)
{
	fake_handle_remove(&m->obj);
	for (size_t i = 0; i < m->nr_functions; i++)
		if (fake_handle_remove(&m->function[i].obj))
			fake_put(&m->function[i].obj);
	fake_put(&m->obj);
}

hipError_t hd_hipModuleLoadData(hipModule_t *out, const void *image)
{
	struct co_object *co;
	struct hd_module *m;
	hipError_t r;

	if (!out || !image)
		return hipErrorInvalidValue;
	r = read_image(image, &co);
	if (r != hipSuccess)
		return r;
	r = check_device(co);
	if (r != hipSuccess)
		goto err_code;
	r = hipErrorOutOfMemory;
	m = calloc(1, sizeof(*m));
	if (!m)
		goto err_code;
	m->obj.kind = HD_MODULE;
	m->obj.release = module_release;
	m->device = hd_self.device;
	m->code = co;
	if (!fake_handle_add(&m->obj)) {
		free(m);
		goto err_code;
	}
	if (!add_functions(m)) {
		unload(m);
		return r;
	}
	*out = (hipModule_t)m;
	return hipSuccess;

err_code:
	co_free(co);
	return r;
}

/* Options are for compilers of other code than this. */
hipError_t hd_hipModuleLoadDataEx(hipModule_t *out, const void *image, unsigned int count, hipJitOption *option, void **value)
{
	if (count && (!option || !value))
		return hipErrorInvalidValue;
	return hd_hipModuleLoadData(out, image);
}

static hipError_t module_get(hipModule_t handle, struct hd_module **out)
{
	struct hd_module *m = fake_handle(handle, HD_MODULE);

	if (!m)
		return hd_misuse(hipErrorInvalidResourceHandle, "%p is no module", (void *)handle);
	*out = m;
	return hipSuccess;
}

hipError_t hd_hipModuleUnload(hipModule_t handle)
{
	struct hd_module *m;
	hipError_t r = module_get(handle, &m);

	if (r != hipSuccess)
		return r;
	if (hd_is_used(0, 0, m))
		(void)hd_misuse(hipSuccess, "kernels of the module are queued or run");
	unload(m);
	return hipSuccess;
}

hipError_t hd_hipModuleGetFunction(hipFunction_t *out, hipModule_t handle, const char *name)
{
	struct hd_module *m;
	hipError_t r;

	if (!out || !name)
		return hipErrorInvalidValue;
	r = module_get(handle, &m);
	if (r != hipSuccess)
		return r;
	for (size_t i = 0; i < m->nr_functions; i++)
		if (!strcmp(m->function[i].kernel->name, name)) {
			*out = (hipFunction_t)&m->function[i];
			return hipSuccess;
		}
	return hd_refuse(hipErrorNotFound, "the module has no kernel '%s'", name);
}

/* Kernels are run from their LLVM IR, whose variables are not those of the code object. */
hipError_t hd_hipModuleGetGlobal(hipDeviceptr_t *ptr, size_t *size, hipModule_t handle, const char *name)
{
	struct hd_module *m;
	hipError_t r;

	if ((!ptr && !size) || !name)
		return hipErrorInvalidValue;
	r = module_get(handle, &m);
	if (r != hipSuccess)
		return r;
	for (size_t i = 0; i < m->code->nr_symbols; i++)
		if (!strcmp(m->code->symbol[i].name, name))
			return hd_refuse(hipErrorNotSupported, "the double keeps no variables of modules ('%s')", name);
	return hd_refuse(hipErrorNotFound, "the module has no variable '%s'", name);
}

/* ---- functions ---- */

hipError_t hd_function_get(const void *handle, struct hd_function **out)
{
	struct hd_function *f = fake_handle(handle, HD_FUNCTION);

	if (!f)
		return hd_misuse(hipErrorInvalidResourceHandle, "%p is no function", handle);
	*out = f;
	return hipSuccess;
}

hipError_t hd_hipFuncGetAttribute(int *value, hipFunction_attribute attribute, hipFunction_t handle)
{
	struct hd_function *f;
	hipError_t r;

	if (!value)
		return hipErrorInvalidValue;
	r = hd_function_get(handle, &f);
	if (r != hipSuccess)
		return r;
	switch (attribute) {
	case HIP_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = (int)f->kernel->max_items;
		break;
	case HIP_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
		*value = (int)f->kernel->lds_bytes;
		break;
	case HIP_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		*value = (int)f->kernel->private_bytes;
		break;
	case HIP_FUNC_ATTRIBUTE_NUM_REGS:
		*value = (int)f->kernel->vgprs;
		break;
	case HIP_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = (int)(HD_LDS_BYTES - f->kernel->lds_bytes);
		break;
	case HIP_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
	case HIP_FUNC_ATTRIBUTE_CACHE_MODE_CA:
	case HIP_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
		*value = 0;
		break;
	case HIP_FUNC_ATTRIBUTE_PTX_VERSION:
	case HIP_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = 10 * hd_config.chip->major + hd_config.chip->minor;
		break;
	default:
		return hipErrorInvalidValue;
	}
	return hipSuccess;
}

unsigned int hd_occupancy(const struct hd_function *f, uint64_t items, uint64_t dynamic)
{
	uint64_t waves = (items + f->kernel->wave - 1) / f->kernel->wave;
	uint64_t by_waves = 2048 / (waves * f->kernel->wave), lds = f->kernel->lds_bytes + dynamic;
	uint64_t by_lds = lds ? HD_LDS_BYTES / lds : by_waves;

	return (unsigned int)(by_lds < by_waves ? by_lds : by_waves);
}

hipError_t hd_hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, hipFunction_t handle, int block_size,
								 size_t shared)
{
	struct hd_function *f;
	hipError_t r;

	if (!blocks)
		return hipErrorInvalidValue;
	r = hd_function_get(handle, &f);
	if (r != hipSuccess)
		return r;
	if (block_size <= 0 || (unsigned int)block_size > f->kernel->max_items)
		return hd_misuse(hipErrorInvalidValue, "blocks of %d work-items; kernel '%s' takes %u", block_size, f->kernel->name,
				 f->kernel->max_items);
	*blocks = (int)hd_occupancy(f, (uint64_t)block_size, shared);
	return hipSuccess;
}
