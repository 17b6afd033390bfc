/* test_copy.c - copies and fills against plain loops. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver_test.h"

static void fill_random(unsigned char *p, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)rand_r(&seed);
}

Test(copy, every_direction_arrives)
{
	enum { N = 300000 };
	static unsigned char src[N], back[N];
	CUdeviceptr a, b;

	driver_begin();
	fill_random(src, N, 1);
	MUST(CU(cuMemAlloc_v2)(&a, N));
	MUST(CU(cuMemAlloc_v2)(&b, N));
	MUST(CU(cuMemcpyHtoD_v2)(a, src, N));
	MUST(CU(cuMemcpyDtoD_v2)(b, a, N));
	MUST(CU(cuMemcpyDtoH_v2)(back, b, N));
	cr_assert_eq(memcmp(src, back, N), 0);
	memset(back, 0, N);
	MUST(CU(cuMemcpy)((uintptr_t)back, a, N));
	cr_assert_eq(memcmp(src, back, N), 0);
	memset(back, 0, N);
	MUST(CU(cuMemcpyAsync)((uintptr_t)back, (uintptr_t)src, N, NULL));
	MUST(CU(cuStreamSynchronize)(NULL));
	cr_assert_eq(memcmp(src, back, N), 0);
	hg_driver_close();
}

static void sleep_a_little(void *arg)
{
	(void)arg;
	usleep(20000);
}

Test(copy, pageable_source_may_change_once_the_call_has_returned)
{
	enum { SMALL = 1000, BIG = 200000 };
	static unsigned char src[BIG], back[BIG];
	CUdeviceptr a;
	CUstream s;

	driver_begin();
	MUST(CU(cuStreamCreate)(&s, 0));
	MUST(CU(cuMemAlloc_v2)(&a, BIG));
	for (size_t n = SMALL; n <= BIG; n += BIG - SMALL) {
		memset(src, 1, n);
		MUST(CU(cuLaunchHostFunc)(s, sleep_a_little, NULL));
		MUST(CU(cuMemcpyHtoDAsync_v2)(a, src, n, s));
		memset(src, 2, n);
		MUST(CU(cuMemcpyDtoHAsync_v2)(back, a, n, s));
		/* into pageable memory: it is there when the call returns */
		for (size_t i = 0; i < n; i++)
			cr_assert_eq(back[i], 1);
	}
	hg_driver_close();
}

Test(copy, two_dimensions_touch_the_rectangle_and_nothing_else)
{
	enum { DST_PITCH = 61, SRC_PITCH = 47, ROWS = 20 };
	static unsigned char src[SRC_PITCH * ROWS], dst[DST_PITCH * ROWS], expected[DST_PITCH * ROWS];
	CUDA_MEMCPY2D c = { 0 };
	CUdeviceptr a, b;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&a, sizeof(src)));
	MUST(CU(cuMemAlloc_v2)(&b, sizeof(dst)));
	fill_random(src, sizeof(src), 2);
	fill_random(dst, sizeof(dst), 3);
	memcpy(expected, dst, sizeof(dst));
	for (size_t y = 0; y < 9; y++)
		for (size_t x = 0; x < 31; x++)
			expected[(y + 5) * DST_PITCH + x + 7] = src[(y + 3) * SRC_PITCH + x + 11];
	MUST(CU(cuMemcpyHtoD_v2)(b, dst, sizeof(dst)));
	c.srcMemoryType = CU_MEMORYTYPE_HOST;
	c.srcHost = src;
	c.srcPitch = SRC_PITCH;
	c.srcXInBytes = 11;
	c.srcY = 3;
	c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
	c.dstDevice = b;
	c.dstPitch = DST_PITCH;
	c.dstXInBytes = 7;
	c.dstY = 5;
	c.WidthInBytes = 31;
	c.Height = 9;
	MUST(CU(cuMemcpy2D_v2)(&c));
	memset(dst, 0, sizeof(dst));
	MUST(CU(cuMemcpyDtoH_v2)(dst, b, sizeof(dst)));
	cr_assert_eq(memcmp(dst, expected, sizeof(dst)), 0);

	c.dstPitch = 30;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpy2D_v2)(&c));
	c.dstPitch = DST_PITCH;
	c.Height = ROWS;	/* reaches behind the allocation */
	c.srcY = 0;
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpy2D_v2)(&c));
	c.srcMemoryType = CU_MEMORYTYPE_ARRAY;
	GIVES(CUDA_ERROR_INVALID_HANDLE, CU(cuMemcpy2D_v2)(&c));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpy2D_v2)(NULL));
	hg_driver_close();
}

Test(copy, three_dimensions_touch_the_box_and_nothing_else)
{
	enum { W = 16, H = 8, D = 6, SIZE = W * H * D };
	static unsigned char src[SIZE], dst[SIZE], expected[SIZE];
	CUDA_MEMCPY3D c = { 0 };
	CUdeviceptr a, b;
	CUstream s;

	driver_begin();
	MUST(CU(cuStreamCreate)(&s, CU_STREAM_NON_BLOCKING));
	MUST(CU(cuMemAlloc_v2)(&a, SIZE));
	MUST(CU(cuMemAlloc_v2)(&b, SIZE));
	fill_random(src, SIZE, 4);
	fill_random(dst, SIZE, 5);
	memcpy(expected, dst, SIZE);
	for (size_t z = 0; z < 3; z++)
		for (size_t y = 0; y < 4; y++)
			for (size_t x = 0; x < 9; x++)
				expected[((z + 1) * H + y + 2) * W + x + 3] = src[((z + 2) * H + y + 1) * W + x + 5];
	MUST(CU(cuMemcpyHtoD_v2)(a, src, SIZE));
	MUST(CU(cuMemcpyHtoD_v2)(b, dst, SIZE));
	c.srcMemoryType = CU_MEMORYTYPE_DEVICE;
	c.srcDevice = a;
	c.srcPitch = W;
	c.srcHeight = H;
	c.srcXInBytes = 5;
	c.srcY = 1;
	c.srcZ = 2;
	c.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
	c.dstDevice = b;
	c.dstPitch = W;
	c.dstHeight = H;
	c.dstXInBytes = 3;
	c.dstY = 2;
	c.dstZ = 1;
	c.WidthInBytes = 9;
	c.Height = 4;
	c.Depth = 3;
	MUST(CU(cuMemcpy3DAsync_v2)(&c, s));
	MUST(CU(cuStreamSynchronize)(s));
	MUST(CU(cuMemcpyDtoH_v2)(dst, b, SIZE));
	cr_assert_eq(memcmp(dst, expected, SIZE), 0);
	hg_driver_close();
}

Test(copy, bad_addresses_are_errors_and_not_the_end_of_the_process)
{
	unsigned char host[64], *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CUdeviceptr a;

	driver_begin();
	munmap(page + 4096, 4096);
	MUST(CU(cuMemAlloc_v2)(&a, 8192));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyHtoD_v2)(a, NULL, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyHtoD_v2)(a, (void *)8, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyHtoD_v2)(a, page, 8192));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyHtoD_v2)(0, host, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyHtoD_v2)((uintptr_t)host, host, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoH_v2)(host, a + 8192 - 32, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoH_v2)(host, a + 0x100000000, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoH_v2)((void *)8, a, 64));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoD_v2)(a, a, SIZE_MAX));
	mprotect(page, 4096, PROT_READ);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyDtoH_v2)(page, a, 64));
	MUST(CU(cuMemcpyHtoD_v2)(a, page, 64));
	mprotect(page, 4096, PROT_NONE);
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemcpyHtoD_v2)(a, page, 64));
	MUST(CU(cuMemcpyHtoD_v2)(0, NULL, 0));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemsetD8_v2)(a + 8190, 0, 3));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemsetD32_v2)(a, 0, SIZE_MAX / 2));
	GIVES(CUDA_ERROR_INVALID_VALUE, CU(cuMemsetD32_v2)(a + 2, 0, 1));
	hg_driver_close();
}

Test(fill, every_width_and_shape)
{
	enum { PITCH = 64, ROWS = 10, SIZE = PITCH * ROWS };
	static unsigned char back[SIZE];
	CUdeviceptr a;

	driver_begin();
	MUST(CU(cuMemAlloc_v2)(&a, SIZE));
	MUST(CU(cuMemsetD8_v2)(a, 0x11, SIZE));
	MUST(CU(cuMemsetD2D16_v2)(a + 4, PITCH, 0x2233, 5, 3));
	MUST(CU(cuMemsetD32_v2)(a + 8 * PITCH, 0x44556677, 4));
	MUST(CU(cuMemcpyDtoH_v2)(back, a, SIZE));
	for (size_t y = 0; y < ROWS; y++) {
		for (size_t x = 0; x < PITCH; x++) {
			unsigned char want = 0x11;

			if (y < 3 && x >= 4 && x < 14)
				want = x % 2 ? 0x22 : 0x33;
			if (y == 8 && x < 16)
				want = (unsigned char)(0x44556677u >> x % 4 * 8);
			cr_assert_eq(back[y * PITCH + x], want, "at %zu, %zu", x, y);
		}
	}
	hg_driver_close();
}
