/*
 * stubs.c - an entry for every symbol of the driver: through the gate, to the executor, noted as seen.
 *
 * Weak: calls that are recorded have a strong one in wrap.c, irregular.c or image.c. A flavoured entry says whose
 * default stream is meant, and is otherwise the plain call.
 */
#include "intercept/frame.h"

#define STUB_PLAIN(sym, plain, params, args)                                                       \
	__attribute__((weak)) CUresult sym params                                                  \
	{                                                                                          \
		struct hg_frame frame_;                                                            \
		CUresult result_;                                                                  \
                                                                                                   \
		if (!hg_frame_enter(&frame_))                                                      \
			return hg_shim_not_ready();                                                \
		if (frame_.real->sym)                                                              \
			result_ = frame_.real->sym args;                                           \
		else                                                                               \
			result_ = hg_shim_missing(HG_SYM_##sym);                                   \
		hg_shim_see(HG_SYM_##sym, result_);                                                \
		hg_frame_leave(&frame_);                                                           \
		return result_;                                                                    \
	}
#define STUB_PTSZ(sym, plain, params, args)                                                        \
	__attribute__((weak)) CUresult sym params                                                  \
	{                                                                                          \
		hg_tls_per_thread = true;                                                          \
		return plain args;                                                                 \
	}
#define STUB_PTDS STUB_PTSZ
#define HG_SYM(sym, plain, base, version, flavour, params, args) STUB_##flavour(sym, plain, params, args)
#include "intercept/symbols.def"
