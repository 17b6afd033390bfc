/* entry.c - the exported symbols of the fake CUDA driver: counting and injected errors. */
#include "common/msg.h"
#include "tests/drivers/cuda/fake.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
static CUresult not_supported(const char *symbol)
{
	pr_info("'%s' is not implemented", symbol);
	return CUDA_ERROR_NOT_SUPPORTED;
}

/* Weak: the definition in the file of its theme takes its place. */
#define WEAK_PLAIN(sym, params)                                                                    \
	__attribute__((weak)) CUresult fake_##sym params                                           \
	{                                                                                          \
		return not_supported(#sym);                                                        \
	}
#define WEAK_PTSZ(sym, params)
#define WEAK_PTDS(sym, params)
#define HG_SYM(sym, plain, base, version, flavour, params, args) WEAK_##flavour(sym, params)
#include "intercept/symbols.def"
#pragma GCC diagnostic pop

/* What works before cuInit, in a forked child, and at exit. */
static inline bool is_stateless(enum hg_sym i)
{
	return i == HG_SYM_cuInit || i == HG_SYM_cuDriverGetVersion || i == HG_SYM_cuGetErrorName ||
		i == HG_SYM_cuGetErrorString || i == HG_SYM_cuGetProcAddress || i == HG_SYM_cuGetProcAddress_v2 ||
		i == HG_SYM_cuGetExportTable;
}

static inline CUresult enter(enum hg_sym i)
{
	uint32_t injected = fake_control_enter(&fake_control[i]);

	if (injected)
		return (CUresult)injected;
	return is_stateless(i) ? CUDA_SUCCESS : atomic_load_explicit(&fake_state, memory_order_acquire);
}

/* What waited when the driver ended did not see the end of what it waited for. */
static inline CUresult state_after(void)
{
	CUresult now = atomic_load_explicit(&fake_state, memory_order_acquire);

	return now == CUDA_ERROR_DEINITIALIZED ? now : CUDA_SUCCESS;
}

#define CALL_PLAIN(plain, args) result_ = fake_##plain args
#define CALL_PTSZ(plain, args)                                                                     \
	do {                                                                                       \
		bool before_ = fake_self.per_thread;                                               \
                                                                                                   \
		fake_self.per_thread = true;                                                       \
		result_ = fake_##plain args;                                                       \
		fake_self.per_thread = before_;                                                    \
	} while (0)
#define CALL_PTDS CALL_PTSZ
#define HG_SYM(sym, plain, base, version, flavour, params, args)                                   \
	CUresult sym params                                                                        \
	{                                                                                          \
		CUresult result_ = enter(HG_SYM_##sym);                                            \
                                                                                                   \
		if (result_ == CUDA_SUCCESS)                                                       \
			CALL_##flavour(plain, args);                                               \
		return result_ == CUDA_SUCCESS && !is_stateless(HG_SYM_##sym) ? state_after() : result_; \
	}
#include "intercept/symbols.def"
