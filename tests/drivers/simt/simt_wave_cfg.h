/* simt_wave_cfg.h - the blocks of a function, its loops, and their order. Private to simt/. */
#ifndef TESTS_DRIVERS_SIMT_WAVE_CFG_H
#define TESTS_DRIVERS_SIMT_WAVE_CFG_H

#include <llvm-c/Core.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define CFG_NONE UINT32_MAX

struct cfg_loop {
	uint32_t header;	/* a block */
	uint32_t parent;	/* the loop around it, or CFG_NONE */
	uint32_t *block;	/* all of it, those of inner loops too */
	uint32_t nr_blocks;
};

/* Blocks that can be reached, numbered in reverse postorder: 0 is the entry. */
struct cfg {
	LLVMBasicBlockRef *bb;
	uint32_t nr;
	uint32_t *first_succ, *succ;	/* those of n: succ[first_succ[n]] up to that of n + 1 */
	uint32_t *first_pred, *pred;
	uint32_t *idom;
	uint32_t *loop_of;		/* the innermost loop, or CFG_NONE */
	struct cfg_loop *loop;
	uint32_t nr_loops;
	bool is_irreducible;		/* a loop with two entries: the rest says nothing about it */
	/* private */
	struct { LLVMBasicBlockRef bb; uint32_t n; } *hash;
	uint32_t hash_size;
};

enum hg_status cfg_make(LLVMValueRef f, struct cfg *out) HG_MUST_CHECK;
void cfg_free(struct cfg *g);
uint32_t cfg_block(const struct cfg *g, LLVMBasicBlockRef bb);	/* CFG_NONE: it cannot be reached */
bool cfg_in_loop(const struct cfg *g, uint32_t block, uint32_t loop);

/*
 * The order of places: a loop is one piece, and what follows it comes behind all of it. Calls visit(block, CFG_NONE) for each
 * block and visit(CFG_NONE, loop) at the end of each loop.
 */
enum hg_status cfg_walk(const struct cfg *g, void (*visit)(uint32_t block, uint32_t loop, void *arg), void *arg) HG_MUST_CHECK;

#endif
