/* native_tables.c - NVIDIA's undocumented tables when its driver is behind hgshim. */
#define _GNU_SOURCE
#include "intercept/native_tables.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/msg.h"
#include "intercept/maps.h"
#include "intercept/native.h"
#include "intercept/tables.h"

/* A table of the driver that the application has been given, or a copy of it. */
struct given {
	unsigned char uuid[16];
	void **real;
	const void *out;		/* what was handed out */
	size_t nr_slots;
	size_t first_thunk;		/* of a copy */
	bool is_copy;
};

#define MAX_GIVEN 32
static struct given given[MAX_GIVEN];
static size_t nr_given;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- functions that stand in a copy's slots ---- */

/*
 * Nothing is known of a slot's arguments: its thunk stores a byte and jumps on, touching no register and no stack. Sized
 * for eight tables.
 */
#define NR_SLOTS 128
#define NR_THUNKS (8 * NR_SLOTS)
__attribute__((visibility("hidden"), used)) unsigned char hg_thunk_called[NR_THUNKS];
__attribute__((visibility("hidden"), used)) void *hg_thunk_target[NR_THUNKS];
extern const unsigned char hg_thunk_code[] __attribute__((visibility("hidden")));
#define THUNK_BYTES 32

__asm__(".pushsection .text\n"
	".balign 32\n"
	".hidden hg_thunk_code\n"
	".globl hg_thunk_code\n"
	".type hg_thunk_code, @function\n"
	"hg_thunk_code:\n"
	".set hg_thunk_nr, 0\n"
	".rept 1024\n"
	".balign 32\n"
	"endbr64\n"
	"movb $1, hg_thunk_called + hg_thunk_nr(%rip)\n"
	"jmp *hg_thunk_target + 8 * hg_thunk_nr(%rip)\n"
	".set hg_thunk_nr, hg_thunk_nr + 1\n"
	".endr\n"
	".size hg_thunk_code, . - hg_thunk_code\n"
	".popsection\n");
_Static_assert(NR_THUNKS == 1024, "as many as the assembly repeats");

static size_t nr_thunks;

static CUresult gone(void)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&said))
		pr_warn("the program called a function of an undocumented table of the driver that it has left: it gets CUDA_ERROR_NOT_SUPPORTED");
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- the driver's own ---- */

/* Slot 0 is the size in bytes, in most of them; 0: it is not. */
static size_t slots_of(void **table)
{
	uintptr_t bytes = (uintptr_t)table[0];

	return bytes % sizeof(void *) || bytes < 2 * sizeof(void *) || bytes > NR_SLOTS * sizeof(void *) ? 0 :
												  bytes / sizeof(void *);
}

/* The table may lie in memory that the loader has made read-only. */
static bool patch(void **at, void *fn)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)at & -page;
	struct hg_map m;

	if (!hg_maps_find((uintptr_t)at, &m))
		return false;
	if (!(m.prot & PROT_WRITE) && mprotect((void *)start, page, m.prot | PROT_WRITE))
		return false;
	__atomic_store_n(at, fn, __ATOMIC_RELEASE);
	if (!(m.prot & PROT_WRITE))
		(void)mprotect((void *)start, page, m.prot);
	return true;
}

static CUresult (*real_primary)(CUcontext *out, CUdevice dev);

static void **real_table(const unsigned char uuid[16], CUresult *r)
{
	const void *table = NULL;
	CUuuid id;

	memcpy(id.bytes, uuid, 16);
	*r = hg_nv.cuGetExportTable ? hg_nv.cuGetExportTable(&table, &id) : CUDA_ERROR_NOT_FOUND;
	return *r == CUDA_SUCCESS ? (void **)(uintptr_t)table : NULL;
}

/* Slot 2 as the driver filled it, before it is replaced. */
static void learn_primary(void)
{
	CUresult r;
	void **table = real_table(hg_table_runtime, &r);

	if (table && slots_of(table) > 2)
		real_primary = (CUresult (*)(CUcontext *, CUdevice))table[2];
}

static pthread_once_t learn_once = PTHREAD_ONCE_INIT;

CUcontext hg_native_primary_ctx(CUdevice dev)
{
	CUcontext ctx = NULL;

	pthread_once(&learn_once, learn_primary);
	return real_primary && real_primary(&ctx, dev) == CUDA_SUCCESS ? ctx : NULL;
}

/* What may not pass hgshim: loading code, and naming a context while the gate is closed. */
static void patch_runtime(const struct given *g)
{
	static const unsigned char slots[] = { 1, 2, 6, 8 };
	size_t nr;
	void **ours = hg_table_ours(hg_table_runtime, &nr);

	pthread_once(&learn_once, learn_primary);
	for (size_t i = 0; i < sizeof(slots); i++)
		if (slots[i] < g->nr_slots && slots[i] < nr && !patch(&g->real[slots[i]], ours[slots[i]]))
			pr_warn("cannot write to the driver's table of the runtime: code that old runtimes load is not recorded");
}

/* Only what is a function of the driver is one that can be called. */
static bool is_code(const void *p)
{
	struct hg_map m;

	return p && hg_maps_find((uintptr_t)p, &m) && m.prot & PROT_EXEC;
}

static void make_copy(struct given *g)
{
	static void *copy[NR_THUNKS];

	if (!g->nr_slots || nr_thunks + g->nr_slots > NR_THUNKS)
		return;
	for (size_t i = 0; i < g->nr_slots; i++) {
		size_t n = nr_thunks + i;

		copy[n] = g->real[i];
		hg_thunk_target[n] = g->real[i];
		if (i && is_code(g->real[i]))
			copy[n] = (void *)(uintptr_t)(hg_thunk_code + n * THUNK_BYTES);
	}
	g->is_copy = true;
	g->first_thunk = nr_thunks;
	g->out = &copy[nr_thunks];
	nr_thunks += g->nr_slots;
}

static CUresult give(const unsigned char uuid[16], const void **out)
{
	struct given *g;
	void **real;
	CUresult r;

	for (size_t i = 0; i < nr_given; i++)
		if (!memcmp(given[i].uuid, uuid, 16)) {
			*out = given[i].out;
			return CUDA_SUCCESS;
		}
	real = real_table(uuid, &r);
	if (!real)
		return r;
	if (nr_given == MAX_GIVEN)
		return CUDA_ERROR_NOT_FOUND;
	g = &given[nr_given];
	*g = (struct given){ .real = real, .out = real, .nr_slots = slots_of(real) };
	memcpy(g->uuid, uuid, 16);
	if (!memcmp(uuid, hg_table_runtime, 16))
		patch_runtime(g);
	else if (!hg_table_is_known(uuid))
		make_copy(g);
	nr_given++;
	*out = g->out;
	return CUDA_SUCCESS;
}

CUresult hg_native_table(const char uuid[16], const void **out)
{
	CUresult r;

	if (!memcmp(uuid, hg_table_local, 16))
		return hg_table_get(uuid, out);
	pthread_mutex_lock(&lock);
	r = give((const unsigned char *)uuid, out);
	pthread_mutex_unlock(&lock);
	return r;
}

/* ---- checkpoints ---- */

static void uuid_text(const unsigned char uuid[16], char text[33])
{
	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", uuid[i]);
}

void hg_native_tables_uncovered(void (*each)(const char *kind, const char *what, void *arg), void *arg)
{
	char what[128], id[33];

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nr_given; i++) {
		const struct given *g = &given[i];

		uuid_text(g->uuid, id);
		if (!g->is_copy && !hg_table_is_known(g->uuid)) {
			snprintf(what, sizeof(what), "the undocumented table %s was asked for, and hgshim cannot look into it", id);
			each("table", what, arg);
		}
		for (size_t s = 1; g->is_copy && s < g->nr_slots; s++)
			if (hg_thunk_called[g->first_thunk + s] && !hg_table_function(g->uuid, s)) {
				snprintf(what, sizeof(what), "function %zu of the undocumented table %s was called", s, id);
				each("table", what, arg);
			}
	}
	pthread_mutex_unlock(&lock);
}

void hg_native_tables_switch(void)
{
	const void *runtime = NULL, *checksum = NULL;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < nr_given; i++) {
		struct given *g = &given[i];

		if (!memcmp(g->uuid, hg_table_runtime, 16))
			runtime = g->real;
		if (!memcmp(g->uuid, hg_table_checksum, 16))
			checksum = g->real;
		for (size_t s = 1; s < g->nr_slots; s++) {
			void *ours = hg_table_function(g->uuid, s);

			if (!ours)
				ours = (void *)gone;
			if (g->is_copy)
				__atomic_store_n(&hg_thunk_target[g->first_thunk + s], ours, __ATOMIC_RELEASE);
			else if (!patch(&g->real[s], ours))
				pr_warn("cannot write to a table of the driver: the program may still call it");
		}
	}
	/* what the runtime hashes are the addresses that it was given */
	hg_table_addresses(runtime, checksum);
	pthread_mutex_unlock(&lock);
}
