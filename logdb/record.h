/* record.h - the binary form of one recorded call. docs/log-format.md is its specification. */
#ifndef HG_LOGDB_RECORD_H
#define HG_LOGDB_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/status.h"
#include "logdb/call.h"

/*
 * A record: this header, `nr_words` 8-byte words (one per signature word), then the contents of
 * blob words in order, each padded to 8 bytes. Little-endian, size a multiple of 8.
 *
 * Sequence numbers begin at HG_ID_FIRST, and the serial id of an object is the sequence number of
 * the record that created it (ALLOC and HOST_* records included). Words:
 *   object in       its id; 0 NULL; 1 and 2 in a stream word: CU_STREAM_LEGACY, CU_STREAM_PER_THREAD
 *   object created  the handle's value; the object's id is the record's seq, unless HG_REC_KNOWN
 *                   says that the handle named a live object already (a second retain or look-up)
 *   numbers, addresses   as they are
 *   cstr, bytes, image   a blob descriptor: length | encoding << 56
 */
enum hg_rec_flags { HG_REC_KNOWN = 1 };

struct hg_rec {
	uint32_t size;		/* whole record */
	uint16_t call;		/* enum hg_call_id, or one of HG_REC_* below */
	uint16_t nr_words;
	uint64_t seq;		/* total order of a log; from HG_ID_FIRST */
	uint64_t ctx;		/* id of the thread's current context after the call, or 0 */
	uint32_t thread;	/* serial number of the calling thread in this log, from 1 */
	int32_t result;		/* CUresult */
	uint32_t stack;		/* id in the stacks table, 0 none */
	uint32_t flags;		/* enum hg_rec_flags */
	uint64_t word[];
};
_Static_assert(sizeof(struct hg_rec) == 40, "the record header is part of the log format");

#define HG_ID_FIRST 16

enum {
	HG_REC_GAP = 0xff00,	/* word[0] records were dropped by this thread before this one */
	HG_REC_PAYLOAD = 0xff01,/* ring only: a fragment of a payload or image; see ring.h */
	HG_REC_STACK = 0xff02,	/* ring only: word[0] = id, then the frames' addresses */
};

enum hg_blob_enc {
	HG_BLOB_INLINE = 0,	/* `length` bytes follow */
	HG_BLOB_PAYLOAD = 1,	/* struct hg_payload_ref follows */
	HG_BLOB_DIGEST = 2,	/* u64 XXH3 of `length` bytes that were not kept */
	HG_BLOB_IMAGE = 3,	/* 16-byte XXH3-128 key in the images table */
	HG_BLOB_ABSENT = 4,	/* nothing follows: neither kept nor hashed */
};

struct hg_payload_ref {
	uint32_t file;		/* payload-<file> in the log directory */
	uint32_t reserved;
	uint64_t offset;
	uint64_t digest;	/* XXH3 of the bytes */
};

#define HG_BLOB(enc, len) ((uint64_t)(len) | (uint64_t)(enc) << 56)
static inline enum hg_blob_enc hg_blob_enc(uint64_t w) { return (enum hg_blob_enc)(w >> 56); }
static inline uint64_t hg_blob_len(uint64_t w) { return w & ((UINT64_C(1) << 56) - 1); }

/* A record taken apart: all pointers into the record's own memory. */
struct hg_rec_view {
	const struct hg_rec *rec;
	const struct hg_call_desc *desc;	/* NULL: a row this build does not know */
	int nr_args;
	struct hg_arg arg[HG_MAX_ARGS];
	const void *blob[HG_MAX_ARGS];		/* start of the blob's content, or NULL */
};

/* Checks every length against `size`; HG_ERR_CORRUPT with a message otherwise. */
enum hg_status hg_rec_view(const void *data, size_t size, struct hg_rec_view *out) HG_MUST_CHECK;

/* One line: "42 t1 cuMemAlloc_v2(dptr=0x2000…, bytesize=4096) = 0". */
void hg_rec_print(const struct hg_rec_view *v, FILE *f);

#endif
