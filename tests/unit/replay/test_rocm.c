/* test_rocm.c - what the AMD target decides by itself, with functions of ours in the place of HIP's: they note calls, and do as little. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/msg.h"
#include "replay/rocm.h"

#define MAX_LATER 64

static struct hg_target target;
static struct hg_queue queue;
static struct hg_gpu_state state;
static char said[512];

/* copies that were asked for, and how much they moved */
static unsigned int nr_copies, nr_copies_2d, nr_sets;
static size_t biggest;
/* the stream: idle, or everything waits until it is run */
static bool is_busy;
static struct { void (*fn)(void *arg); void *arg, *dst; const void *src; size_t n; } later[MAX_LATER];
static unsigned int nr_later;

static const char *error_name(int error)
{
	(void)error;
	return "hipErrorTest";
}

static int set_device(int device)
{
	(void)device;
	return 0;
}

static int stream_query(void *stream)
{
	(void)stream;
	return is_busy ? HIP_NOT_READY : 0;
}

static int copy(void *dst, const void *src, size_t n, int kind, void *stream)
{
	(void)stream;
	cr_assert_eq(kind, HIP_MEMCPY_DEFAULT);
	nr_copies++;
	biggest = n > biggest ? n : biggest;
	if (!is_busy) {
		memmove(dst, src, n);
		return 0;
	}
	cr_assert_lt(nr_later, MAX_LATER);
	later[nr_later].fn = NULL;
	later[nr_later].dst = dst;
	later[nr_later].src = src;
	later[nr_later++].n = n;
	return 0;
}

static int copy_2d(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t height, int kind, void *stream)
{
	(void)kind;
	(void)stream;
	cr_assert(!is_busy && width <= dst_pitch && width <= src_pitch);
	nr_copies_2d++;
	for (size_t y = 0; y < height; y++)
		memmove((char *)dst + y * dst_pitch, (const char *)src + y * src_pitch, width);
	return 0;
}

static int host_func(void *stream, void (*fn)(void *arg), void *arg)
{
	(void)stream;
	cr_assert(is_busy, "a function was queued where nothing had to wait");
	cr_assert_lt(nr_later, MAX_LATER);
	later[nr_later].fn = fn;
	later[nr_later++].arg = arg;
	return 0;
}

static void run_later(void)
{
	for (unsigned int i = 0; i < nr_later; i++)
		if (later[i].fn)
			later[i].fn(later[i].arg);
		else
			memmove(later[i].dst, later[i].src, later[i].n);
	nr_later = 0;
}

static int host_malloc(void **out, size_t size, unsigned int flags)
{
	(void)flags;
	*out = malloc(size);
	return *out ? 0 : HIP_OUT_OF_MEMORY;
}

static int event_create(void **out, unsigned int flags)
{
	(void)flags;
	*out = &target;
	return 0;
}

static int event_any(void *event)
{
	(void)event;
	return 0;
}

static int event_record(void *event, void *stream)
{
	(void)event;
	(void)stream;
	return 0;
}

/* one more piece of work while the first wait lasts */
static unsigned int nr_syncs;

static int stream_sync(void *stream)
{
	(void)stream;
	if (!nr_syncs++)
		queue.issued++;
	return 0;
}

static int stream_create(void **out, unsigned int flags, int priority)
{
	(void)flags;
	(void)priority;
	*out = &target;
	return 0;
}

static int device_pointer(void **out, void *ptr, unsigned int flags)
{
	(void)flags;
	*out = ptr;
	return 0;
}

static unsigned int nr_frees;

static int host_free(void *ptr)
{
	nr_frees++;
	free(ptr);
	return 0;
}

static int stream_destroy(void *stream)
{
	(void)stream;
	cr_expect_null(target.gpu.queues, "what a queue is made of goes while others can still look at it");
	return 0;
}

static int set_16(void *dst, unsigned short value, size_t nr, void *stream)
{
	(void)stream;
	nr_sets++;
	for (size_t i = 0; i < nr; i++)
		memcpy((char *)dst + 2 * i, &value, 2);
	return 0;
}

static void keep_line(enum hg_msg_level level, const char *line, void *arg)
{
	(void)level;
	(void)arg;
	snprintf(said, sizeof(said), "%s", line);
}

static void begin(void)
{
	hg_hip.hipGetErrorName = error_name;
	hg_hip.hipGetErrorString = error_name;
	hg_hip.hipSetDevice = set_device;
	hg_hip.hipStreamQuery = stream_query;
	hg_hip.hipMemcpyAsync = copy;
	hg_hip.hipMemcpy2DAsync = copy_2d;
	hg_hip.hipLaunchHostFunc = host_func;
	hg_hip.hipHostMalloc = host_malloc;
	hg_hip.hipEventCreateWithFlags = event_create;
	hg_hip.hipEventSynchronize = event_any;
	hg_hip.hipEventQuery = event_any;
	hg_hip.hipEventRecord = event_record;
	hg_hip.hipMemsetD16Async = set_16;
	hg_hip.hipStreamSynchronize = stream_sync;
	hg_hip.hipStreamCreateWithPriority = stream_create;
	hg_hip.hipStreamDestroy = stream_destroy;
	hg_hip.hipEventDestroy = event_any;
	hg_hip.hipHostGetDevicePointer = device_pointer;
	hg_hip.hipHostFree = host_free;
	gpu_memory_init(&target.memory);
	gpu_target_init(&target.gpu, rocm_stream_is_idle);
	pthread_mutex_init(&queue.lock, NULL);
	queue.target = &target;
	queue.gpu.target = &target.gpu;
	queue.gpu.queue = &queue;
	queue.gpu.state = &state;
	hg_msg_sink_set(keep_line, NULL);
}

/* Memory of the process that plays the device's: mappings of the given sizes, one behind the other. */
static unsigned char *device(const size_t *size, unsigned int nr)
{
	size_t all = 0;
	unsigned char *mem;

	for (unsigned int i = 0; i < nr; i++)
		all += size[i];
	mem = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(mem, MAP_FAILED);
	all = 0;
	for (unsigned int i = 0; i < nr; i++) {
		cr_assert_eq(hg_ivmap_put(&target.memory.maps, (uintptr_t)mem + all, size[i], 1), HG_OK);
		all += size[i];
	}
	return mem;
}

static unsigned char *pageable(size_t size)
{
	unsigned char *mem = malloc(size);

	cr_assert(mem);
	for (size_t i = 0; i < size; i++)
		mem[i] = (unsigned char)(i * 7 + (i >> 8));
	return mem;
}

static struct hg_copy linear(void *dst, const void *src, size_t size)
{
	return (struct hg_copy){ .dst = (uintptr_t)dst, .src = (uintptr_t)src, .width = size, .height = 1, .depth = 1, .dst_pitch = size,
				 .src_pitch = size, .dst_slice = size, .src_slice = size };
}

Test(rocm, error_is_said_with_its_call_its_arguments_and_what_it_stood_for)
{
	begin();
	cr_expect_eq(hg_hip_check(HG_HIP_hipMemCreate, HIP_OUT_OF_MEMORY, (const uint64_t[]){ UINT64_C(0x7f0000001000), 4096 }, 2),
		     HG_ERR_NOMEM);
	cr_expect(strstr(said, "hipMemCreate(0x7f0000001000, 4096), for cuMemAlloc"), "said: %s", said);
	cr_expect(strstr(said, "hipErrorTest"), "said: %s", said);
	said[0] = '\0';
	cr_expect_eq(hg_hip_check(HG_HIP_hipMemCreate, HIP_SUCCESS, NULL, 0), HG_OK);
	cr_expect_str_empty(said);
}

Test(rocm, message_of_a_call_with_the_most_arguments_fits)
{
	uint64_t word[11];

	begin();
	memset(word, 0xff, sizeof(word));
	cr_expect_eq(hg_hip_check(HG_HIP_hipModuleLaunchKernel, HIP_LAUNCH_FAILURE, word, 11), HG_ERR_FAULT);
	cr_expect(strstr(said, "cuLaunchKernel"), "said: %s", said);
}

Test(rocm, look_ends_where_the_allocation_does)
{
	uint64_t len;

	begin();
	cr_assert_eq(hg_ivmap_put(&target.memory.maps, 0x10000, 0x1000, 1), HG_OK);
	cr_assert_eq(hg_ivmap_put(&target.memory.maps, 0x11000, 0x1000, 1), HG_OK);
	cr_assert_eq(hg_ivmap_put(&target.memory.pinned, 0x12800, 0x100, 1), HG_OK);
	cr_expect_eq(gpu_memory_look(&target.memory, 0x10800, 0x400, &len), GPU_DEVICE);
	cr_expect_eq(len, 0x400);
	cr_expect_eq(gpu_memory_look(&target.memory, 0x10800, 0x1000, &len), GPU_DEVICE);
	cr_expect_eq(len, 0x800);
	cr_expect_eq(gpu_memory_look(&target.memory, 0x12000, 0x1000, &len), GPU_PAGEABLE);
	cr_expect_eq(len, 0x800);
	cr_expect_eq(gpu_memory_look(&target.memory, 0x12800, 0x1000, &len), GPU_PINNED);
	cr_expect_eq(len, 0x100);
	cr_expect_eq(gpu_memory_look(&target.memory, 0x12900, 0x1000, &len), GPU_PAGEABLE);
	cr_expect_eq(len, 0x1000);
	cr_expect_eq(gpu_memory_look(&target.memory, 0x8000, 0x1000, &len), GPU_PAGEABLE);
	cr_expect_eq(len, 0x1000);
}

Test(rocm, copy_is_cut_where_mappings_meet)
{
	const size_t size[] = { 8192, 4096, 8192 };
	struct hg_copy c;
	unsigned char *mem;

	begin();
	mem = device(size, 3);
	for (size_t i = 0; i < 8192; i++)
		mem[i] = (unsigned char)(i * 13);
	c = linear(mem + 10000, mem + 100, 5000);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(nr_copies, 2, "%u copies", nr_copies);
	for (size_t i = 0; i < 5000; i++)
		cr_assert_eq(mem[10000 + i], (unsigned char)((i + 100) * 13));
}

Test(rocm, rows_go_as_one_copy_unless_a_mapping_ends_in_them)
{
	const size_t size[] = { 8192, 8192 };
	unsigned char *mem;
	struct hg_copy c = { .width = 100, .height = 10, .depth = 2, .dst_pitch = 128, .src_pitch = 256, .dst_slice = 1280, .src_slice = 2560 };

	begin();
	mem = device(size, 2);
	for (size_t i = 0; i < 8192; i++)
		mem[i] = (unsigned char)(i * 13);
	c.src = (uintptr_t)mem;
	c.dst = (uintptr_t)mem + 8192;
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(nr_copies_2d, 2);
	cr_expect_eq(nr_copies, 0);
	for (size_t z = 0; z < 2; z++)
		for (size_t y = 0; y < 10; y++)
			cr_assert_arr_eq(mem + 8192 + z * 1280 + y * 128, mem + z * 2560 + y * 256, 100);

	c.src = (uintptr_t)mem;
	c.dst = (uintptr_t)mem + 8192 - 460;
	c.depth = 1;
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(nr_copies_2d, 2);
	cr_expect_eq(nr_copies, 11, "%u copies: nine rows whole, and the fourth in two parts", nr_copies);
}

Test(rocm, pageable_memory_goes_through_pinned_memory_in_parts)
{
	size_t size = 5 * GPU_CHUNK + 12345;
	struct hg_copy c;
	unsigned char *mem, *host, *back;

	begin();
	mem = device(&size, 1);
	host = pageable(size);
	back = malloc(size);
	c = linear(mem, host, size);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(nr_copies, 6);
	cr_expect_eq(biggest, GPU_CHUNK);
	cr_assert_arr_eq(mem, host, size);
	c = linear(back, mem, size);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(nr_copies, 12);
	cr_assert_arr_eq(back, host, size);
	for (unsigned int i = 0; i < GPU_CHUNKS; i++)
		cr_expect_neq(queue.chunk[i].mem, NULL);
}

Test(rocm, rows_of_pageable_memory_are_packed)
{
	size_t size = 1 << 20;
	unsigned char *mem, *host;
	struct hg_copy c = { .width = 1000, .height = 700, .depth = 1, .dst_pitch = 1024, .src_pitch = 1300 };

	begin();
	mem = device(&size, 1);
	host = pageable(700 * 1300);
	c.dst = (uintptr_t)mem;
	c.src = (uintptr_t)host;
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(nr_copies + nr_copies_2d, 1);
	for (size_t y = 0; y < 700; y++)
		cr_assert_arr_eq(mem + y * 1024, host + y * 1300, 1000);
}

Test(rocm, row_that_is_longer_than_a_part_comes_in_several)
{
	size_t size = 8 * GPU_CHUNK;
	unsigned char *mem, *back;
	struct hg_copy c = { .width = 2 * GPU_CHUNK + 100, .height = 2, .depth = 1, .dst_pitch = 3 * GPU_CHUNK, .src_pitch = 3 * GPU_CHUNK };

	begin();
	mem = device(&size, 1);
	back = calloc(1, size);
	for (size_t i = 0; i < size; i += 97)
		mem[i] = (unsigned char)(i >> 7);
	c.dst = (uintptr_t)back;
	c.src = (uintptr_t)mem;
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	for (size_t y = 0; y < 2; y++)
		cr_assert_arr_eq(back + y * c.dst_pitch, mem + y * c.src_pitch, c.width);
	cr_expect_eq(back[c.width], 0);
}

Test(rocm, pageable_memory_is_read_when_it_is_its_turn)
{
	size_t size = 2 * GPU_CHUNK + 5;
	unsigned char *mem, *host, *back;
	struct hg_copy c;

	begin();
	mem = device(&size, 1);
	host = pageable(size);
	back = calloc(1, size);
	is_busy = true;
	c = linear(mem, host, size);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	c = linear(back, mem, size);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	/* what was queued before writes what is copied */
	memset(host, 42, size);
	cr_expect_eq(mem[0], 0);
	cr_expect_eq(back[0], 0);
	run_later();
	cr_assert_arr_eq(mem, host, size);
	cr_assert_arr_eq(back, host, size);
}

Test(rocm, hosts_memory_is_copied_by_the_host)
{
	unsigned char *from = pageable(4096), *to = calloc(1, 4096), *rest = calloc(1, 4096);
	struct hg_copy c;

	begin();
	cr_assert_eq(hg_ivmap_put(&target.memory.pinned, (uintptr_t)from, 4096, 1), HG_OK);
	cr_assert_eq(hg_ivmap_put(&target.memory.pinned, (uintptr_t)to, 4096, 1), HG_OK);
	is_busy = true;
	c = linear(to, from, 4096);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(to[1], 0);
	run_later();
	cr_expect_arr_eq(to, from, 4096);
	is_busy = false;
	c = linear(rest, to, 4096);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_arr_eq(rest, from, 4096);
	cr_expect_eq(nr_copies, 0, "HIP waits for the stream before it copies from host to host");
}

Test(rocm, what_a_failed_kernel_left_is_not_given_to_the_program)
{
	size_t size = 4096;
	unsigned char *mem, *back = calloc(1, 4096);
	struct hg_copy c;

	begin();
	mem = device(&size, 1);
	memset(mem, 1, size);
	is_busy = true;
	c = linear(back, mem, size);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	state.fault = HG_GPU_TRAP;
	run_later();
	cr_expect_eq(back[0], 0);
	is_busy = false;
	atomic_store(&queue.gpu.failed, true);
	cr_assert_eq(rocm_copy(&queue, &c), HG_OK);
	cr_expect_eq(back[0], 0);
}

Test(rocm, failure_is_told_when_the_lane_has_said_where)
{
	struct hg_fault fault;
	struct hg_mark *mark;

	begin();
	target.service = &queue;
	target.gpu.queues = &queue.gpu;
	queue.gpu.note = calloc(1, sizeof(*queue.gpu.note));
	cr_assert_eq(rocm_clock_init(&target), HG_OK);
	cr_assert_eq(rocm_mark_create(&target, &mark), HG_OK);
	cr_assert_eq(rocm_mark_record(&queue, mark), HG_OK);
	is_busy = true;
	state.fault = HG_GPU_TRAP;
	cr_expect(rocm_mark_is_done(mark));
	cr_expect_not(rocm_fault(&target, &fault), "%s", fault.what);
	state.thread[0] = 5;
	state.line = 12;
	state.is_told = 1;
	cr_expect(rocm_mark_is_done(mark));
	cr_assert(rocm_fault(&target, &fault));
	cr_expect(strstr(fault.what, "thread (5,0,0), PTX line 12"), "said: %s", fault.what);
}

Test(rocm, failure_of_a_kernel_that_has_ended_is_told_in_any_case)
{
	struct hg_fault fault;

	begin();
	queue.gpu.note = calloc(1, sizeof(*queue.gpu.note));
	state.fault = HG_GPU_TRAP;
	cr_expect(rocm_queue_is_idle(&queue));
	cr_assert(rocm_fault(&target, &fault));
	cr_expect(strstr(fault.what, "it did not get to say where"), "said: %s", fault.what);
}

Test(rocm, queue_is_out_of_others_reach_before_it_goes)
{
	struct hg_queue *q;

	begin();
	cr_assert_eq(rocm_queue_create(&target, 0, &q), HG_OK);
	cr_expect_eq(target.gpu.queues, &q->gpu);
	rocm_queue_destroy(q);
	cr_expect_null(target.gpu.queues);
}

Test(rocm, memory_of_a_queue_is_kept_for_the_next)
{
	size_t size = 4096;
	unsigned char *mem, *host = pageable(4096);
	struct hg_gpu_state *first;
	struct hg_queue *q;
	struct hg_copy c;
	void *chunk;

	begin();
	mem = device(&size, 1);
	c = linear(mem, host, 4096);
	cr_assert_eq(rocm_queue_create(&target, 0, &q), HG_OK);
	cr_assert_eq(rocm_copy(q, &c), HG_OK);
	first = q->gpu.state;
	chunk = q->chunk[0].mem;
	first->fault = HG_GPU_CANCELLED;
	rocm_queue_destroy(q);
	cr_expect_eq(nr_frees, 0, "HIP waits for all of the device when it takes memory back");
	cr_assert_eq(rocm_queue_create(&target, 0, &q), HG_OK);
	cr_assert_eq(rocm_copy(q, &c), HG_OK);
	cr_expect_eq(q->gpu.state, first);
	cr_expect_eq(q->gpu.state->fault, HG_GPU_NO_FAULT);
	cr_expect(q->chunk[0].mem == chunk || q->chunk[1].mem == chunk || q->chunk[2].mem == chunk);
	rocm_queue_destroy(q);
	hg_ivmap_release(&target.memory.maps);
	rocm_memory_fini(&target);
	cr_expect_eq(nr_frees, 2, "%u given back: what kernels write, and the one chunk that a small copy takes", nr_frees);
}

Test(rocm, work_that_came_during_a_wait_is_not_taken_for_done)
{
	begin();
	queue.issued = 1;
	rocm_queue_throttle(&queue, 0);
	cr_expect_eq(nr_syncs, 2, "%u waits", nr_syncs);
	cr_expect_eq(queue.known, queue.issued);
}

Test(rocm, fill_is_cut_and_refused_outside_the_device)
{
	const size_t size[] = { 4096, 4096 };
	unsigned char *mem;
	uint16_t value = 0x1234, got;
	struct hg_fill f = { .width = 1000, .height = 3, .pitch = 2048, .value = value, .element = 2 };

	begin();
	mem = device(size, 2);
	f.dst = (uintptr_t)mem + 1000;
	cr_assert_eq(rocm_fill(&queue, &f), HG_OK);
	cr_expect_eq(nr_sets, 4, "%u fills", nr_sets);
	for (size_t y = 0; y < 3; y++)
		for (size_t x = 0; x < 1000; x++) {
			memcpy(&got, mem + 1000 + y * 2048 + 2 * x, 2);
			cr_assert_eq(got, value);
		}
	f.dst = (uintptr_t)said;
	cr_expect_eq(rocm_fill(&queue, &f), HG_ERR_INVALID);
	cr_expect(strstr(said, "no memory of the device"), "said: %s", said);
}
