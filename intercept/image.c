/*
 * image.c - arrays, textures and surfaces. The portable driver's are device memory, and recorded as such; those of another driver
 * are in places that nobody can name: there these calls count as calls without a row, and a snapshot is refused.
 */
#include <string.h>

#include "intercept/executor.h"
#include "intercept/record.h"

static bool is_recorded(void)
{
	return hg_shim_executor() == &hg_executor_portable;
}

/* word[1] becomes the bytes of memory that the handle stands for. */
#define CREATE(sym, out, args)                                                                     \
	do {                                                                                       \
		struct hg_recording rec = { .shape = NULL };                                       \
		struct hg_frame f;                                                                 \
		bool recorded;                                                                     \
		CUresult r;                                                                        \
                                                                                                   \
		ENTER(f, sym);                                                                     \
		recorded = is_recorded();                                                          \
		if (recorded)                                                                      \
			hg_record_before(&rec, &f, HG_ID_##sym, word);                             \
		r = f.real->sym args;                                                              \
		if (!recorded)                                                                     \
			hg_shim_see(HG_SYM_##sym, r);                                              \
		else if (r == CUDA_SUCCESS)                                                        \
			word[1] = hg_engine()->size(HG_WORD(*(out)));                              \
		hg_record_after(&rec, &f, word, r);                                                \
		hg_frame_leave(&f);                                                                \
		return r;                                                                          \
	} while (0)

#define DESTROY(sym, handle)                                                                       \
	do {                                                                                       \
		const uint64_t word[] = { HG_WORD(handle) };                                       \
		struct hg_recording rec = { .shape = NULL };                                       \
		struct hg_frame f;                                                                 \
		bool recorded;                                                                     \
		CUresult r;                                                                        \
                                                                                                   \
		ENTER(f, sym);                                                                     \
		recorded = is_recorded();                                                          \
		if (recorded)                                                                      \
			hg_record_before(&rec, &f, HG_ID_##sym, word);                             \
		r = f.real->sym(handle);                                                           \
		if (!recorded)                                                                     \
			hg_shim_see(HG_SYM_##sym, r);                                              \
		hg_record_after(&rec, &f, word, r);                                                \
		hg_frame_leave(&f);                                                                \
		return r;                                                                          \
	} while (0)

CUresult cuArrayCreate_v2(CUarray *pHandle, const CUDA_ARRAY_DESCRIPTOR *pAllocateArray)
{
	const CUDA_ARRAY_DESCRIPTOR none = { 0 }, *d = pAllocateArray ? pAllocateArray : &none;
	uint64_t word[] = { HG_WORD(pHandle), 0, d->Width, d->Height, d->Format, d->NumChannels };

	CREATE(cuArrayCreate_v2, pHandle, (pHandle, pAllocateArray));
}

CUresult cuArray3DCreate_v2(CUarray *pHandle, const CUDA_ARRAY3D_DESCRIPTOR *pAllocateArray)
{
	const CUDA_ARRAY3D_DESCRIPTOR none = { 0 }, *d = pAllocateArray ? pAllocateArray : &none;
	uint64_t word[] = { HG_WORD(pHandle), 0, d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags };

	CREATE(cuArray3DCreate_v2, pHandle, (pHandle, pAllocateArray));
}

CUresult cuArrayDestroy(CUarray hArray)
{
	DESTROY(cuArrayDestroy, hArray);
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray *pHandle, const CUDA_ARRAY3D_DESCRIPTOR *pMipmappedArrayDesc,
				unsigned int numMipmapLevels)
{
	const CUDA_ARRAY3D_DESCRIPTOR none = { 0 }, *d = pMipmappedArrayDesc ? pMipmappedArrayDesc : &none;
	uint64_t word[] = { HG_WORD(pHandle), 0, d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags,
			    numMipmapLevels };

	CREATE(cuMipmappedArrayCreate, pHandle, (pHandle, pMipmappedArrayDesc, numMipmapLevels));
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray hMipmappedArray)
{
	DESTROY(cuMipmappedArrayDestroy, hMipmappedArray);
}

CUresult cuTexObjectCreate(CUtexObject *pTexObject, const CUDA_RESOURCE_DESC *pResDesc, const CUDA_TEXTURE_DESC *pTexDesc,
			   const CUDA_RESOURCE_VIEW_DESC *pResViewDesc)
{
	struct {
		CUDA_RESOURCE_DESC resource;
		CUDA_TEXTURE_DESC texture;
		CUDA_RESOURCE_VIEW_DESC view;
	} all;
	uint64_t word[] = { HG_WORD(pTexObject), 0, pResViewDesc ? sizeof(all) : offsetof(__typeof__(all), view), HG_WORD(&all) };

	memset(&all, 0, sizeof(all));
	if (pResDesc)
		all.resource = *pResDesc;
	if (pTexDesc)
		all.texture = *pTexDesc;
	if (pResViewDesc)
		all.view = *pResViewDesc;
	CREATE(cuTexObjectCreate, pTexObject, (pTexObject, pResDesc, pTexDesc, pResViewDesc));
}

CUresult cuTexObjectDestroy(CUtexObject texObject)
{
	DESTROY(cuTexObjectDestroy, texObject);
}

CUresult cuSurfObjectCreate(CUsurfObject *pSurfObject, const CUDA_RESOURCE_DESC *pResDesc)
{
	uint64_t word[] = { HG_WORD(pSurfObject), 0, pResDesc ? sizeof(*pResDesc) : 0, HG_WORD(pResDesc) };

	CREATE(cuSurfObjectCreate, pSurfObject, (pSurfObject, pResDesc));
}

CUresult cuSurfObjectDestroy(CUsurfObject surfObject)
{
	DESTROY(cuSurfObjectDestroy, surfObject);
}
