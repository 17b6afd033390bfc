/* dump.h - the buffers of the portable driver as files. */
#ifndef HG_TOOLS_DUMP_H
#define HG_TOOLS_DUMP_H

#include "replay/replay.h"
#include "tools/progress.h"

/*
 * Writes one file for each buffer, named by its address in hexadecimal (0x200000000000), and manifest.json,
 * which lists them. Makes the folder; leaves other files in it alone. The driver must be open and idle.
 */
enum hg_status hg_dump(const char *folder, const char *target, const struct hg_replay_report *report,
		       bool quiet) HG_MUST_CHECK;
const char *hg_text_region(enum hg_region_kind kind);	/* "device", "global", … */

#endif
