/* special.c - calls that work before cuInit, or start everything. */
#include <stdio.h>

#include "common/msg.h"
#include "intercept/frame.h"
#include "intercept/tables.h"

CUresult cuInit(unsigned int Flags)
{
	return hg_shim_init(Flags);
}

/* Not through the gate: no state is involved, and a forked child or an exiting process may ask. */
#define STATELESS(sym, params, args)                                                               \
	CUresult sym params                                                                        \
	{                                                                                          \
		CUresult result_ = hg_shim_load();                                                 \
                                                                                                   \
		if (result_ != CUDA_SUCCESS)                                                       \
			return result_;                                                            \
		return hg_real[0].sym ? hg_real[0].sym args : CUDA_ERROR_NOT_SUPPORTED;            \
	}
STATELESS(cuDriverGetVersion, (int *driverVersion), (driverVersion))
STATELESS(cuGetErrorName, (CUresult error, const char **pStr), (error, pStr))
STATELESS(cuGetErrorString, (CUresult error, const char **pStr), (error, pStr))

CUresult cuGetExportTable(const void **ppExportTable, const CUuuid *pExportTableId)
{
	CUresult r;

	if (!ppExportTable || !pExportTableId)
		return CUDA_ERROR_INVALID_VALUE;
	r = hg_shim_load();
	if (r != CUDA_SUCCESS)
		return r;
	return hg_shim_executor()->table(pExportTableId->bytes, ppExportTable);
}
