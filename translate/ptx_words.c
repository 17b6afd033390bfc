/* ptx_words.c - finding words, types and special registers of PTX by name. */
#include "translate/ptx.h"

#include <pthread.h>
#include <string.h>

static const char *const word_text[PTX_W_COUNT] = {
	[PTX_W_NONE] = "?",
#define PTX_WORD(name, text) [PTX_W_##name] = text,
#include "translate/ptx_words.def"
};

#define SLOTS 1024
_Static_assert(PTX_W_COUNT < SLOTS * 3 / 4, "room in the table of words");
static uint16_t slot[SLOTS];
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

static uint32_t hash(const char *s, size_t size)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h ^ h >> 15;
}

static void fill_slots(void)
{
	for (uint16_t w = 1; w < PTX_W_COUNT; w++) {
		uint32_t i = hash(word_text[w], strlen(word_text[w]));

		while (slot[i % SLOTS])
			i++;
		slot[i % SLOTS] = w;
	}
}

enum ptx_word ptx_word_find(const char *s, size_t size)
{
	pthread_once(&slots_once, fill_slots);
	for (uint32_t i = hash(s, size); slot[i % SLOTS]; i++) {
		const char *w = word_text[slot[i % SLOTS]];

		if (strlen(w) == size && !memcmp(w, s, size))
			return slot[i % SLOTS];
	}
	return PTX_W_NONE;
}

const char *ptx_word_text(enum ptx_word w)
{
	return (unsigned int)w < PTX_W_COUNT ? word_text[w] : "?";
}

enum ir_type ptx_word_type(enum ptx_word w)
{
	switch (w) {
	case PTX_W_b8: return IR_B8;
	case PTX_W_b16: return IR_B16;
	case PTX_W_b32: return IR_B32;
	case PTX_W_b64: return IR_B64;
	case PTX_W_b128: return IR_B128;
	case PTX_W_u8: return IR_U8;
	case PTX_W_u16: return IR_U16;
	case PTX_W_u32: return IR_U32;
	case PTX_W_u64: return IR_U64;
	case PTX_W_s8: return IR_S8;
	case PTX_W_s16: return IR_S16;
	case PTX_W_s32: return IR_S32;
	case PTX_W_s64: return IR_S64;
	case PTX_W_f16: return IR_F16;
	case PTX_W_f16x2: return IR_F16X2;
	case PTX_W_bf16: return IR_BF16;
	case PTX_W_bf16x2: return IR_BF16X2;
	case PTX_W_f32: return IR_F32;
	case PTX_W_f64: return IR_F64;
	case PTX_W_pred: return IR_PRED;
	default: return IR_NONE;
	}
}

#define IS(n, s) { n, IR_SREG_##s, 32, 0 }
#define IS64(n, s) { n, IR_SREG_##s, 64, 0 }
const struct ptx_sreg ptx_sreg[] = {
	IS("tid.x", TID_X), IS("tid.y", TID_Y), IS("tid.z", TID_Z),
	IS("ntid.x", NTID_X), IS("ntid.y", NTID_Y), IS("ntid.z", NTID_Z),
	IS("ctaid.x", CTAID_X), IS("ctaid.y", CTAID_Y), IS("ctaid.z", CTAID_Z),
	IS("nctaid.x", NCTAID_X), IS("nctaid.y", NCTAID_Y), IS("nctaid.z", NCTAID_Z),
	IS("laneid", LANEID), IS("warpid", WARPID), IS("nwarpid", NWARPID), IS("smid", SMID), IS("nsmid", NSMID),
	IS64("gridid", GRIDID),
	IS("lanemask_eq", LANEMASK_EQ), IS("lanemask_le", LANEMASK_LE), IS("lanemask_lt", LANEMASK_LT),
	IS("lanemask_ge", LANEMASK_GE), IS("lanemask_gt", LANEMASK_GT),
	IS("clock", CLOCK), IS64("clock64", CLOCK64), IS64("globaltimer", GLOBALTIMER),
	IS("dynamic_smem_size", DYNAMIC_SMEM_SIZE), IS("total_smem_size", TOTAL_SMEM_SIZE),
	IS("aggr_smem_size", TOTAL_SMEM_SIZE), IS("envreg1", ENVREG1), IS("envreg2", ENVREG2),
	{ "clock_hi", -1, 32, PTX_SREG_HIGH }, { "globaltimer_lo", -1, 32, PTX_SREG_LOW },
	{ "globaltimer_hi", -1, 32, PTX_SREG_HIGH },
	{ "WARP_SZ", -1, 32, PTX_SREG_WARP },
	/* A cluster is one block here. */
	{ "cluster_ctaid.x", -1, 32, PTX_SREG_ZERO }, { "cluster_ctaid.y", -1, 32, PTX_SREG_ZERO },
	{ "cluster_ctaid.z", -1, 32, PTX_SREG_ZERO },
	{ "cluster_nctaid.x", -1, 32, PTX_SREG_ONE }, { "cluster_nctaid.y", -1, 32, PTX_SREG_ONE },
	{ "cluster_nctaid.z", -1, 32, PTX_SREG_ONE },
	{ "cluster_ctarank", -1, 32, PTX_SREG_ZERO }, { "cluster_nctarank", -1, 32, PTX_SREG_ONE },
	IS("clusterid.x", CTAID_X), IS("clusterid.y", CTAID_Y), IS("clusterid.z", CTAID_Z),
	IS("nclusterid.x", NCTAID_X), IS("nclusterid.y", NCTAID_Y), IS("nclusterid.z", NCTAID_Z),
	{ "is_explicit_cluster", -1, 1, PTX_SREG_ZERO },
	{ "current_graph_exec", -1, 64, PTX_SREG_ZERO },
	{ "reserved_smem_offset_begin", -1, 32, PTX_SREG_UNKNOWN }, { "reserved_smem_offset_end", -1, 32, PTX_SREG_UNKNOWN },
	{ "reserved_smem_offset_cap", -1, 32, PTX_SREG_UNKNOWN }, { "reserved_smem_offset_0", -1, 32, PTX_SREG_UNKNOWN },
	{ "reserved_smem_offset_1", -1, 32, PTX_SREG_RESERVED },
	/* Counters of events that nobody has chosen count nothing. */
#define PM(n) { "pm" #n, -1, 32, PTX_SREG_ZERO }, { "pm" #n "_64", -1, 64, PTX_SREG_ZERO }
	PM(0), PM(1), PM(2), PM(3), PM(4), PM(5), PM(6), PM(7),
#undef PM
	{ "envreg", -1, 32, PTX_SREG_UNKNOWN },
	{ NULL, -1, 0, 0 },
};

int ptx_sreg_find(const char *s, size_t size)
{
	for (int i = 0; ptx_sreg[i].name; i++)
		if (strlen(ptx_sreg[i].name) == size && !memcmp(ptx_sreg[i].name, s, size))
			return i;
	/* %envreg0…31 exist, and only two of them mean something here. */
	if (size > 6 && !memcmp(s, "envreg", 6))
		return ptx_sreg_find("envreg", 6);
	return -1;
}
