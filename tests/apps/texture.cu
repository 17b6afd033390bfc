// texture.cu - a cellular automaton in two CUDA arrays: bilinear textures read, surfaces write; its rules come from a layered, a
// mipmapped, a cube and a linear texture. Whole numbers throughout, so that every way to compute it gives the same.
#include "app.h"

#define WIDTH 64
#define HEIGHT 24
#define LAYERS 3
#define LEVELS 3
#define TABLE 256
#define MASK 1023u

// What a kernel reads; in device memory, so that handles are data as well.
struct handles {
	cudaTextureObject_t cells[2], layers, levels, cube, table, bytes;
	cudaSurfaceObject_t write[2];
};

__global__ void step(const struct handles *h, int from, unsigned int round, uint32_t *sum)
{
	int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
	// between four texels: their mean
	float mean = tex2D<float>(h->cells[from], (float)x, (float)y);
	float layer = tex2DLayered<float>(h->layers, (float)(x & 7) + 0.5f, (float)(y & 7) + 0.5f, round % LAYERS);
	float level = tex2DLod<float>(h->levels, (x & 7) / 8.0f + 0.01f, (y & 7) / 8.0f + 0.01f, (float)(round % LEVELS));
	float face = texCubemap<float>(h->cube, x & 1 ? 1.0f : 0.25f, y & 1 ? -1.0f : 0.3f, x & 2 ? 0.5f : -0.7f);
	unsigned int number = tex1Dfetch<unsigned int>(h->table, (x * 7 + y * 13 + round) % (TABLE + 8));
	// 0 to 255 as 0 to 1
	float4 byte = tex2D<float4>(h->bytes, (x & 15) / 16.0f + 1, -(y & 15) / 16.0f - 0.01f);
	uint32_t next = ((uint32_t)(mean * 4) * 5 + (uint32_t)layer + (uint32_t)level + (uint32_t)face + number +
			 (uint32_t)rintf(byte.y * 255) + round) & MASK;

	surf2Dwrite((float)next, h->write[!from], x * 4, y);
	sum[y * WIDTH + x] += next * (round | 1);
}

static uint32_t table[TABLE];
static float cells[2][HEIGHT * WIDTH], layers[LAYERS * 64], levels[LEVELS * 64], faces[6 * 4];
static unsigned char bytes[16 * 16 * 4];
static uint32_t expected[HEIGHT * WIDTH];

static int at_most(int v, int max)
{
	return v < 0 ? 0 : v > max ? max : v;
}

static int face_of(float x, float y, float z)
{
	float ax = fabsf(x), ay = fabsf(y), az = fabsf(z);

	return ax >= ay && ax >= az ? x < 0 : ay >= az ? 2 + (y < 0) : 4 + (z < 0);
}

// The step again, from the arrays that the textures were made of.
static void check_step(int from, uint32_t round)
{
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++) {
			uint32_t next = 0, level = round % LEVELS, n = x * 7 + y * 13 + round;
			float dx = x & 1 ? 1.0f : 0.25f, dy = y & 1 ? -1.0f : 0.3f, dz = x & 2 ? 0.5f : -0.7f;

			for (int c = 0; c < 4; c++)
				next += (uint32_t)cells[from][at_most(y - 1 + c / 2, HEIGHT - 1) * WIDTH +
							     at_most(x - 1 + c % 2, WIDTH - 1)];
			next = next * 5 + (uint32_t)layers[round % LAYERS * 64 + (y & 7) * 8 + (x & 7)];
			next += (uint32_t)levels[level * 64 + ((y & 7) >> level) * 8 + ((x & 7) >> level)];
			next += (uint32_t)faces[face_of(dx, dy, dz) * 4];
			n %= TABLE + 8;
			next += n < TABLE ? table[n] : 0;
			next += bytes[(15 - (y & 15)) * 64 + (x & 15) * 4 + 1];
			next = (next + round) & MASK;
			cells[!from][y * WIDTH + x] = (float)next;
			expected[y * WIDTH + x] += next * (round | 1);
		}
}

static cudaTextureObject_t texture(const cudaResourceDesc *res, cudaTextureAddressMode mode, cudaTextureFilterMode filter,
				   cudaTextureReadMode read, int normalised)
{
	cudaTextureDesc d = {};
	cudaTextureObject_t t;

	d.addressMode[0] = d.addressMode[1] = d.addressMode[2] = mode;
	d.filterMode = d.mipmapFilterMode = filter;
	d.readMode = read;
	d.normalizedCoords = normalised;
	d.maxMipmapLevelClamp = LEVELS - 1;
	CU(cudaCreateTextureObject(&t, res, &d, NULL));
	return t;
}

static cudaResourceDesc of_array(cudaArray_t a)
{
	cudaResourceDesc d = {};

	d.resType = cudaResourceTypeArray;
	d.res.array.array = a;
	return d;
}

static cudaArray_t array_3d(const float *data, int width, int height, int depth, unsigned int flags)
{
	cudaChannelFormatDesc format = cudaCreateChannelDesc<float>();
	cudaMemcpy3DParms copy = {};
	cudaArray_t a;

	CU(cudaMalloc3DArray(&a, &format, make_cudaExtent(width, height, depth), flags));
	copy.srcPtr = make_cudaPitchedPtr((void *)data, width * 4, width, height);
	copy.dstArray = a;
	copy.extent = make_cudaExtent(width, height, depth);
	copy.kind = cudaMemcpyHostToDevice;
	CU(cudaMemcpy3D(&copy));
	return a;
}

int main(int argc, char **argv)
{
	const dim3 block(32, 8), grid(WIDTH / 32, HEIGHT / 8);
	cudaChannelFormatDesc format = cudaCreateChannelDesc<float>(), byte4 = cudaCreateChannelDesc<uchar4>();
	static float got[HEIGHT * WIDTH];
	static uint32_t sums[HEIGHT * WIDTH];
	cudaMipmappedArray_t mipmap;
	cudaResourceDesc res = {};
	cudaArray_t a[2], flat;
	struct handles h, *dev;
	uint32_t seed = 11, *sum, *numbers;
	uint64_t digest;

	app_args(argc, argv, 1000);
	for (int i = 0; i < TABLE; i++)
		table[i] = app_random(&seed) & MASK;
	for (int i = 0; i < HEIGHT * WIDTH; i++)
		cells[0][i] = (float)(app_random(&seed) & MASK);
	for (int i = 0; i < LAYERS * 64; i++)
		layers[i] = (float)(app_random(&seed) & MASK);
	for (int i = 0; i < LEVELS * 64; i++)
		levels[i] = (float)(app_random(&seed) & MASK);
	for (int i = 0; i < 24; i++)
		faces[i] = (float)(i / 4 * 100);
	for (int i = 0; i < 1024; i++)
		bytes[i] = (unsigned char)app_random(&seed);

	for (int i = 0; i < 2; i++) {
		CU(cudaMallocArray(&a[i], &format, WIDTH, HEIGHT, cudaArraySurfaceLoadStore));
		res = of_array(a[i]);
		h.cells[i] = texture(&res, cudaAddressModeClamp, cudaFilterModeLinear, cudaReadModeElementType, 0);
		CU(cudaCreateSurfaceObject(&h.write[i], &res));
	}
	CU(cudaMemcpy2DToArray(a[0], 0, 0, cells[0], WIDTH * 4, WIDTH * 4, HEIGHT, cudaMemcpyHostToDevice));
	res = of_array(array_3d(layers, 8, 8, LAYERS, cudaArrayLayered));
	h.layers = texture(&res, cudaAddressModeClamp, cudaFilterModePoint, cudaReadModeElementType, 0);
	res = of_array(array_3d(faces, 2, 2, 6, cudaArrayCubemap));
	h.cube = texture(&res, cudaAddressModeClamp, cudaFilterModePoint, cudaReadModeElementType, 1);
	CU(cudaMallocMipmappedArray(&mipmap, &format, make_cudaExtent(8, 8, 0), LEVELS));
	for (int i = 0; i < LEVELS; i++) {
		cudaArray_t level;
		cudaExtent size;

		CU(cudaGetMipmappedArrayLevel(&level, mipmap, i));
		CU(cudaArrayGetInfo(NULL, &size, NULL, level));
		APP_EQUAL(size.width, (size_t)(8 >> i), i);
		CU(cudaMemcpy2DToArray(level, 0, 0, levels + i * 64, 8 * 4, size.width * 4, size.height, cudaMemcpyHostToDevice));
	}
	memset(&res, 0, sizeof(res));
	res.resType = cudaResourceTypeMipmappedArray;
	res.res.mipmap.mipmap = mipmap;
	h.levels = texture(&res, cudaAddressModeClamp, cudaFilterModePoint, cudaReadModeElementType, 1);
	CU(cudaMalloc(&numbers, sizeof(table)));
	CU(cudaMemcpy(numbers, table, sizeof(table), cudaMemcpyHostToDevice));
	memset(&res, 0, sizeof(res));
	res.resType = cudaResourceTypeLinear;
	res.res.linear.devPtr = numbers;
	res.res.linear.desc = cudaCreateChannelDesc<unsigned int>();
	res.res.linear.sizeInBytes = sizeof(table);
	h.table = texture(&res, cudaAddressModeClamp, cudaFilterModePoint, cudaReadModeElementType, 0);
	CU(cudaMallocArray(&flat, &byte4, 16, 16));
	CU(cudaMemcpy2DToArray(flat, 0, 0, bytes, 64, 64, 16, cudaMemcpyHostToDevice));
	res = of_array(flat);
	h.bytes = texture(&res, cudaAddressModeWrap, cudaFilterModePoint, cudaReadModeNormalizedFloat, 1);

	CU(cudaMalloc(&dev, sizeof(h)));
	CU(cudaMemcpy(dev, &h, sizeof(h), cudaMemcpyHostToDevice));
	CU(cudaMalloc(&sum, sizeof(sums)));
	CU(cudaMemset(sum, 0, sizeof(sums)));
	app_buffer("sum", sum, sizeof(sums));
	app_buffer("handles", dev, sizeof(h));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		step<<<grid, block>>>(dev, r & 1, r, sum);
		APP_LAUNCHED();
	}

	for (int r = 0; r < app.rounds; r++)
		check_step(r & 1, r);
	CU(cudaMemcpy(sums, sum, sizeof(sums), cudaMemcpyDeviceToHost));
	CU(cudaMemcpy2DFromArray(got, WIDTH * 4, a[app.rounds & 1], 0, 0, WIDTH * 4, HEIGHT, cudaMemcpyDeviceToHost));
	for (int i = 0; i < HEIGHT * WIDTH; i++) {
		APP_EQUAL(got[i], cells[app.rounds & 1][i], i);
		APP_EQUAL(sums[i], expected[i], i);
	}
	digest = app_sum(app_sum(0, sums, sizeof(sums)), got, sizeof(got));
	CU(cudaDestroyTextureObject(h.cells[0]));
	CU(cudaDestroySurfaceObject(h.write[0]));
	CU(cudaFreeArray(a[0]));
	CU(cudaFreeMipmappedArray(mipmap));
	return app_pass(digest);
}
