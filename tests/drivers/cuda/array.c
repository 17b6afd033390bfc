/* array.c - CUDA arrays: handles of memory that nobody can look into, as they are with NVIDIA's driver. Nothing is copied or sampled. */
#include <stdlib.h>

#include "tests/drivers/cuda/fake.h"

struct fake_array {
	CUDA_ARRAY3D_DESCRIPTOR d;
	struct fake_array *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_array *arrays;

CUresult fake_cuArray3DCreate_v2(CUarray *out, const CUDA_ARRAY3D_DESCRIPTOR *d)
{
	struct fake_array *a;

	if (!out || !d || !d->Width || (d->NumChannels != 1 && d->NumChannels != 2 && d->NumChannels != 4))
		return CUDA_ERROR_INVALID_VALUE;
	a = calloc(1, sizeof(*a));
	if (!a)
		return CUDA_ERROR_OUT_OF_MEMORY;
	a->d = *d;
	pthread_mutex_lock(&lock);
	a->next = arrays;
	arrays = a;
	pthread_mutex_unlock(&lock);
	*out = (CUarray)a;
	return CUDA_SUCCESS;
}

CUresult fake_cuArrayCreate_v2(CUarray *out, const CUDA_ARRAY_DESCRIPTOR *d)
{
	CUDA_ARRAY3D_DESCRIPTOR full = { 0 };

	if (!d)
		return CUDA_ERROR_INVALID_VALUE;
	full.Width = d->Width;
	full.Height = d->Height;
	full.Format = d->Format;
	full.NumChannels = d->NumChannels;
	return fake_cuArray3DCreate_v2(out, &full);
}

CUresult fake_cuArrayDestroy(CUarray array)
{
	struct fake_array **at = &arrays, *a;

	pthread_mutex_lock(&lock);
	while (*at && (CUarray)*at != array)
		at = &(*at)->next;
	a = *at;
	if (a)
		*at = a->next;
	pthread_mutex_unlock(&lock);
	free(a);
	return a ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
