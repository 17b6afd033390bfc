/* snapshot.c - what a checkpoint does in the process. */
#include "intercept/snapshot.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/msg.h"
#include "intercept/coverage.h"
#include "intercept/gate.h"
#include "intercept/ledger.h"
#include "intercept/elsewhere.h"
#include "intercept/migrate.h"
#include "intercept/shim.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* What is left of a request's time; at least 1 ms, so that a wait may still succeed at once. */
static uint32_t left_ms(uint64_t end_ns)
{
	uint64_t now = now_ns();

	return now + 1000000u < end_ns ? (uint32_t)((end_ns - now) / 1000000u) : 1;
}

struct copying {
	struct hg_recorder *recorder;
	struct hg_snapshot_writer *writer;
	const struct hg_region *region;	/* being read */
	struct hg_coverage *coverage;
	uint64_t done, total;
};

/* The executor knows handles and addresses, the log knows serial ids. */
static uint64_t object_of(const struct hg_region *r)
{
	static const enum hg_kind device[] = { HG_KIND_DPTR }, global[] = { HG_KIND_MODULE, HG_KIND_LIBRARY },
				  host[] = { HG_KIND_HPTR };
	const enum hg_kind *kind = host;
	size_t nr = 1;

	if (r->kind == HG_REGION_DEVICE) {
		kind = device;
	} else if (r->kind == HG_REGION_GLOBAL) {
		kind = global;
		nr = 2;
	}
	for (size_t i = 0; i < nr; i++) {
		const struct hg_entry *e = hg_ledger_find(kind[i], r->object);

		if (e)
			return e->id;
	}
	return 0;
}

static enum hg_status count_region(const struct hg_region *r, void *arg)
{
	struct copying *c = arg;

	c->total += r->size;
	c->coverage->nr_regions++;
	if (!object_of(r))
		hg_coverage_add(c->coverage, "memory", "%" PRIu64 " bytes at 0x%" PRIx64 " belong to nothing that was recorded",
				r->size, r->addr);
	return HG_OK;
}

static enum hg_status read_chunk(void *dst, uint64_t addr, size_t size, void *arg)
{
	struct copying *c = arg;
	enum hg_status st;

	if (hg_gate_is_ended()) {
		hg_recorder_explain(c->recorder, "the program is ending");
		return HG_ERR_REFUSED;
	}
	st = hg_shim_executor()->read(c->region, dst, addr - c->region->addr, size);

	c->done += size;
	hg_recorder_progress(c->recorder, HG_CONTROL_COPYING, c->done, c->total);
	return st;
}

static enum hg_status copy_region(const struct hg_region *r, void *arg)
{
	struct copying *c = arg;
	struct hg_region mine = *r;

	mine.object = object_of(r);
	c->region = r;
	return hg_snapshot_region(c->writer, &mine, read_chunk, c);
}

/* With the gate closed and all queues empty. */
static enum hg_status take(struct hg_recorder *recorder, bool allow_partial, uint64_t *number)
{
	struct hg_coverage coverage = { 0 };
	struct copying c = { .recorder = recorder, .coverage = &coverage };
	struct hg_writer manifest = { 0 };
	uint64_t bytes, bytes_written;
	enum hg_status st;
	bool partial;

	hg_coverage_scan(&coverage);
	st = hg_shim_executor()->regions(count_region, &c);
	if (st != HG_OK)
		goto out;
	coverage.bytes = c.total;
	partial = coverage.nr_uncovered > 0;
	if (partial && !allow_partial) {
		hg_recorder_explain(recorder, "the snapshot would be incomplete (%zu reasons; --allow-partial takes it all the same): %s",
				    coverage.nr_uncovered, coverage.first);
		st = HG_ERR_REFUSED;
		goto out;
	}
	hg_coverage_write(&coverage, partial, &manifest);
	if (manifest.failed) {
		hg_recorder_explain(recorder, "out of memory");
		st = HG_ERR_NOMEM;
		goto out;
	}

	hg_recorder_progress(recorder, HG_CONTROL_COPYING, 0, c.total);
	st = hg_snapshot_begin(recorder, &c.writer);
	if (st != HG_OK)
		goto out;
	st = hg_shim_executor()->regions(copy_region, &c);
	hg_shim_executor()->read_end();
	if (st != HG_OK) {
		hg_snapshot_abandon(c.writer);
		goto out;
	}
	hg_recorder_progress(recorder, HG_CONTROL_COMMITTING, c.done, c.total);
	st = hg_snapshot_commit(c.writer, (const char *)manifest.data, partial, number, &bytes, &bytes_written);
out:
	hg_writer_release(&manifest);
	hg_coverage_release(&coverage);
	return st;
}

/* Errors after which a context has no defined state. */
static bool is_fault(CUresult r)
{
	switch (r) {
	case CUDA_ERROR_ECC_UNCORRECTABLE:
	case CUDA_ERROR_ILLEGAL_ADDRESS:
	case CUDA_ERROR_LAUNCH_TIMEOUT:
	case CUDA_ERROR_ASSERT:
	case CUDA_ERROR_HARDWARE_STACK_ERROR:
	case CUDA_ERROR_ILLEGAL_INSTRUCTION:
	case CUDA_ERROR_MISALIGNED_ADDRESS:
	case CUDA_ERROR_INVALID_ADDRESS_SPACE:
	case CUDA_ERROR_INVALID_PC:
	case CUDA_ERROR_LAUNCH_FAILED:
	case CUDA_ERROR_TENSOR_MEMORY_LEAK:
	case CUDA_ERROR_UNKNOWN:
		return true;
	default:
		return false;
	}
}

struct fault {
	const char *call;
	CUresult result;
};

/* A context that lost a kernel says so in every call; this one does not wait for those of the others. */
static int find_fault(const struct hg_entry *e, void *arg)
{
	struct fault *f = arg;
	CUcontext popped;

	if (e->kind != HG_KIND_CTX || !hg_real[0].cuCtxPushCurrent_v2 || !hg_real[0].cuCtxPopCurrent_v2 ||
	    !hg_real[0].cuStreamQuery)
		return 0;
	f->call = "cuCtxPushCurrent_v2";
	f->result = hg_real[0].cuCtxPushCurrent_v2((CUcontext)(uintptr_t)e->handle);
	if (f->result != CUDA_SUCCESS)
		return 1;
	f->call = "cuStreamQuery";
	f->result = hg_real[0].cuStreamQuery(CU_STREAM_LEGACY);
	(void)hg_real[0].cuCtxPopCurrent_v2(&popped);
	return f->result != CUDA_SUCCESS && f->result != CUDA_ERROR_NOT_READY;
}

static enum hg_status refuse_faulted(struct hg_recorder *recorder)
{
	struct fault fault = { .result = CUDA_SUCCESS };
	const char *text = "unknown error";

	if (!hg_ledger_each(find_fault, &fault))
		return HG_OK;
	if (hg_real[0].cuGetErrorString)
		(void)hg_real[0].cuGetErrorString(fault.result, &text);
	if (is_fault(fault.result))
		hg_recorder_explain(recorder, "a kernel of the program failed (%s: %s): its context has no state that could be kept",
				    fault.call, text);
	else
		hg_recorder_explain(recorder, "%s failed (%s): it is not known whether the kernels are done", fault.call, text);
	return HG_ERR_REFUSED;
}

static enum hg_status quiesce(struct hg_recorder *recorder, uint64_t end)
{
	enum hg_status st = hg_shim_executor()->quiesce(left_ms(end));

	switch (st) {
	case HG_OK:
		return refuse_faulted(recorder);
	case HG_ERR_FAULT:
		return refuse_faulted(recorder) == HG_OK ? st : HG_ERR_REFUSED;
	case HG_ERR_TIMEOUT:
		hg_recorder_explain(recorder, "kernels were still running when the time was over");
		return st;
	default:
		hg_recorder_explain(recorder, "the queues could not be emptied: %s", hg_status_text(st));
		return st;
	}
}

enum hg_status hg_checkpoint(const struct hg_control *request, void *arg)
{
	struct hg_recorder *recorder = hg_shim_recorder;
	bool migrate = request->flags & HG_CONTROL_MIGRATE;
	uint32_t timeout_ms = request->timeout_ms;
	const char *target = NULL;
	uint64_t number;
	uint64_t start = now_ns(), end = start + (uint64_t)timeout_ms * 1000000u;
	enum hg_status st;

	(void)arg;
	hg_elsewhere_mark();
	if (!recorder)
		return HG_ERR_UNAVAILABLE;
	if (!hg_recorder_is_on(recorder)) {
		hg_recorder_explain(recorder, "recording was turned off");
		return HG_ERR_UNAVAILABLE;
	}
	if (migrate) {
		char asked[sizeof(request->target) + 1] = "";

		memcpy(asked, request->target, sizeof(request->target));
		st = hg_migrate_check(asked, &target);
		if (st != HG_OK)
			return st;
		hg_migrate_ahead(recorder, target, timeout_ms);
		start = now_ns();
		end = start + (uint64_t)timeout_ms * 1000000u;
	}
	hg_recorder_progress(recorder, HG_CONTROL_QUIESCING, 0, 0);
	if (!hg_gate_close(timeout_ms)) {
		if (hg_gate_is_ended()) {
			hg_recorder_explain(recorder, "no CUDA call of the program works any more: it is ending, or has lost its driver");
			return HG_ERR_REFUSED;
		}
		hg_recorder_explain(recorder, "a CUDA call of the program was still running after %" PRIu32 " ms", timeout_ms);
		return HG_ERR_TIMEOUT;
	}
	st = quiesce(recorder, end);
	if (st == HG_OK) {
		st = hg_recorder_drain(recorder, left_ms(end));
		if (st != HG_OK)
			hg_recorder_explain(recorder, "the log could not be written: %s", hg_status_text(st));
	}
	/* what is not in the snapshot would be lost on the way */
	if (st == HG_OK)
		st = take(recorder, !migrate && request->flags & HG_CONTROL_ALLOW_PARTIAL, &number);
	if (st == HG_OK && migrate)
		st = hg_migrate(recorder, target, number);
	hg_gate_open();
	hg_recorder_stalled(recorder, now_ns() - start);
	return st;
}
