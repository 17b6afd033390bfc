/* procaddr.c - cuGetProcAddress: which of a call's versions a program means. */
#include <string.h>

#include "intercept/shim.h"

void *hg_procaddr_find(const char *base, int version, bool per_thread, CUdriverProcAddressQueryResult *status)
{
	const struct hg_symbol *best[2] = { NULL, NULL };	/* plain, per-thread */
	bool exists = false;

	for (size_t i = 0; i < HG_SYM_COUNT; i++) {
		const struct hg_symbol *s = &hg_symbols[i], **b;

		if (strcmp(s->base, base) != 0)
			continue;
		exists = true;
		b = &best[s->flavour != HG_FLAVOUR_PLAIN];
		if (s->version <= version && (!*b || s->version > (*b)->version))
			*b = s;
	}
	if (per_thread && best[1])
		best[0] = best[1];
	if (best[0])
		*status = CU_GET_PROC_ADDRESS_SUCCESS;
	else
		*status = exists ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	return best[0] ? best[0]->entry : NULL;
}

CUresult hg_procaddr_by_table(const char *base, void **pfn, int version, cuuint64_t flags,
			      CUdriverProcAddressQueryResult *status)
{
	const cuuint64_t known = CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
	int driver;
	CUresult r;

	if (flags & ~known || flags == known)
		return CUDA_ERROR_INVALID_VALUE;
	r = cuDriverGetVersion(&driver);
	if (r != CUDA_SUCCESS)
		return r;
	if (version > driver)
		return CUDA_ERROR_INVALID_VALUE;
	*pfn = hg_procaddr_find(base, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, status);
	return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
			     CUdriverProcAddressQueryResult *symbolStatus)
{
	CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	void *found = NULL;
	CUresult r;

	if (!symbol || !pfn)
		return CUDA_ERROR_INVALID_VALUE;
	r = hg_shim_load();
	if (r != CUDA_SUCCESS)
		return r;
	r = hg_shim_executor()->procaddr(symbol, &found, cudaVersion, flags, &status);
	if (r != CUDA_SUCCESS)
		return r;
	*pfn = found;
	if (symbolStatus)
		*symbolStatus = status;
	return CUDA_SUCCESS;
}

/* The version of CUDA 11.3 has nowhere to say why, and answers with an error. */
CUresult cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags)
{
	CUresult r = cuGetProcAddress_v2(symbol, pfn, cudaVersion, flags, NULL);

	return r == CUDA_SUCCESS && !*pfn ? CUDA_ERROR_NOT_FOUND : r;
}
