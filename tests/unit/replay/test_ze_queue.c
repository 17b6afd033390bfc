/* test_ze_queue.c - what is known of a queue's work on the Intel target, with functions of ours in the place of Level Zero's. */
#include <criterion/criterion.h>

#include "replay/ze.h"

/* While the events are asked for, one after the other, work goes on. */
static unsigned int nr_asked, done_from;

static ze_result_t query_status(ze_event_handle_t event)
{
	(void)event;
	return ++nr_asked < done_from ? ZE_RESULT_NOT_READY : ZE_RESULT_SUCCESS;
}

static ze_result_t host_reset(ze_event_handle_t event)
{
	(void)event;
	return ZE_RESULT_SUCCESS;
}

/* The last piece is not done when it is looked at first, and all are when the others have been looked at. */
Test(ze_queue, work_that_ends_while_it_is_looked_at_is_known_once)
{
	enum { PIECES = 3, ROOM = 4 };
	static struct hg_target t;
	static struct ze_event event[ROOM + 1];
	/* what lies behind the last piece must not be looked at */
	static struct ze_pending pending[ROOM];
	static struct hg_queue q = { .target = &t, .issued = PIECES, .pending = pending, .room = ROOM };

	hg_ze.zeEventQueryStatus = query_status;
	hg_ze.zeEventHostReset = host_reset;
	done_from = 2;
	pthread_mutex_init(&q.lock, NULL);
	pthread_mutex_init(&t.events_lock, NULL);
	for (int i = 0; i < PIECES; i++) {
		pending[i].event = &event[i];
		atomic_store(&event[i].refs, 1);
	}
	cr_assert(ze_list_is_idle(&q));
	cr_assert_eq(q.known, PIECES);
	cr_assert_eq(nr_asked, 1 + PIECES, "asked %u times", nr_asked);
}
