// nbody.cu - gravity among a thousand bodies, tiles of positions in shared memory.
#include "app.h"

#define BODIES 768
#define TILE 128
#define SOFTENING 0.05f
#define DT 0.0005f

__global__ void accelerate(const float4 *position, float4 *velocity, int n)
{
	__shared__ float4 tile[TILE];
	int i = blockIdx.x * TILE + threadIdx.x;
	float4 me = position[i], v = velocity[i];
	float ax = 0, ay = 0, az = 0;

	for (int t = 0; t < n; t += TILE) {
		tile[threadIdx.x] = position[t + threadIdx.x];
		__syncthreads();
#pragma unroll 8
		for (int k = 0; k < TILE; k++) {
			float dx = tile[k].x - me.x, dy = tile[k].y - me.y, dz = tile[k].z - me.z;
			float inv = rsqrtf(dx * dx + dy * dy + dz * dz + SOFTENING);
			float f = tile[k].w * inv * inv * inv;

			ax += f * dx;
			ay += f * dy;
			az += f * dz;
		}
		__syncthreads();
	}
	v.x += ax * DT;
	v.y += ay * DT;
	v.z += az * DT;
	velocity[i] = v;
}

__global__ void move(float4 *position, const float4 *velocity)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	position[i].x += velocity[i].x * DT;
	position[i].y += velocity[i].y * DT;
	position[i].z += velocity[i].z * DT;
}

int main(int argc, char **argv)
{
	static float4 p[BODIES], v[BODIES];
	static double x[BODIES][3], u[BODIES][3];
	float4 *dp, *dv;
	uint32_t seed = 7;
	uint64_t sum = 0;

	app_args(argc, argv, 400);
	for (int i = 0; i < BODIES; i++) {
		p[i].x = x[i][0] = app_random_float(&seed);
		p[i].y = x[i][1] = app_random_float(&seed);
		p[i].z = x[i][2] = app_random_float(&seed);
		p[i].w = (float)(1 + app_random(&seed) % 3) / BODIES;
	}
	CU(cudaMalloc(&dp, sizeof(p)));
	CU(cudaMalloc(&dv, sizeof(v)));
	app_buffer("position", dp, sizeof(p));
	app_buffer("velocity", dv, sizeof(v));
	CU(cudaMemcpy(dp, p, sizeof(p), cudaMemcpyHostToDevice));
	CU(cudaMemset(dv, 0, sizeof(v)));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		accelerate<<<BODIES / TILE, TILE>>>(dp, dv, BODIES);
		APP_LAUNCHED();
		move<<<BODIES / 64, 64>>>(dp, dv);
		APP_LAUNCHED();
	}

	// double precision, each pair once
	for (int r = 0; r < app.rounds; r++) {
		for (int i = 0; i < BODIES; i++) {
			for (int j = 0; j < i; j++) {
				double d[3], s = SOFTENING, f;

				for (int c = 0; c < 3; c++) {
					d[c] = x[j][c] - x[i][c];
					s += d[c] * d[c];
				}
				f = DT / (s * sqrt(s));
				for (int c = 0; c < 3; c++) {
					u[i][c] += d[c] * f * p[j].w;
					u[j][c] -= d[c] * f * p[i].w;
				}
			}
		}
		for (int i = 0; i < BODIES; i++)
			for (int c = 0; c < 3; c++)
				x[i][c] += u[i][c] * DT;
	}
	CU(cudaMemcpy(p, dp, sizeof(p), cudaMemcpyDeviceToHost));
	CU(cudaMemcpy(v, dv, sizeof(v), cudaMemcpyDeviceToHost));
	for (int i = 0; i < BODIES; i++) {
		APP_NEAR(p[i].x, x[i][0], 2e-4, i);
		APP_NEAR(p[i].y, x[i][1], 2e-4, i);
		APP_NEAR(p[i].z, x[i][2], 2e-4, i);
		APP_NEAR(v[i].x, u[i][0], 2e-3, i);
		APP_NEAR(v[i].y, u[i][1], 2e-3, i);
		APP_NEAR(v[i].z, u[i][2], 2e-3, i);
	}
	sum = app_sum(sum, p, sizeof(p));
	return app_pass(app_sum(sum, v, sizeof(v)));
}
