/* coverage.c - what of a process's state a snapshot holds, and what it does not. */
#include "intercept/coverage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "intercept/ledger.h"
#include "intercept/record.h"
#include "intercept/shim.h"

static void text(struct hg_writer *w, const char *s)
{
	hg_write_bytes(w, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void format(struct hg_writer *w, const char *fmt, ...)
{
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	text(w, buf);
}

/* A JSON string. Bytes above ASCII pass: names are UTF-8 where they are anything. */
static void quoted(struct hg_writer *w, const char *s)
{
	text(w, "\"");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			format(w, "\\%c", c);
		else if (c < 0x20)
			format(w, "\\u%04x", c);
		else
			hg_write_u8(w, c);
	}
	text(w, "\"");
}

bool hg_coverage_is_harmless(const char *symbol)
{
	/* hand memory to another process, or another API */
	static const char *const exports[] = { "Ipc", "Export", "GetHandleForAddressRange" };
	/* tell, and change nothing */
	static const char *const asks[] = { "Get", "Query", "Occupancy", "CanAccess", "IsCapturing", "IsLoaded" };
	/* change how fast things go, or an order that holds once all queues are empty */
	static const char *const harmless[] = {
		"cuInit", "cuDeviceTotalMem", "cuDeviceTotalMem_v2", "cuDeviceComputeCapability", "cuEventElapsedTime",
		"cuEventElapsedTime_v2", "cuFuncLoad", "cuMemAdvise", "cuMemAdvise_v2", "cuMemPrefetchAsync", "cuMemPrefetchAsync_v2",
		"cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop", "cuCtxResetPersistingL2Cache",
		"cuMemPoolTrimTo", "cuMemPoolSetAttribute", "cuMemPoolSetAccess", "cuDeviceSetMemPool",
		"cuThreadExchangeStreamCaptureMode", "cuStreamSetAttribute", "cuStreamCopyAttributes",
		"cuPointerSetAttribute", "cuCtxRecordEvent", "cuCtxWaitEvent",
	};

	for (size_t i = 0; i < sizeof(exports) / sizeof(exports[0]); i++)
		if (strstr(symbol, exports[i]))
			return false;
	/* make an image in the program's memory; the loading of it is recorded */
	if (!strncmp(symbol, "cuLink", 6))
		return true;
	for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++)
		if (strstr(symbol, asks[i]))
			return true;
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (!strcmp(symbol, harmless[i]))
			return true;
	return false;
}

void hg_coverage_add(struct hg_coverage *c, const char *kind, const char *fmt, ...)
{
	char phrase[sizeof(c->first)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(phrase, sizeof(phrase), fmt, ap);
	va_end(ap);
	if (c->nr_uncovered++ == 0)
		memcpy(c->first, phrase, sizeof(c->first));
	else
		text(&c->uncovered, ",");
	text(&c->uncovered, "{\"kind\":");
	quoted(&c->uncovered, kind);
	text(&c->uncovered, ",\"what\":");
	quoted(&c->uncovered, phrase);
	text(&c->uncovered, "}");
}

static void add_uncovered(const char *kind, const char *what, void *arg)
{
	hg_coverage_add(arg, kind, "%s", what);
}

void hg_coverage_scan(struct hg_coverage *c)
{
	uint64_t unknown = hg_record_nr_unknown();

	for (int i = 0; i < HG_SYM_COUNT; i++)
		if (hg_shim_seen[i] & HG_SEEN_SUCCESS && !hg_coverage_is_harmless(hg_symbols[i].name))
			hg_coverage_add(c, "call", "'%s' was called, and what it made is not recorded",
					hg_symbols[i].name);
	if (unknown)
		hg_coverage_add(c, "handle", "%" PRIu64 " calls used a handle that hgshim has not seen made", unknown);
	if (hg_ledger_is_incomplete())
		hg_coverage_add(c, "memory", "objects were not kept track of: there was no memory");
	hg_shim_executor()->uncovered(add_uncovered, c);
}

static enum hg_status write_refused(const char *kernel, const char *why, void *arg)
{
	struct hg_writer *w = arg;

	if (w->data[w->size - 1] != '[')
		text(w, ",");
	text(w, "{\"kernel\":");
	quoted(w, kernel);
	text(w, ",\"why\":");
	quoted(w, why);
	text(w, "}");
	return HG_OK;
}

static void write_names(struct hg_writer *w, unsigned char seen)
{
	const char *comma = "";

	for (int i = 0; i < HG_SYM_COUNT; i++)
		if (hg_shim_seen[i] & seen) {
			text(w, comma);
			quoted(w, hg_symbols[i].name);
			comma = ",";
		}
}

void hg_coverage_write(const struct hg_coverage *c, bool partial, struct hg_writer *out)
{
	static const enum hg_kind kinds[] = {
		HG_KIND_CTX, HG_KIND_MODULE, HG_KIND_LIBRARY, HG_KIND_FUNCTION, HG_KIND_STREAM, HG_KIND_EVENT,
		HG_KIND_DPTR, HG_KIND_HPTR,
	};

	text(out, "{\"version\":1,\"target\":");
	quoted(out, hg_shim_target());
	format(out, ",\"partial\":%s,\"quiesce\":\"done\",\"regions\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"objects\":{",
	       partial ? "true" : "false", c->nr_regions, c->bytes);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		format(out, "%s\"%s\":%zu", i ? "," : "", hg_kind_name(kinds[i]), hg_ledger_count(kinds[i]));
	text(out, "},\"uncovered\":[");
	hg_write_bytes(out, c->uncovered.data, c->uncovered.size);
	out->failed |= c->uncovered.failed;
	text(out, "],\"unsupported_calls\":[");
	write_names(out, HG_SEEN_MISSING);
	text(out, "],\"unrecorded_calls\":[");
	write_names(out, HG_SEEN_SUCCESS);
	text(out, "],\"refused_kernels\":[");
	if (!out->failed && hg_shim_executor()->refused(write_refused, out) != HG_OK)
		out->failed = true;
	text(out, "]}");
	hg_write_u8(out, 0);
}

void hg_coverage_release(struct hg_coverage *c)
{
	hg_writer_release(&c->uncovered);
}
