/* test_queues.c - order and its absence in the Level Zero driver for tests: lists, queues, barriers, events, fences. */
#include "fake_test.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define FOREVER UINT64_MAX

Test(queues, a_copy_to_the_device_and_back)
{
	START("STRICT=1");
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t e = event(p, 0), f = event(p, 1);
	ze_command_list_handle_t l = immediate_list();
	uint32_t *h = host_memory(4096);
	void *d = device_memory(4096);

	for (uint32_t i = 0; i < 1024; i++)
		h[i] = i * 7;
	OK(ze.zeCommandListAppendMemoryCopy(l, d, h, 4096, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, FOREVER));
	memset(h, 0, 4096);
	OK(ze.zeCommandListAppendMemoryCopy(l, h, d, 4096, f, 1, &e));
	OK(ze.zeEventHostSynchronize(f, FOREVER));
	for (uint32_t i = 0; i < 1024; i++)
		cr_assert_eq(h[i], i * 7);
}

Test(queues, a_command_waits_for_its_events_and_no_longer)
{
	START("STRICT=1");
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t go = event(p, 0), done = event(p, 1), other = event(p, 2);
	ze_command_list_handle_t l = immediate_list(), m = immediate_list();
	uint32_t *h = host_memory(64), one = 1;

	OK(ze.zeCommandListAppendMemoryFill(l, h, &one, 4, 4, done, 1, &go));
	OK(ze.zeCommandListAppendMemoryFill(m, h + 1, &one, 4, 4, other, 0, NULL));
	OK(ze.zeEventHostSynchronize(other, FOREVER));
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryStatus(done));
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventHostSynchronize(done, 2000000));
	cr_assert_eq(h[0], 0);
	OK(ze.zeEventHostSignal(go));
	OK(ze.zeEventHostSynchronize(done, FOREVER));
	cr_assert_eq(h[0], 1);
}

/* Whether what is behind a command that waits for the host begins before it. */
static bool goes_ahead(void)
{
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t go = event(p, 0), first = event(p, 1), second = event(p, 2);
	ze_command_list_handle_t l = immediate_list();
	uint32_t *h = host_memory(64), one = 1;
	ze_result_t r;

	OK(ze.zeCommandListAppendMemoryFill(l, h, &one, 4, 4, first, 1, &go));
	OK(ze.zeCommandListAppendMemoryFill(l, h + 1, &one, 4, 4, second, 0, NULL));
	r = ze.zeEventHostSynchronize(second, 500000000);
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryStatus(first));
	OK(ze.zeEventHostSignal(go));
	OK(ze.zeEventHostSynchronize(first, FOREVER));
	OK(ze.zeEventHostSynchronize(second, FOREVER));
	return r == ZE_RESULT_SUCCESS;
}

Test(queues, commands_go_ahead_of_one_that_waits_in_every_other_list)
{
	START("STRICT=1", "DELAY_US=0");
	cr_assert_neq(goes_ahead(), goes_ahead());
}

static void *signal_soon(void *arg)
{
	usleep(20000);
	OK(ze.zeEventHostSignal(arg));
	return NULL;
}

Test(queues, who_waits_is_woken_by_the_host_as_well)
{
	START("STRICT=1");
	ze_event_handle_t e = event(pool(), 0);
	pthread_t other;

	pthread_create(&other, NULL, signal_soon, e);
	OK(ze.zeEventHostSynchronize(e, FOREVER));
	pthread_join(other, NULL);
}

/* Two kernels of one list: with nothing between them they run together, so the second may not see what the first wrote. */
static uint32_t chain(bool barrier)
{
	ze_module_handle_t m = module();
	ze_kernel_handle_t first = kernel(m, "slow", 1), second = kernel(m, "slow", 1);
	ze_command_list_handle_t l = immediate_list();
	ze_event_handle_t e = event(pool(), 0);
	const ze_group_count_t g = { 1, 1, 1 };
	uint32_t *h = host_memory(64), *next = h + 1;

	OK(ze.zeKernelSetArgumentValue(first, 0, 8, &h));
	OK(ze.zeKernelSetArgumentValue(second, 0, 8, &next));
	OK(ze.zeCommandListAppendLaunchKernel(l, first, &g, NULL, 0, NULL));
	if (barrier)
		OK(ze.zeCommandListAppendBarrier(l, NULL, 0, NULL));
	OK(ze.zeCommandListAppendLaunchKernel(l, second, &g, NULL, 0, NULL));
	OK(ze.zeCommandListAppendBarrier(l, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, FOREVER));
	return h[2];
}

Test(queues, a_barrier_orders_and_nothing_else_does)
{
	int lost = 0;

	START("STRICT=1", "DELAY_US=3000");
	for (int i = 0; i < 20; i++)
		cr_assert_eq(chain(true), 2);
	for (int i = 0; i < 200 && !lost; i++)
		lost += chain(false) != 2;
	cr_assert(lost, "commands without a barrier between them never ran out of order");
}

Test(queues, a_list_that_was_recorded_runs_as_often_as_it_is_executed)
{
	START("STRICT=1");
	ze_kernel_handle_t k = kernel(module(), "add", 4);
	ze_command_list_handle_t l = list();
	ze_command_queue_handle_t q = queue();
	const ze_fence_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_FENCE_DESC };
	const ze_group_count_t g = { 1, 1, 1 };
	uint32_t *h = host_memory(64), v = 3;
	ze_fence_handle_t f;

	OK(ze.zeFenceCreate(q, &desc, &f));
	OK(ze.zeKernelSetArgumentValue(k, 0, 8, &h));
	OK(ze.zeKernelSetArgumentValue(k, 1, 4, &v));
	OK(ze.zeCommandListAppendLaunchKernel(l, k, &g, NULL, 0, NULL));
	v = 100;	/* arguments were taken when it was appended */
	OK(ze.zeKernelSetArgumentValue(k, 1, 4, &v));
	OK(ze.zeCommandListClose(l));
	for (int i = 0; i < 3; i++) {
		OK(ze.zeCommandQueueExecuteCommandLists(q, 1, &l, f));
		OK(ze.zeFenceHostSynchronize(f, FOREVER));
		OK(ze.zeFenceReset(f));
	}
	cr_assert_eq(h[0], 9);
	GIVES(ZE_RESULT_NOT_READY, ze.zeFenceQueryStatus(f));
	OK(ze.zeCommandListReset(l));
	OK(ze.zeCommandListClose(l));
	OK(ze.zeCommandQueueExecuteCommandLists(q, 1, &l, NULL));
	OK(ze.zeCommandQueueSynchronize(q, FOREVER));
	cr_assert_eq(h[0], 9);
	OK(ze.zeFenceDestroy(f));
	OK(ze.zeCommandListDestroy(l));
	OK(ze.zeCommandQueueDestroy(q));
}

Test(queues, events_are_reset_and_signalled_by_lists)
{
	START("STRICT=1");
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t a = event(p, 0), b = event(p, 1), c = event(p, 2);
	ze_command_list_handle_t l = immediate_list(), m = immediate_list();

	OK(ze.zeCommandListAppendWaitOnEvents(l, 1, &a));
	OK(ze.zeCommandListAppendEventReset(l, a));
	OK(ze.zeCommandListAppendSignalEvent(l, b));
	OK(ze.zeCommandListAppendBarrier(m, c, 1, &b));
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryStatus(c));
	OK(ze.zeEventHostSignal(a));
	OK(ze.zeEventHostSynchronize(c, FOREVER));
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryStatus(a));
	OK(ze.zeEventHostReset(b));
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryStatus(b));
}

Test(queues, times_are_on_one_clock_that_runs_over)
{
	START("STRICT=1", "KERNEL_US=2000");
	ze_device_properties_t prop = { .stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES }, prop12 = { .stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2 };
	ze_kernel_handle_t k = kernel(module(), "slow", 1);
	const ze_group_count_t g = { 1, 1, 1 };
	ze_command_list_handle_t l = immediate_list();
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t e = event(p, 0), f = event(p, 1);
	ze_kernel_timestamp_result_t t;
	uint64_t host, before, after, *written = (uint64_t *)host_memory(64), mask;
	uint32_t *h = host_memory(64);

	OK(ze.zeDeviceGetProperties(device, &prop));
	OK(ze.zeDeviceGetProperties(device, &prop12));
	cr_assert_eq(prop.timerResolution, 80);
	cr_assert_eq(prop12.timerResolution, 12500000);
	mask = ((uint64_t)1 << prop.kernelTimestampValidBits) - 1;
	OK(ze.zeDeviceGetGlobalTimestamps(device, &host, &before));
	cr_assert_gt(before & mask, mask - 2000000000 / 80, "it does not run over soon");
	OK(ze.zeKernelSetArgumentValue(k, 0, 8, &h));
	OK(ze.zeCommandListAppendLaunchKernel(l, k, &g, e, 0, NULL));
	OK(ze.zeCommandListAppendWriteGlobalTimestamp(l, written, f, 1, &e));
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryKernelTimestamp(e, &t));
	OK(ze.zeEventHostSynchronize(f, FOREVER));
	OK(ze.zeDeviceGetGlobalTimestamps(device, &host, &after));
	OK(ze.zeEventQueryKernelTimestamp(e, &t));
	cr_assert_geq((t.global.kernelEnd - t.global.kernelStart) & mask, 2000000 / 80);
	cr_assert_leq((t.global.kernelEnd - before) & mask, (after - before) & mask);
	cr_assert_leq((*written - t.global.kernelEnd) & mask, (after - before) & mask);
}

Test(queues, a_synchronous_list_is_done_when_the_call_returns)
{
	START("STRICT=1", "DELAY_US=2000");
	const ze_command_queue_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC, .mode = ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS };
	ze_command_list_handle_t l;
	uint32_t *h = host_memory(64);

	OK(ze.zeCommandListCreateImmediate(context, device, &desc, &l));
	for (uint32_t i = 1; i < 50; i++) {
		OK(ze.zeCommandListAppendMemoryFill(l, h, &i, 4, 8, NULL, 0, NULL));
		cr_assert_eq(h[1], i);
	}
}

Test(queues, regions_of_rows_and_slices)
{
	START("STRICT=1");
	ze_command_list_handle_t l = immediate_list();
	ze_event_handle_t e = event(pool(), 0);
	const ze_copy_region_t to = { 4, 1, 1, 4, 2, 2 }, from = { 0, 1, 0, 4, 2, 2 };
	unsigned char *src = (unsigned char *)host_memory(256), *dst = (unsigned char *)host_memory(1024);

	for (int i = 0; i < 256; i++)
		src[i] = (unsigned char)i;
	OK(ze.zeCommandListAppendMemoryCopyRegion(l, dst, &to, 16, 64, src, &from, 8, 32, e, 0, NULL));
	OK(ze.zeEventHostSynchronize(e, FOREVER));
	for (int z = 0; z < 2; z++)
		for (int y = 0; y < 2; y++)
			cr_assert_arr_eq(dst + 64 * (z + 1) + 16 * (y + 1) + 4, src + 32 * z + 8 * (y + 1), 4);
	cr_assert_eq(dst[64 + 16 + 3], 0);
	cr_assert_eq(dst[64 + 16 + 8], 0);
}

Test(queues, what_is_used_by_queued_work_may_not_end)
{
	START();
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t go = event(p, 0), done = event(p, 1);
	ze_command_list_handle_t l = immediate_list();
	void *a = device_memory(64), *b = device_memory(64);

	OK(ze.zeCommandListAppendMemoryCopy(l, a, b, 64, done, 1, &go));
	catch_messages();
	OK(ze.zeEventDestroy(done));
	cr_assert(was_said("misuse of zeEventDestroy: event"));
	OK(ze.zeCommandListDestroy(l));
	cr_assert(was_said("misuse of zeCommandListDestroy: command list"));
	OK(ze.zeMemFree(context, b));
	cr_assert(was_said("misuse of zeMemFree"));
	OK(ze.zeEventPoolDestroy(p));
	cr_assert(was_said("objects that were not destroyed"));
}

Test(queues, what_is_destroyed_is_no_object)
{
	START();
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t e = event(p, 0);
	ze_command_list_handle_t l = immediate_list();

	catch_messages();
	OK(ze.zeEventDestroy(e));
	GIVES(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, ze.zeEventDestroy(e));
	cr_assert(was_said("is no event, or it was destroyed"));
	GIVES(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, ze.zeCommandListAppendBarrier(l, e, 0, NULL));
	GIVES(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, ze.zeCommandListAppendBarrier(l, NULL, 1, &e));
	GIVES(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, ze.zeEventPoolDestroy((ze_event_pool_handle_t)l));
	OK(ze.zeEventPoolDestroy(p));
	GIVES(ZE_RESULT_ERROR_INVALID_NULL_HANDLE, ze.zeEventPoolDestroy(p));
}

Test(queues, an_event_that_was_not_reset_is_told)
{
	START();
	ze_event_handle_t e = event(pool(), 0);
	ze_command_list_handle_t l = immediate_list();

	catch_messages();
	OK(ze.zeCommandListAppendBarrier(l, e, 0, NULL));
	cr_assert_not(was_said("misuse"));
	OK(ze.zeCommandListAppendBarrier(l, e, 0, NULL));
	cr_assert(was_said("which is signalled: it was not reset"));
}

Test(queues, an_event_that_is_waited_for_is_not_reset)
{
	START();
	ze_event_pool_handle_t p = pool();
	ze_event_handle_t go = event(p, 0), done = event(p, 1);
	ze_command_list_handle_t l = immediate_list();

	catch_messages();
	OK(ze.zeCommandListAppendBarrier(l, done, 1, &go));
	OK(ze.zeEventHostReset(go));
	cr_assert(was_said("misuse of zeEventHostReset: event"));
	OK(ze.zeEventHostSignal(go));
	OK(ze.zeEventHostSynchronize(done, FOREVER));
	catch_messages();
	OK(ze.zeEventHostReset(go));
	OK(ze.zeEventHostReset(done));
	cr_assert_not(was_said("misuse"));
}

Test(queues, an_event_for_the_host_has_its_scope)
{
	START();
	const ze_event_desc_t desc = { .stype = ZE_STRUCTURE_TYPE_EVENT_DESC, .signal = ZE_EVENT_SCOPE_FLAG_DEVICE };
	ze_event_handle_t e;

	OK(ze.zeEventCreate(pool(), &desc, &e));
	catch_messages();
	GIVES(ZE_RESULT_NOT_READY, ze.zeEventQueryStatus(e));
	cr_assert(was_said("is not signalled for the host"));
}

static void *append_often(void *l)
{
	for (int i = 0; i < 300; i++)
		OK(ze.zeCommandListAppendBarrier(l, NULL, 0, NULL));
	return NULL;
}

Test(queues, a_list_is_for_one_thread_at_a_time)
{
	START();
	ze_command_list_handle_t l[2] = { immediate_list(), immediate_list() };
	pthread_t other;

	catch_messages();
	for (int same = 0; same < 2; same++) {
		pthread_create(&other, NULL, append_often, l[1]);
		append_often(l[same]);
		pthread_join(other, NULL);
		cr_assert_eq(was_said("is used by two threads at once"), same);
	}
}

Test(queues, lists_are_used_as_what_they_are)
{
	START();
	ze_command_list_handle_t l = list(), i = immediate_list();
	ze_command_queue_handle_t q = queue();

	catch_messages();
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandQueueExecuteCommandLists(q, 1, &l, NULL));
	cr_assert(was_said("is not closed"));
	GIVES(ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE, ze.zeCommandQueueExecuteCommandLists(q, 1, &i, NULL));
	OK(ze.zeCommandListClose(l));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListAppendBarrier(l, NULL, 0, NULL));
	GIVES(ZE_RESULT_ERROR_INVALID_ARGUMENT, ze.zeCommandListClose(l));
}

Test(queues, a_misuse_ends_the_process_if_that_is_wanted, .signal = SIGABRT)
{
	START("STRICT=1");
	ze_command_list_handle_t l = immediate_list();

	OK(ze.zeCommandListDestroy(l));
	(void)ze.zeCommandListDestroy(l);
}
