/* cpu_rt.h - helpers that compiled CPU code calls for what vectors do badly. */
#ifndef HG_TRANSLATE_CPU_RT_H
#define HG_TRANSLATE_CPU_RT_H

#include <stdbool.h>
#include <stdint.h>

#include "translate/cpu_abi.h"

enum hg_cpu_fault { HG_CPU_FAULT_MISALIGNED = 1, HG_CPU_FAULT_BAD_INDEX, HG_CPU_FAULT_BARRIER, HG_CPU_FAULT_ADDRESS,
		    HG_CPU_FAULT_ASSERT, HG_CPU_FAULT_TEXTURE };

/* What a helper is doing to memory, for the one who reports a fault of it. */
struct hg_cpu_access {
	const uint64_t *addr;	/* of each lane of `mask`; NULL: no helper is at work */
	uint32_t mask, size, line;
};


/* What hg_cpu_rt.arith does, in bits 8 and up of its code; bits 0-7: enum ir_rnd. */
enum hg_cpu_arith {
	HG_CPU_UDIV64, HG_CPU_SDIV64, HG_CPU_UREM64, HG_CPU_SREM64,
	HG_CPU_ADD_F64, HG_CPU_MUL_F64, HG_CPU_FMA_F64, HG_CPU_DIV_F64, HG_CPU_SQRT_F64,
	HG_CPU_DIV_F32, HG_CPU_SQRT_F32,
	HG_CPU_S64_F32, HG_CPU_U64_F32, HG_CPU_S64_F64, HG_CPU_U64_F64,
};

enum hg_cpu_atom {
	HG_CPU_ATOM_FTZ = 1 << 16,	/* f32: denormals are zeros */
	HG_CPU_ATOM_NAN = 1 << 17,	/* min, max: a NaN gives NaN */
};

/*
 * Arrays have an element for each of the 32 lanes; `mask` says which lanes take part. Elements of other
 * lanes are left alone. Part of HG_CPU_ABI: order and prototypes.
 */
struct hg_cpu_rt {
	/*
	 * `nr` elements of `size` bytes at addr[lane]; element c of a lane is data[c * 32 + lane]. line: of the PTX text,
	 * for faults.
	 */
	void (*load)(const uint64_t *addr, uint32_t mask, void *data, uint32_t size, uint32_t nr, uint32_t line);
	void (*store)(const uint64_t *addr, uint32_t mask, const void *data, uint32_t size, uint32_t nr, uint32_t line);
	/* code: enum ir_atom | enum ir_type << 8 | enum hg_cpu_atom. Lanes in order, each operation sequentially consistent. */
	void (*atom)(const uint64_t *addr, uint32_t mask, const void *a, const void *b, void *old, uint32_t code, uint32_t line);
	void (*arith)(uint32_t code, const void *a, const void *b, const void *c, void *out);
	void (*shfl)(const uint32_t *value, const uint32_t *from, uint32_t *out);
	/* kind 0 any, 1 all; equal[lane]: the lanes of its member mask with its value, or for all: the mask or 0 */
	void (*match)(uint32_t kind, uint32_t bits, const void *value, const uint32_t *members, uint32_t mask,
		      uint32_t *equal);
	void (*redux)(uint32_t code, const uint32_t *value, const uint32_t *members, uint32_t mask, uint32_t *out);
	/*
	 * Lanes of `blocked` whose partners are all there too, at whatever instruction: does their operation, sets their pc to
	 * `done` plus the block, and gives these lanes.
	 */
	uint32_t (*meet)(struct hg_cpu_frame *f, uint32_t alive, uint32_t blocked, uint32_t done);
	void (*bar_arrive)(struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t mask, const uint32_t *id,
			   const uint32_t *count);
	void (*fault)(uint32_t kind, uint64_t addr);	/* does not return */
	uint64_t (*timer)(void);
	void (*sleep)(uint32_t ns);
	/*
	 * Before each access when memory is checked (HGSHIM_CHECK=memory): returns if `size` bytes at addr[lane] may be used.
	 * space: enum ir_space; the addresses are the host's.
	 */
	void (*check)(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, const uint64_t *addr, uint32_t mask,
		      uint32_t size, uint32_t space, uint32_t line);
	/* code: enum ir_mma | type of D << 8 | type of C << 16 | saturate << 24; register r of a lane is a[r * 32 + lane] */
	void (*mma)(uint32_t code, const void *a, const void *b, const void *c, void *d);
	/* `nr` matrices; rows of lanes that are not in `mask` read as zeros, and are not stored */
	void (*ldmatrix)(const uint64_t *addr, uint32_t mask, uint32_t *data, uint32_t nr, uint32_t line);
	void (*stmatrix)(const uint64_t *addr, uint32_t mask, const uint32_t *data, uint32_t nr, uint32_t line);
	/* strings and arguments by their addresses; count[lane]: what the lane's printf gives */
	void (*print)(uint32_t mask, const uint64_t *format, const uint64_t *args, uint32_t *count);
	/* text: message, file and function of each lane, 32 addresses each. Does not return unless mask is 0 */
	void (*assert_fail)(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, uint32_t mask, const uint64_t *text,
			    const uint32_t *line);
	/*
	 * Samples (translate/texture.h): texture and sampler of each lane, arg[i * 32 + lane] as `what` says (HG_CPU_TEX_CHECK: the
	 * memory is checked first), four channels out[c * 32 + lane].
	 */
	void (*tex)(const struct hg_cpu_frame *f, const struct hg_cpu_env *env, const uint64_t *texture, const uint64_t *sampler,
		    uint32_t mask, uint32_t what, const uint32_t *arg, uint32_t *out, uint32_t line);
};

#define HG_CPU_TEX_CHECK (UINT32_C(1) << 16)

/*
 * What kind of warp operation it is: those of one key and one member mask may stand at different places and
 * are one operation all the same. enum ir_op | sub << 8 | type << 16 | HG_CPU_SYNC_NAN; of a warpsync before matrices,
 * which are done together or not at all: the block << 8 | 1 << 31.
 */
#define HG_CPU_SYNC_NAN (1u << 24)

/* PTX ISA, shfl.sync: the lane read from, and whether it is in range (else it is `lane` itself). sub: enum ir_shfl. */
uint32_t hg_cpu_shfl_from(uint32_t sub, uint32_t lane, uint32_t b, uint32_t c, bool *in_range);

/* What the calling thread's helper is doing. */
const volatile struct hg_cpu_access *hg_cpu_rt_access(void);

/* All but bar_arrive, check, print, assert_fail and fault, which the grid runner gives. */
void hg_cpu_rt_init(struct hg_cpu_rt *rt, void (*fault)(uint32_t kind, uint64_t addr));

/* cpu_matrix.c and cpu_texture.c; called by the former. */
void hg_cpu_matrix_init(struct hg_cpu_rt *rt);
void hg_cpu_texture_init(struct hg_cpu_rt *rt, void (*fault)(uint32_t kind, uint64_t addr));
/* Around accesses of other files' helpers: faults in between name lane and line. Ends the grid if an address is no multiple of `size`. */
void hg_cpu_access_begin(const uint64_t *addr, uint32_t mask, uint32_t size, uint32_t line);
void hg_cpu_access_end(void);
/* Rounds to the nearest f16, ties to even; a NaN gives 0x7fff. */
uint32_t hg_cpu_f16(float f);

#endif
