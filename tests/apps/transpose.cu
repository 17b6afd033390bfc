// transpose.cu - through a padded tile of shared memory, on pitched memory.
#include "app.h"

#define WIDTH 300
#define HEIGHT 212
#define TILE 32
#define ROWS 8

__global__ void transpose(const uint32_t *in, size_t in_pitch, uint32_t *out, size_t out_pitch, int width, int height)
{
	__shared__ uint32_t tile[TILE][TILE + 1];
	int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;

	for (int j = 0; j < TILE; j += ROWS)
		if (x < width && y + j < height)
			tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * (in_pitch / 4) + x];
	__syncthreads();
	x = blockIdx.y * TILE + threadIdx.x;
	y = blockIdx.x * TILE + threadIdx.y;
	for (int j = 0; j < TILE; j += ROWS)
		if (x < height && y + j < width)
			out[(y + j) * (out_pitch / 4) + x] = tile[threadIdx.x][threadIdx.y + j] * 3 + 1;
}

int main(int argc, char **argv)
{
	static uint32_t first[HEIGHT * WIDTH], got[HEIGHT * WIDTH];
	const dim3 block(TILE, ROWS);
	const dim3 wide((WIDTH + TILE - 1) / TILE, (HEIGHT + TILE - 1) / TILE);
	const dim3 tall((HEIGHT + TILE - 1) / TILE, (WIDTH + TILE - 1) / TILE);
	uint32_t *a, *b, seed = 9, scale = 1, add = 0;
	size_t pitch_a, pitch_b;

	app_args(argc, argv, 12000);
	for (int i = 0; i < HEIGHT * WIDTH; i++)
		first[i] = app_random(&seed);
	CU(cudaMallocPitch(&a, &pitch_a, WIDTH * 4, HEIGHT));
	CU(cudaMallocPitch(&b, &pitch_b, HEIGHT * 4, WIDTH));
	CU(cudaMemset2D(a, pitch_a, 0, pitch_a, HEIGHT));
	CU(cudaMemset2D(b, pitch_b, 0, pitch_b, WIDTH));
	app_buffer("a", a, pitch_a * HEIGHT);
	app_buffer("b", b, pitch_b * WIDTH);
	CU(cudaMemcpy2D(a, pitch_a, first, WIDTH * 4, WIDTH * 4, HEIGHT, cudaMemcpyHostToDevice));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		if (r & 1)
			transpose<<<tall, block>>>(b, pitch_b, a, pitch_a, HEIGHT, WIDTH);
		else
			transpose<<<wide, block>>>(a, pitch_a, b, pitch_b, WIDTH, HEIGHT);
		APP_LAUNCHED();
	}

	// v -> 3v + 1, rounds times, is one multiplication and one addition
	for (int r = 0; r < app.rounds; r++) {
		scale *= 3;
		add = add * 3 + 1;
	}
	if (app.rounds & 1)
		CU(cudaMemcpy2D(got, HEIGHT * 4, b, pitch_b, HEIGHT * 4, WIDTH, cudaMemcpyDeviceToHost));
	else
		CU(cudaMemcpy2D(got, WIDTH * 4, a, pitch_a, WIDTH * 4, HEIGHT, cudaMemcpyDeviceToHost));
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++)
			APP_EQUAL(got[app.rounds & 1 ? x * HEIGHT + y : y * WIDTH + x],
				  first[y * WIDTH + x] * scale + add, y * WIDTH + x);
	return app_pass(app_sum(0, got, sizeof(got)));
}
