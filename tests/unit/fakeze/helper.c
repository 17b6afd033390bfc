/* helper.c - what the tests of the Level Zero driver for tests share. */
#include "fake_test.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ze_api ze;
ze_driver_handle_t driver;
ze_device_handle_t device;
ze_context_handle_t context;

void load_ze(const char *const *knob)
{
	const char *build = getenv("HG_BUILD");
	char path[4096];
	void *loader;

	for (; *knob; knob++) {
		char name[256];
		const char *value = strchr(*knob, '=');

		snprintf(name, sizeof(name), "HG_FAKE_ZE_%.*s", (int)(value - *knob), *knob);
		setenv(name, value + 1, 1);
	}
	snprintf(path, sizeof(path), "%s/drivers/ze/libze_hgshim_test.so", build ? build : "build");
	setenv("ZE_ENABLE_ALT_DRIVERS", path, 1);
	setenv("ZE_ENABLE_VALIDATION_LAYER", "1", 1);
	setenv("ZE_ENABLE_PARAMETER_VALIDATION", "1", 1);
	loader = dlopen("libze_loader.so.1", RTLD_NOW | RTLD_LOCAL);
	cr_assert(loader, "%s", dlerror());
#define ZE_CALL(table, member, name, params, args) *(void **)&ze.name = dlsym(loader, #name);
#include "tests/drivers/ze/calls.def"
}

void start(void)
{
	const ze_context_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC };
	uint32_t one = 1;

	OK(ze.zeInit(ZE_INIT_FLAG_GPU_ONLY));
	OK(ze.zeDriverGet(&one, &driver));
	OK(ze.zeDeviceGet(driver, &one, &device));
	OK(ze.zeContextCreate(driver, &desc, &context));
}

const char *temporary(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "/tmp/fakeze-%d-%s", (int)getpid(), name);
	return path;
}

ze_command_list_handle_t immediate_list(void)
{
	const ze_command_queue_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC, .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS };
	ze_command_list_handle_t l;

	OK(ze.zeCommandListCreateImmediate(context, device, &desc, &l));
	return l;
}

ze_command_list_handle_t list(void)
{
	const ze_command_list_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC };
	ze_command_list_handle_t l;

	OK(ze.zeCommandListCreate(context, device, &desc, &l));
	return l;
}

ze_command_queue_handle_t queue(void)
{
	const ze_command_queue_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC, .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS };
	ze_command_queue_handle_t q;

	OK(ze.zeCommandQueueCreate(context, device, &desc, &q));
	return q;
}

ze_event_pool_handle_t pool(void)
{
	const ze_event_pool_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC, .count = 64,
					    .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE | ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP };
	ze_event_pool_handle_t p;

	OK(ze.zeEventPoolCreate(context, &desc, 0, NULL, &p));
	return p;
}

ze_event_handle_t event(ze_event_pool_handle_t p, uint32_t index)
{
	const ze_event_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_EVENT_DESC, .index = index, .signal = ZE_EVENT_SCOPE_FLAG_HOST };
	ze_event_handle_t e;

	OK(ze.zeEventCreate(p, &desc, &e));
	return e;
}

uint32_t *host_memory(size_t size)
{
	const ze_host_mem_alloc_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC };
	void *p;

	OK(ze.zeMemAllocHost(context, &desc, size, 64, &p));
	memset(p, 0, size);
	return p;
}

void *device_memory(size_t size)
{
	const ze_device_mem_alloc_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC };
	void *p;

	OK(ze.zeMemAllocDevice(context, &desc, size, 64, device, &p));
	return p;
}

void *map(void *hint, size_t size, ze_physical_mem_handle_t *physical)
{
	ze_physical_mem_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_PHYSICAL_MEM_DESC, .size = size };
	void *p;

	OK(ze.zeVirtualMemReserve(context, hint, size, &p));
	OK(ze.zePhysicalMemCreate(context, device, &desc, physical));
	OK(ze.zeVirtualMemMap(context, p, size, *physical, 0, ZE_MEMORY_ACCESS_ATTRIBUTE_READWRITE));
	return p;
}

uint32_t read_u32(const void *from)
{
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t e = event(p, 0);
	ze_command_list_handle_t l = immediate_list();
	uint32_t *h = host_memory(4), v;

	OK(ze.zeCommandListAppendMemoryCopy(l, h, from, 4, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	v = *h;
	OK(ze.zeMemFree(context, h));
	OK(ze.zeCommandListDestroy(l));
	OK(ze.zeEventDestroy(e));
	OK(ze.zeEventPoolDestroy(p));
	return v;
}

static int messages = -1;

void catch_messages(void)
{
	const char *path = temporary("messages");

	messages = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	cr_assert(messages >= 0);
	unlink(path);
	dup2(messages, 2);
}

bool was_said(const char *part)
{
	static char text[65536];
	ssize_t n = pread(messages, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	return strstr(text, part) != NULL;
}

unsigned char *code(size_t *size)
{
	const char *build = getenv("HG_BUILD");
	unsigned char *bytes = malloc(1 << 20);
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/spirv/fakeze.spv", build ? build : "build");
	f = fopen(path, "rb");
	cr_assert(f && bytes, "cannot open '%s'", path);
	*size = fread(bytes, 1, 1 << 20, f);
	fclose(f);
	return bytes;
}

ze_result_t build_module(const void *words, size_t size, ze_module_handle_t *out, char *text, size_t text_size)
{
	const ze_module_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_MODULE_DESC, .format = ZE_MODULE_FORMAT_IL_SPIRV, .inputSize = size,
					.pInputModule = words };
	ze_module_build_log_handle_t log;
	ze_result_t r = ze.zeModuleCreate(context, device, &desc, out, &log);

	OK(ze.zeModuleBuildLogGetString(log, &text_size, text));
	OK(ze.zeModuleBuildLogDestroy(log));
	return r;
}

ze_module_handle_t module(void)
{
	size_t size;
	unsigned char *bytes = code(&size);
	ze_module_handle_t m;
	char text[1024];
	ze_result_t r = build_module(bytes, size, &m, text, sizeof(text));

	cr_assert_eq(r, ZE_RESULT_SUCCESS, "%s", text);
	free(bytes);
	return m;
}

ze_kernel_handle_t kernel(ze_module_handle_t m, const char *name, uint32_t group)
{
	const ze_kernel_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = name };
	ze_kernel_handle_t k;

	OK(ze.zeKernelCreate(m, &desc, &k));
	OK(ze.zeKernelSetGroupSize(k, group, 1, 1));
	return k;
}
