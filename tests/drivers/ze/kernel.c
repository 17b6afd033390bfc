/* kernel.c - kernels: their arguments, and launches from the call to the executor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "tests/drivers/simt/simt_spirv.h"
#include "tests/drivers/ze/module.h"

struct zd_kernel {
	struct zd_object obj;		/* its parent is the module */
	const struct spirv_kernel *code;
	struct simt_spirv *executor;	/* the module's */
	_Atomic uint64_t nr_runs;
	struct zd_arg *arg;
	uint32_t group[3];		/* zeros: not set */
	ze_kernel_indirect_access_flags_t indirect;
};

static struct zd_module *module_of(const struct zd_kernel *k)
{
	return (struct zd_module *)k->obj.parent;
}

static void free_args(struct zd_arg *arg, size_t nr)
{
	for (size_t i = 0; arg && i < nr; i++)
		free(arg[i].value);
	free(arg);
}

static void kernel_release(struct fake_obj *obj)
{
	struct zd_kernel *k = (struct zd_kernel *)obj;

	if (k->code)
		free_args(k->arg, k->code->nr_args);
	zd_object_release(&k->obj);
}

ze_result_t zd_zeKernelCreate(ze_module_handle_t module, const ze_kernel_desc_t *desc, ze_kernel_handle_t *out)
{
	struct zd_module *m;
	struct zd_kernel *k;
	size_t i = 0;
	ze_result_t r = zd_object_get(module, ZD_MODULE, &m);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_KERNEL_DESC, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out || !desc->pKernelName)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	while (i < m->code->nr_kernels && strcmp(m->code->kernel[i].name, desc->pKernelName))
		i++;
	if (i == m->code->nr_kernels)
		return zd_refuse(ZE_RESULT_ERROR_INVALID_KERNEL_NAME, "the module has no kernel '%s'", desc->pKernelName);
	k = zd_object_new(sizeof(*k), ZD_KERNEL, m, kernel_release);
	if (!k)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	k->code = &m->code->kernel[i];
	k->executor = m->executor[i];
	k->arg = calloc(k->code->nr_args + 1, sizeof(*k->arg));
	if (!k->arg) {
		(void)zd_object_end(k, ZD_KERNEL);
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	}
	*out = (ze_kernel_handle_t)k;
	return r;
}

ze_result_t zd_zeKernelDestroy(ze_kernel_handle_t handle)
{
	return zd_object_end(handle, ZD_KERNEL);
}

/* ---- shape ---- */

ze_result_t zd_zeKernelSetGroupSize(ze_kernel_handle_t handle, uint32_t x, uint32_t y, uint32_t z)
{
	const uint32_t size[3] = { x, y, z };
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!x || !y || !z || x > zd_config.max_items || y > zd_config.max_items || z > zd_config.max_items ||
	    (uint64_t)x * y * z > zd_config.max_items)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION, "kernel '%s': groups of (%u,%u,%u), at most %u work-items",
				 k->code->name, x, y, z, zd_config.max_items);
	if (k->code->local_size[0] && memcmp(size, k->code->local_size, sizeof(size)))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION, "kernel '%s': groups of (%u,%u,%u), and it asks for (%u,%u,%u)",
				 k->code->name, x, y, z, k->code->local_size[0], k->code->local_size[1], k->code->local_size[2]);
	memcpy(k->group, size, sizeof(size));
	return r;
}

/* The largest divisor up to `most`. */
static uint32_t divisor(uint32_t n, uint32_t most)
{
	while (most > 1 && n % most)
		most--;
	return most;
}

ze_result_t zd_zeKernelSuggestGroupSize(ze_kernel_handle_t handle, uint32_t x, uint32_t y, uint32_t z, uint32_t *gx, uint32_t *gy,
					uint32_t *gz)
{
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!x || !y || !z || !gx || !gy || !gz)
		return ZE_RESULT_ERROR_INVALID_ARGUMENT;
	*gx = divisor(x, 256);
	*gy = divisor(y, 256 / *gx);
	*gz = divisor(z, 256 / *gx / *gy);
	return r;
}

static uint64_t local_bytes(const struct zd_kernel *k, const struct zd_arg *arg)
{
	uint64_t bytes = module_of(k)->code->local_bytes;

	for (size_t i = 0; i < k->code->nr_args; i++)
		if (k->code->arg[i].kind == SPIRV_ARG_LOCAL)
			bytes = ((bytes + 15) & ~(uint64_t)15) + arg[i].size;
	return bytes;
}

/* Groups that are resident at once: each core has 2048 work-items and twice the local memory of a group. */
static uint64_t resident(const struct zd_kernel *k)
{
	uint64_t items = (uint64_t)k->group[0] * k->group[1] * k->group[2], bytes = local_bytes(k, k->arg);
	uint64_t by_items = 2048 / items, by_bytes = bytes ? 2 * (uint64_t)zd_config.slm_bytes / bytes : by_items;

	return (by_items < by_bytes ? by_items : by_bytes) * zd_config.nr_cores;
}

ze_result_t zd_zeKernelSuggestMaxCooperativeGroupCount(ze_kernel_handle_t handle, uint32_t *count)
{
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!count)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (!k->group[0])
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s': its group size is not set", k->code->name);
	*count = (uint32_t)resident(k);
	return r;
}

/* ---- arguments ---- */

static ze_result_t check_pointer(const struct zd_kernel *k, uint32_t i, const void *value)
{
	uint64_t addr = 0;
	bool is_known;

	if (value)
		memcpy(&addr, value, sizeof(addr));
	pthread_mutex_lock(&fake_span_lock);
	is_known = !addr || zd_config.has_system || fake_span_find(addr);
	pthread_mutex_unlock(&fake_span_lock);
	return is_known ? ZE_RESULT_SUCCESS : zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s', argument %u: 0x%llx is no memory that "
							"Level Zero knows", k->code->name, i, (unsigned long long)addr);
}

ze_result_t zd_zeKernelSetArgumentValue(ze_kernel_handle_t handle, uint32_t i, size_t size, const void *value)
{
	const struct spirv_arg *a;
	struct zd_kernel *k;
	unsigned char *copy;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (i >= k->code->nr_args)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX, "kernel '%s' has %zu arguments, and no number %u", k->code->name,
				 k->code->nr_args, i);
	a = &k->code->arg[i];
	if (a->kind == SPIRV_ARG_LOCAL ? !size || value : size != a->size)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE, "kernel '%s', argument %u: %zu bytes%s, where %s", k->code->name, i,
				 size, value ? "" : " and no value", a->kind == SPIRV_ARG_LOCAL ? "the size of local memory is wanted, and no value" :
				 "it has another size");
	if (a->kind == SPIRV_ARG_VALUE && !value)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (a->kind == SPIRV_ARG_POINTER)
		r = check_pointer(k, i, value);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	copy = a->kind == SPIRV_ARG_LOCAL ? NULL : calloc(1, size);
	if (a->kind != SPIRV_ARG_LOCAL && !copy)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	if (value)
		memcpy(copy, value, size);
	free(k->arg[i].value);
	k->arg[i] = (struct zd_arg){ .value = copy, .size = size, .is_set = true };
	return r;
}

ze_result_t zd_zeKernelSetIndirectAccess(ze_kernel_handle_t handle, ze_kernel_indirect_access_flags_t flags)
{
	const ze_kernel_indirect_access_flags_t known =
		ZE_KERNEL_INDIRECT_ACCESS_FLAG_HOST | ZE_KERNEL_INDIRECT_ACCESS_FLAG_DEVICE | ZE_KERNEL_INDIRECT_ACCESS_FLAG_SHARED;
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (flags & ~known)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "flags 0x%x", flags);
	k->indirect = flags;
	return r;
}

ze_result_t zd_zeKernelGetIndirectAccess(ze_kernel_handle_t handle, ze_kernel_indirect_access_flags_t *flags)
{
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!flags)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	*flags = k->indirect;
	return r;
}

ze_result_t zd_zeKernelSetCacheConfig(ze_kernel_handle_t handle, ze_cache_config_flags_t flags)
{
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r == ZE_RESULT_SUCCESS && flags & ~(ze_cache_config_flags_t)(ZE_CACHE_CONFIG_FLAG_LARGE_SLM | ZE_CACHE_CONFIG_FLAG_LARGE_DATA))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ENUMERATION, "flags 0x%x", flags);
	return r;
}

ze_result_t zd_zeKernelGetProperties(ze_kernel_handle_t handle, ze_kernel_properties_t *p)
{
	struct zd_kernel *k;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(p, ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES, NULL, 0);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	p->numKernelArgs = (uint32_t)k->code->nr_args;
	p->requiredGroupSizeX = k->code->local_size[0];
	p->requiredGroupSizeY = k->code->local_size[1];
	p->requiredGroupSizeZ = k->code->local_size[2];
	p->requiredNumSubGroups = 0;
	p->requiredSubgroupSize = k->code->sub_group == 32 ? zd_config.builds : k->code->sub_group;
	p->maxSubgroupSize = k->code->sub_group ? k->code->sub_group : 32;
	p->maxNumSubgroups = zd_config.max_items / p->maxSubgroupSize;
	p->localMemSize = module_of(k)->code->local_bytes;
	p->privateMemSize = p->spillMemSize = 0;
	memset(&p->uuid, 0, sizeof(p->uuid));
	return r;
}

ze_result_t zd_zeKernelGetName(ze_kernel_handle_t handle, size_t *size, char *name)
{
	struct zd_kernel *k;
	size_t all;
	ze_result_t r = zd_object_get(handle, ZD_KERNEL, &k);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!size)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	all = strlen(k->code->name) + 1;
	if (name && *size)
		snprintf(name, *size, "%s", k->code->name);
	if (!*size || *size > all)
		*size = all;
	return r;
}

/* ---- launches: the call ---- */

static ze_result_t check_launch(const struct zd_list *l, const struct zd_kernel *k, const ze_group_count_t *g, bool cooperative)
{
	const char *name = k->code->name;
	uint64_t bytes = local_bytes(k, k->arg);

	if (l->ordinal != ZD_GROUP_COMPUTE)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE, "kernel '%s' in a list that only copies", name);
	if (module_of(k)->device != l->device || k->obj.parent->parent != l->obj.parent)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s' is of another device or context than the list", name);
	if (!g->groupCountX || !g->groupCountY || !g->groupCountZ || g->groupCountX > zd_config.max_groups ||
	    g->groupCountY > zd_config.max_groups || g->groupCountZ > zd_config.max_groups)
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s': (%u,%u,%u) groups, at most %u in a dimension", name, g->groupCountX,
				 g->groupCountY, g->groupCountZ, zd_config.max_groups);
	if (!k->group[0])
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s': its group size is not set", name);
	for (size_t i = 0; i < k->code->nr_args; i++)
		if (!k->arg[i].is_set)
			return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s': argument %zu is not set", name, i);
	if (bytes > zd_config.slm_bytes)
		return zd_misuse(ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, "kernel '%s': %llu bytes of local memory, and there are %u", name,
				 (unsigned long long)bytes, zd_config.slm_bytes);
	if (cooperative && (uint64_t)g->groupCountX * g->groupCountY * g->groupCountZ > resident(k))
		return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s': (%u,%u,%u) groups cannot all be resident, %llu can", name,
				 g->groupCountX, g->groupCountY, g->groupCountZ, (unsigned long long)resident(k));
	return ZE_RESULT_SUCCESS;
}

static bool copy_args(const struct zd_kernel *k, struct zd_launch *l)
{
	l->arg = calloc(k->code->nr_args + 1, sizeof(*l->arg));
	for (size_t i = 0; l->arg && i < k->code->nr_args; i++) {
		l->arg[i] = k->arg[i];
		if (!k->arg[i].value)
			continue;
		l->arg[i].value = malloc(k->arg[i].size);
		if (!l->arg[i].value)
			return false;
		memcpy(l->arg[i].value, k->arg[i].value, k->arg[i].size);
	}
	return l->arg;
}

static ze_result_t launch(ze_command_list_handle_t list, ze_kernel_handle_t kernel, const ze_group_count_t *groups, bool cooperative,
			  ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *waits)
{
	struct zd_kernel *k;
	struct zd_list *l;
	struct zd_cmd *c;
	ze_result_t r = zd_list_get(list, &l);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_object_get(kernel, ZD_KERNEL, &k);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	r = groups ? check_launch(l, k, groups, cooperative) : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (r != ZE_RESULT_SUCCESS)
		return r;
	c = zd_cmd_new(ZD_OP_LAUNCH);
	if (!c)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	fake_ref(&k->obj.base);
	c->launch = (struct zd_launch){
		.kernel = k, .grid = { groups->groupCountX, groups->groupCountY, groups->groupCountZ },
		.block = { k->group[0], k->group[1], k->group[2] }, .indirect = k->indirect, .cooperative = cooperative,
	};
	if (copy_args(k, &c->launch))
		return zd_append(l, c, signal, nr, waits);
	zd_cmd_put(c);
	return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
}

ze_result_t zd_zeCommandListAppendLaunchKernel(ze_command_list_handle_t list, ze_kernel_handle_t kernel, const ze_group_count_t *groups,
					       ze_event_handle_t signal, uint32_t nr, ze_event_handle_t *waits)
{
	return launch(list, kernel, groups, false, signal, nr, waits);
}

ze_result_t zd_zeCommandListAppendLaunchCooperativeKernel(ze_command_list_handle_t list, ze_kernel_handle_t kernel,
							  const ze_group_count_t *groups, ze_event_handle_t signal, uint32_t nr,
							  ze_event_handle_t *waits)
{
	return launch(list, kernel, groups, true, signal, nr, waits);
}

void zd_launch_free(struct zd_launch *l)
{
	if (!l->kernel)
		return;
	free_args(l->arg, l->kernel->code->nr_args);
	fake_put(&l->kernel->obj.base);
}

static uint64_t pointer_of(const struct zd_launch *l, size_t i)
{
	uint64_t addr = 0;

	if (l->kernel->code->arg[i].kind == SPIRV_ARG_POINTER && l->arg[i].value)
		memcpy(&addr, l->arg[i].value, sizeof(addr));
	return addr;
}

bool zd_launch_uses(const struct zd_launch *l, uint64_t start, uint64_t size)
{
	for (size_t i = 0; i < l->kernel->code->nr_args; i++)
		if (pointer_of(l, i) >= start && pointer_of(l, i) < start + size)
			return true;
	return false;
}

/* ---- launches: the device's thread ---- */

/* Which flag a kernel needs to follow an address that is no argument; 0: it is none of Level Zero's, or an argument. */
static ze_kernel_indirect_access_flags_t flag_for(const struct zd_launch *l, uint64_t addr)
{
	static const ze_kernel_indirect_access_flags_t flags[] = {
		[ZD_MEM_DEVICE] = ZE_KERNEL_INDIRECT_ACCESS_FLAG_DEVICE, [ZD_MEM_MAPPED] = ZE_KERNEL_INDIRECT_ACCESS_FLAG_DEVICE,
		[ZD_MEM_HOST] = ZE_KERNEL_INDIRECT_ACCESS_FLAG_HOST, [ZD_MEM_IMPORTED] = ZE_KERNEL_INDIRECT_ACCESS_FLAG_HOST,
		[ZD_MEM_SHARED] = ZE_KERNEL_INDIRECT_ACCESS_FLAG_SHARED,
	};
	const struct fake_span *s = fake_span_find(addr);

	if (!s)
		return 0;
	for (size_t i = 0; i < l->kernel->code->nr_args; i++)
		if (pointer_of(l, i) >= s->start && pointer_of(l, i) < s->start + s->size)
			return 0;
	return flags[s->mem];
}

/*
 * A kernel that may not follow addresses must find none: those behind its arguments are looked for, a page of each. What it
 * would really follow cannot be seen.
 */
static void check_indirect(const struct zd_launch *l)
{
	uint64_t found = 0;
	size_t arg = 0;

	pthread_mutex_lock(&fake_span_lock);
	for (size_t i = 0; i < l->kernel->code->nr_args && !found; i++) {
		uint64_t p = (pointer_of(l, i) + 7) & ~(uint64_t)7, end;
		const struct fake_span *s = p ? fake_span_find(p) : NULL;

		if (!s || !(s->prot & 1))
			continue;
		end = s->start + s->size < p + FAKE_PAGE ? s->start + s->size : p + FAKE_PAGE;
		for (; p + 8 <= end && !found; p += 8) {
			uint64_t addr = *(const uint64_t *)(uintptr_t)p;

			if (flag_for(l, addr) & ~l->indirect) {
				found = addr;
				arg = i;
			}
		}
	}
	pthread_mutex_unlock(&fake_span_lock);
	if (found)
		(void)zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "kernel '%s': argument %zu leads to 0x%llx, and indirect access to such memory was "
				"not allowed (flags 0x%x)", l->kernel->code->name, arg, (unsigned long long)found, l->indirect);
}

/* A fault takes the device away. */
void zd_launch_run(struct zd_device *d, const struct zd_launch *l)
{
	size_t nr = l->kernel->code->nr_args;
	uint64_t end = fake_now_ns() + zd_config.kernel_us * (uint64_t)1000;
	struct simt_spirv_launch sl = { .nr_args = nr, .cooperative = l->cooperative };
	struct simt_spirv_arg *arg = calloc(nr + 1, sizeof(*arg));
	char why[512] = "";
	enum hg_status st = HG_ERR_NOMEM;

	if (arg) {
		for (size_t i = 0; i < nr; i++)
			arg[i] = (struct simt_spirv_arg){ .value = l->arg[i].value,
							  .local_bytes = l->arg[i].value ? 0 : (uint32_t)l->arg[i].size };
		sl.arg = arg;
		memcpy(sl.grid, l->grid, sizeof(sl.grid));
		memcpy(sl.block, l->block, sizeof(sl.block));
		check_indirect(l);
		st = simt_spirv_run(l->kernel->executor, &sl, why, sizeof(why));
		free(arg);
	}
	fake_rest_until(end);
	if (!st) {
		fake_wrong_after(&zd_config.wrong, l->kernel->code->name, atomic_fetch_add(&l->kernel->nr_runs, 1) + 1);
		return;
	}
	pr_err("kernel '%s' failed: %s", l->kernel->code->name, why[0] ? why : hg_status_text(st));
	zd_device_fails(d, ZE_RESULT_ERROR_DEVICE_LOST);
}
