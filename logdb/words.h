/* words.h - the word lists that several irregular calls share. */
#ifndef HG_LOGDB_WORDS_H
#define HG_LOGDB_WORDS_H

/* Every launch (op LAUNCH). params: the parameter block, as the kernel sees it. */
enum hg_launch_word {
	HG_LAUNCH_FUNCTION,
	HG_LAUNCH_GRID_X, HG_LAUNCH_GRID_Y, HG_LAUNCH_GRID_Z,
	HG_LAUNCH_BLOCK_X, HG_LAUNCH_BLOCK_Y, HG_LAUNCH_BLOCK_Z,
	HG_LAUNCH_SHARED,	/* dynamic shared memory, bytes */
	HG_LAUNCH_STREAM,
	HG_LAUNCH_FLAGS,	/* enum hg_launch_flags */
	HG_LAUNCH_PARAMS,
	HG_LAUNCH_NR_WORDS
};

enum hg_launch_flags { HG_LAUNCH_COOPERATIVE = 1 };

/*
 * Every structured copy (op COPY): cuMemcpy, the peer, 2-D and 3-D forms. The addresses have the
 * structure's offsets (x in bytes, y, z) already added; width is in bytes; a slice is the number of
 * bytes from one plane to the next. `data` is the source packed without padding (width * height
 * * depth bytes) when it is host memory and the destination is device memory; the digest of the bytes
 * that arrived when a synchronous copy went to the host; else absent with length 0.
 */
enum hg_copy_word {
	HG_COPY_KINDS,		/* enum hg_copy_kinds */
	HG_COPY_DST, HG_COPY_SRC,
	HG_COPY_WIDTH, HG_COPY_HEIGHT, HG_COPY_DEPTH,
	HG_COPY_DST_PITCH, HG_COPY_DST_SLICE,
	HG_COPY_SRC_PITCH, HG_COPY_SRC_SLICE,
	HG_COPY_STREAM,
	HG_COPY_DATA,
	HG_COPY_NR_WORDS
};

enum hg_copy_kinds { HG_COPY_TO_DEVICE = 1, HG_COPY_FROM_DEVICE = 2, HG_COPY_ASYNC = 4 };

#endif
