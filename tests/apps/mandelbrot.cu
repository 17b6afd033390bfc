// mandelbrot.cu - every lane leaves its loop at its own time; the view moves from round to round.
#include "app.h"

#define W 96
#define H 64
#define LIMIT 400

// The same rounding on any machine: no multiplication is fused with an addition.
__device__ uint32_t iterations(float cx, float cy)
{
	float x = 0, y = 0;
	uint32_t n = 0;

	while (n < LIMIT) {
		float xx = __fmul_rn(x, x), yy = __fmul_rn(y, y), xy = __fmul_rn(x, y);

		if (__fadd_rn(xx, yy) > 4.0f)
			break;
		x = __fadd_rn(__fsub_rn(xx, yy), cx);
		y = __fadd_rn(__fadd_rn(xy, xy), cy);
		n++;
	}
	return n;
}

__global__ void mandelbrot(uint32_t *image, float left, float top, float step)
{
	int px = blockIdx.x * blockDim.x + threadIdx.x, py = blockIdx.y * blockDim.y + threadIdx.y;
	uint32_t n;

	if (px >= W || py >= H)
		return;
	n = iterations(__fadd_rn(left, __fmul_rn(step, (float)px)), __fadd_rn(top, __fmul_rn(step, (float)py)));
	switch (n & 3) {	/* divergence of another kind */
	case 0:
		image[py * W + px] += n;
		break;
	case 1:
		image[py * W + px] ^= n << 8;
		break;
	case 2:
		image[py * W + px] = image[py * W + px] * 5 + n;
		break;
	default:
		for (uint32_t i = 0; i < (n & 7); i++)
			image[py * W + px] += image[py * W + px] >> 3;
	}
}

// The reference advances in the form |z|^2 and keeps its state in volatile floats: nothing can be fused.
static uint32_t escape(float cx, float cy)
{
	volatile float re = 0, im = 0, re2 = 0, im2 = 0, t;

	for (uint32_t n = 0; n < LIMIT; n++) {
		t = re2 + im2;
		if (t > 4.0f)
			return n;
		t = re * im;
		im = t * 2;
		im = im + cy;
		t = re2 - im2;
		re = t + cx;
		re2 = re * re;
		im2 = im * im;
	}
	return LIMIT;
}

static void view(int r, float *left, float *top, float *step)
{
	*step = (float)(64 + r % 64) / 4096.0f;
	*left = -1.75f + (float)(r % 16) / 64.0f;
	*top = -0.5f - (float)(r % 8) / 32.0f;
}

int main(int argc, char **argv)
{
	const dim3 block(32, 4), grid((W + 31) / 32, (H + 3) / 4);
	static uint32_t got[W * H], want[W * H];
	uint32_t *image;

	app_args(argc, argv, 100);
	CU(cudaMalloc(&image, sizeof(got)));
	app_buffer("image", image, sizeof(got));
	CU(cudaMemset(image, 0, sizeof(got)));

	for (int r = 0; r < app.rounds; r++) {
		float left, top, step;

		APP_ROUND(r);
		view(r, &left, &top, &step);
		mandelbrot<<<grid, block>>>(image, left, top, step);
		APP_LAUNCHED();
	}

	for (int r = 0; r < app.rounds; r++) {
		float left, top, step;

		view(r, &left, &top, &step);
		for (int i = 0; i < W * H; i++) {
			volatile float cx = step * (float)(i % W), cy = step * (float)(i / W);
			uint32_t n = escape(left + cx, top + cy), v = want[i];

			if (n % 4 == 0)
				v += n;
			else if (n % 4 == 1)
				v ^= n * 256;
			else if (n % 4 == 2)
				v = v * 5 + n;
			else
				for (uint32_t k = n % 8; k; k--)
					v += v / 8;
			want[i] = v;
		}
	}
	CU(cudaMemcpy(got, image, sizeof(got), cudaMemcpyDeviceToHost));
	for (int i = 0; i < W * H; i++)
		APP_EQUAL(got[i], want[i], i);
	return app_pass(app_sum(0, got, sizeof(got)));
}
