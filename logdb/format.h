/* format.h - what the writer stores in LMDB and the reader reads; docs/log-format.md specifies it. */
#ifndef HG_LOGDB_FORMAT_H
#define HG_LOGDB_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "logdb/hash.h"

#define HG_LOG_VERSION 1

/* Keys of `meta`. Numbers are u64, little-endian. */
#define HG_META_VERSION "version"	/* HG_LOG_VERSION; the first key written */
#define HG_META_PID "pid"
#define HG_META_PROGRAM "program"	/* string */
#define HG_META_EXECUTOR "executor"	/* string: at the start */
#define HG_META_EXECUTOR_NOW "executor-now"	/* string: since the process changed its driver the last time */
#define HG_META_EXECUTOR_SEQ "executor-seq"	/* number of the first record after that */
#define HG_META_STARTED "started"	/* unix time, ns */
#define HG_META_CALLS "calls"		/* enum hg_calls_mode */
#define HG_META_HORIZON "horizon"	/* every record with a smaller seq is stored */
#define HG_META_RECORDS "records"	/* number of records ever stored */
#define HG_META_DROPPED "dropped"	/* number of records dropped */
#define HG_META_LATE "late-gaps"	/* dropped records whose gap could not be stored in its place */
#define HG_META_GAP_SEQ "gap-seq"	/* records are missing from the tail at or before this; 0 none */
#define HG_META_GAP_WHY "gap-why"	/* string */
#define HG_META_HOLES_TO "holes-to"	/* below this, calls may have been dropped on purpose */
#define HG_META_STOPPED "stopped"	/* 1: recording ended in order */
#define HG_META_OFF_WHY "off-why"	/* string: recording turned itself off */

/* A value of `calls`; the key is the first record's seq. Records follow. */
struct hg_block {
	uint32_t magic;
	uint32_t bytes;		/* of records */
	uint32_t nr_records;
	uint32_t reserved;
	uint64_t last_seq;
	uint64_t checksum;	/* XXH3 of the records */
};
#define HG_BLOCK_MAGIC 0x4b424748u
#define HG_BLOCK_BYTES (64u << 10)	/* as much as the writer puts into one */
_Static_assert(sizeof(struct hg_block) == 32, "part of the log format");

/* A value of `chunks`; the key is the XXH3-128 of the bytes (canonical, 16 bytes). */
struct hg_chunk {
	uint32_t pack;		/* pack-<number> */
	uint32_t size;
	uint64_t offset;
	uint64_t refs;		/* regions of kept snapshots that contain it */
};
_Static_assert(sizeof(struct hg_chunk) == 24, "part of the log format");

/*
 * A key of `images` is the 16-byte content key and a big-endian u32 index. The value begins with
 * this; the bytes follow.
 */
struct hg_image_part {
	uint64_t total;		/* bytes of the image */
	uint64_t offset;	/* of this part */
};
_Static_assert(sizeof(struct hg_image_part) == 16, "part of the log format");

#define HG_PACK_NAME "pack-%06u"
#define HG_PAYLOAD_NAME "payload-%06u"

#endif
