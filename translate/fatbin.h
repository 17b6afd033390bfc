/* fatbin.h - containers of GPU code: wrappers, fatbins, cubins. Private to translate/ and its tests. */
#ifndef HG_TRANSLATE_FATBIN_H
#define HG_TRANSLATE_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define HG_FATBIN_WRAPPER_MAGIC 0x466243b1u
#define HG_FATBIN_MAGIC 0xba55ed50u

enum hg_fatbin_kind { HG_FATBIN_PTX = 1, HG_FATBIN_ELF = 2, HG_FATBIN_LTO = 8 };
enum hg_fatbin_flags {
	HG_FATBIN_64BIT = 1, HG_FATBIN_DEBUG = 2, HG_FATBIN_LZ4 = 0x2000, HG_FATBIN_ZSTD = 0x8000,
	HG_FATBIN_ARCH_SPECIFIC = 0x1000000,
};

struct hg_fatbin_entry {
	uint16_t kind, major, minor;	/* major.minor: PTX version */
	uint32_t sm;
	uint64_t flags;
	const unsigned char *data;	/* in the fatbin, as stored */
	uint64_t size, plain_size;	/* as stored; when not compressed, both the same */
};

/* Walks a fatbin of which `size` bytes may be read. Logs what is wrong. */
struct hg_fatbin {
	const unsigned char *pos, *end;
};
enum hg_status hg_fatbin_open(struct hg_fatbin *fb, const void *data, size_t size) HG_MUST_CHECK;
/* HG_ERR_NOTFOUND, not logged: no entry any more. */
enum hg_status hg_fatbin_next(struct hg_fatbin *fb, struct hg_fatbin_entry *out) HG_MUST_CHECK;
/* The entry's plain bytes with a NUL behind; *out is malloc'ed. */
enum hg_status hg_fatbin_extract(const struct hg_fatbin_entry *e, char **out, size_t *out_size) HG_MUST_CHECK;

/*
 * The parts of an image: PTX text, fatbins or cubins that lie in memory. A wrapper of version 2 and a
 * flattened image have several, which are linked together.
 */
enum hg_image_part_kind { HG_IMAGE_TEXT, HG_IMAGE_FATBIN, HG_IMAGE_ELF };
struct hg_image_part {
	enum hg_image_part_kind kind;
	const void *data;
	size_t size;
};
/* size 0: unknown. *out is malloc'ed. */
enum hg_status hg_image_parts(const void *image, size_t size, struct hg_image_part **out, size_t *nr) HG_MUST_CHECK;

/* Whether the headers of a 64-bit ELF file fit in `size` bytes. */
bool hg_cubin_is_whole(const void *elf, size_t size);
/* Names of the kernels in a cubin, comma separated, cut to fit; how many there are. */
size_t hg_cubin_kernels(const void *elf, size_t size, char *names, size_t names_size);

#endif
