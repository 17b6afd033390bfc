/* test_ledger.c - handles, ids and their families. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>

#include "intercept/ledger.h"

static void add(enum hg_kind kind, uint64_t handle, uint64_t id, uint64_t parent)
{
	struct hg_entry e = { .kind = kind, .handle = handle, .id = id, .parent = parent };

	cr_assert(hg_ledger_add(&e));
}

Test(ledger, finds_what_was_added_by_kind_and_handle)
{
	add(HG_KIND_STREAM, 0x1000, 20, 16);
	add(HG_KIND_EVENT, 0x1000, 21, 16);
	cr_assert_not_null(hg_ledger_find(HG_KIND_STREAM, 0x1000));
	cr_expect_eq(hg_ledger_find(HG_KIND_STREAM, 0x1000)->id, 20);
	cr_expect_eq(hg_ledger_find(HG_KIND_EVENT, 0x1000)->id, 21);
	cr_expect_null(hg_ledger_find(HG_KIND_CTX, 0x1000));
	cr_expect_null(hg_ledger_find(HG_KIND_STREAM, 0x1008));
	cr_expect_null(hg_ledger_find(HG_KIND_STREAM, 0));
}

Test(ledger, a_handle_used_again_names_the_new_object)
{
	struct hg_entry gone;

	add(HG_KIND_DPTR, 0x200000000000, 30, 16);
	cr_assert(hg_ledger_take(HG_KIND_DPTR, 0x200000000000, &gone));
	cr_expect_eq(gone.id, 30);
	cr_expect_not(hg_ledger_take(HG_KIND_DPTR, 0x200000000000, &gone));
	add(HG_KIND_DPTR, 0x200000000000, 31, 16);
	cr_expect_eq(hg_ledger_find(HG_KIND_DPTR, 0x200000000000)->id, 31);
	add(HG_KIND_DPTR, 0x200000000000, 32, 16);
	cr_expect_eq(hg_ledger_find(HG_KIND_DPTR, 0x200000000000)->id, 32);
	cr_expect_eq(hg_ledger_count(HG_KIND_DPTR), 1);
}

Test(ledger, children_go_with_their_parents_and_nobody_else)
{
	add(HG_KIND_CTX, 1 << 8, 16, 0);
	add(HG_KIND_CTX, 2 << 8, 17, 0);
	add(HG_KIND_LIBRARY, 3 << 8, 18, 0);
	add(HG_KIND_MODULE, 4 << 8, 19, 16);
	add(HG_KIND_FUNCTION, 5 << 8, 20, 19);
	add(HG_KIND_FUNCTION, 6 << 8, 21, 18);
	for (uint64_t i = 0; i < 1000; i++)
		add(HG_KIND_DPTR, (i + 1) << 21, 100 + i, i % 2 ? 16 : 17);
	hg_ledger_drop_children(&(struct hg_entry){ .kind = HG_KIND_DPTR, .id = 16 });
	cr_expect_eq(hg_ledger_count(HG_KIND_DPTR), 1000, "memory is nobody's parent: nothing is looked for");
	hg_ledger_drop_children(&(struct hg_entry){ .kind = HG_KIND_CTX, .id = 16 });
	cr_expect_eq(hg_ledger_count(HG_KIND_DPTR), 500);
	cr_expect_null(hg_ledger_find(HG_KIND_MODULE, 4 << 8));
	cr_expect_null(hg_ledger_find(HG_KIND_FUNCTION, 5 << 8), "a function of a module of the context");
	cr_expect_not_null(hg_ledger_find(HG_KIND_FUNCTION, 6 << 8), "a library belongs to no context");
	cr_expect_not_null(hg_ledger_find(HG_KIND_CTX, 1 << 8), "the context itself is the caller's");
	hg_ledger_drop_children(&(struct hg_entry){ .kind = HG_KIND_CTX, .id = 0 });
	cr_expect_not_null(hg_ledger_find(HG_KIND_CTX, 2 << 8), "0 is nobody's parent");
}

static int count(const struct hg_entry *e, void *arg)
{
	size_t *n = arg;

	(void)e;
	return ++*n == 3 ? 7 : 0;
}

Test(ledger, each_stops_at_the_first_result_that_is_not_0)
{
	size_t n = 0;

	for (uint64_t i = 1; i <= 10; i++)
		add(HG_KIND_EVENT, i << 4, 100 + i, 0);
	cr_expect_eq(hg_ledger_each(count, &n), 7);
	cr_expect_eq(n, 3);
}

/* A handle that a driver has freed with its parent, and given to another object on another thread at once. */
static atomic_uint freed, reused;
#define NR_TURNS 4000

static void *reuses(void *arg)
{
	for (unsigned int i = 1; i <= NR_TURNS; i++) {
		while (atomic_load(&freed) != i)
			;
		for (volatile unsigned int n = 0; n < i % 256; n++)
			;
		add(HG_KIND_FUNCTION, 0x500, 2 * i + 1, 19);
		atomic_store(&reused, i);
	}
	return arg;
}

Test(ledger, a_handle_used_again_stays_when_the_family_of_the_old_one_goes, .timeout = 60)
{
	pthread_t thread;
	unsigned int lost = 0;

	for (uint64_t i = 0; i < 100; i++)
		add(HG_KIND_FUNCTION, (i + 10) << 8, 100000 + i, 20);
	pthread_create(&thread, NULL, reuses, NULL);
	for (unsigned int i = 1; i <= NR_TURNS; i++) {
		const struct hg_entry *e;

		add(HG_KIND_FUNCTION, 0x500, 2 * i, 18);
		atomic_store(&freed, i);
		hg_ledger_drop_children(&(struct hg_entry){ .kind = HG_KIND_MODULE, .id = 18 });
		while (atomic_load(&reused) != i)
			;
		e = hg_ledger_find(HG_KIND_FUNCTION, 0x500);
		lost += !e || e->id != 2 * i + 1;
	}
	pthread_join(thread, NULL);
	cr_expect_eq(lost, 0, "%u of %u were lost", lost, NR_TURNS);
}
