/* test_queues.c - order and its absence in the Level Zero driver for tests: lists, queues, barriers, events, fences. */
#include "fake_test.h"

#include <string.h>

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
	OK(ze.zeEventHostSynchronize(e, UINT64_MAX));
	memset(h, 0, 4096);
	OK(ze.zeCommandListAppendMemoryCopy(l, h, d, 4096, f, 1, &e));
	OK(ze.zeEventHostSynchronize(f, UINT64_MAX));
	for (uint32_t i = 0; i < 1024; i++)
		cr_assert_eq(h[i], i * 7);
}
