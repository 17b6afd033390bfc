/* symbols.h - the driver's symbols as a table: names, versions, entries, and what answers them. */
#ifndef HG_INTERCEPT_SYMBOLS_H
#define HG_INTERCEPT_SYMBOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "intercept/cuda_abi.h"

enum hg_sym {
#define HG_SYM(sym, plain, base, version, flavour, params, args) HG_SYM_##sym,
#include "intercept/symbols.def"
	HG_SYM_COUNT
};

enum hg_flavour { HG_FLAVOUR_PLAIN, HG_FLAVOUR_PTSZ, HG_FLAVOUR_PTDS };

struct hg_symbol {
	const char *name;	/* ABI symbol */
	const char *base;	/* for cuGetProcAddress */
	void *entry;		/* what hgshim exports under that name */
	uint16_t version;	/* (1000 * major + 10 * minor): 13000 is 13.0 */
	uint16_t plain;		/* enum hg_sym of the symbol without its flavour */
	uint8_t flavour;
};

/* Of the headers that the table was made from: of newer calls it knows nothing, whatever this is built with. */
#define HG_SYMBOLS_VERSION 13000

/* Ascending by name. */
extern const struct hg_symbol hg_symbols[HG_SYM_COUNT];

/* -1 when it is none. */
int hg_symbol_find(const char *name);

/* A function pointer for each plain and flavoured symbol; NULL: the executor does not have the call. */
struct hg_real {
#define HG_SYM(sym, plain, base, version, flavour, params, args) __typeof__(sym) *sym;
#include "intercept/symbols.def"
};

/*
 * What answers the calls. [0]: as named. [1]: for callers whose default stream is the thread's own; there a
 * plain symbol's member is its _ptsz or _ptds variant where it has one.
 */
extern struct hg_real hg_real[2];

/* Fills hg_real by name; with NULL: all members NULL. */
void hg_real_fill(void *(*proc)(const char *symbol));

/*
 * cuGetProcAddress: the newest symbol of that name that is not newer than `version`. NULL when there is none;
 * *status then says why.
 */
CUresult hg_procaddr_by_table(const char *base, void **pfn, int version, cuuint64_t flags,
			      CUdriverProcAddressQueryResult *status);	/* as hg_executor.procaddr */
void *hg_procaddr_find(const char *base, int version, bool per_thread, CUdriverProcAddressQueryResult *status);

#endif
