/* kernels.cu - what bench-kernels measures: one text, read as CUDA by nvcc and as OpenCL C by PoCL. */
#ifdef __OPENCL_VERSION__
#define KERNEL __kernel void
#define GLOBAL __global
#define SHARED __local
#define TID(d) ((int)get_local_id(d))
#define BID(d) ((int)get_group_id(d))
#define NTID(d) ((int)get_local_size(d))
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)
#define ADD_SHARED(p, v) atomic_add(p, v)
#define ADD_GLOBAL(p, v) atomic_add(p, v)
#define EXP(x) exp(x)
#define RSQRT(x) rsqrt(x)
#define MAX(a, b) fmax(a, b)
#else
#define KERNEL extern "C" __global__ void
#define GLOBAL
#define SHARED __shared__
#define DIM(v, d) ((d) == 0 ? (int)v.x : (int)v.y)
#define TID(d) DIM(threadIdx, d)
#define BID(d) DIM(blockIdx, d)
#define NTID(d) DIM(blockDim, d)
#define BARRIER() __syncthreads()
#define ADD_SHARED(p, v) atomicAdd(p, v)
#define ADD_GLOBAL(p, v) atomicAdd(p, v)
#define EXP(x) expf(x)
#define RSQRT(x) rsqrtf(x)
#define MAX(a, b) fmaxf(a, b)
#endif
#define GID(d) (BID(d) * NTID(d) + TID(d))

KERNEL saxpy(GLOBAL const float *x, GLOBAL const float *y, GLOBAL float *z, float a, int n)
{
	int i = GID(0);

	if (i < n)
		z[i] = a * x[i] + y[i];
}

/* c = a b, all n x n, n a multiple of 16 */
KERNEL sgemm(GLOBAL const float *a, GLOBAL const float *b, GLOBAL float *c, int n)
{
	SHARED float as[16][16], bs[16][16];
	int x = TID(0), y = TID(1), row = BID(1) * 16 + y, col = BID(0) * 16 + x;
	float sum = 0;

	for (int k = 0; k < n; k += 16) {
		as[y][x] = a[row * n + k + x];
		bs[y][x] = b[(k + y) * n + col];
		BARRIER();
		for (int i = 0; i < 16; i++)
			sum += as[y][i] * bs[i][x];
		BARRIER();
	}
	c[row * n + col] = sum;
}

/* one sum for each block of 256 */
KERNEL reduce(GLOBAL const float *in, GLOBAL float *out, int n)
{
	SHARED float s[256];
	int t = TID(0), i = BID(0) * 512 + t;

	s[t] = (i < n ? in[i] : 0) + (i + 256 < n ? in[i + 256] : 0);
	BARRIER();
	for (int d = 128; d > 0; d /= 2) {
		if (t < d)
			s[t] += s[t + d];
		BARRIER();
	}
	if (t == 0)
		out[BID(0)] = s[0];
}

KERNEL histogram(GLOBAL const int *in, GLOBAL int *bins, int n, int step)
{
	SHARED int local_bins[256];
	int t = TID(0);

	local_bins[t] = 0;
	BARRIER();
	for (int i = GID(0); i < n; i += step)
		ADD_SHARED(&local_bins[in[i] & 255], 1);
	BARRIER();
	ADD_GLOBAL(&bins[t], local_bins[t]);
}

/* bodies and accelerations as x, y, z, mass; n a multiple of 256 */
KERNEL nbody(GLOBAL const float *body, GLOBAL float *acc, int n)
{
	SHARED float tile[256][4];
	int t = TID(0), i = GID(0);
	float x = body[4 * i], y = body[4 * i + 1], z = body[4 * i + 2], ax = 0, ay = 0, az = 0;

	for (int first = 0; first < n; first += 256) {
		for (int k = 0; k < 4; k++)
			tile[t][k] = body[4 * (first + t) + k];
		BARRIER();
		for (int j = 0; j < 256; j++) {
			float dx = tile[j][0] - x, dy = tile[j][1] - y, dz = tile[j][2] - z;
			float inv = RSQRT(dx * dx + dy * dy + dz * dz + 0.01f);
			float f = tile[j][3] * inv * inv * inv;

			ax += f * dx;
			ay += f * dy;
			az += f * dz;
		}
		BARRIER();
	}
	acc[4 * i] = ax;
	acc[4 * i + 1] = ay;
	acc[4 * i + 2] = az;
	acc[4 * i + 3] = 0;
}

/* one step of diffusion; the rim stays */
KERNEL stencil(GLOBAL const float *in, GLOBAL float *out, int w, int h)
{
	int x = GID(0), y = GID(1), i = y * w + x;

	if (x >= w || y >= h)
		return;
	if (x == 0 || y == 0 || x == w - 1 || y == h - 1)
		out[i] = in[i];
	else
		out[i] = 0.5f * in[i] + 0.125f * (in[i - 1] + in[i + 1] + in[i - w] + in[i + w]);
}

KERNEL mandelbrot(GLOBAL int *out, int w, int h, int limit)
{
	int px = GID(0), py = GID(1), k = 0;
	float cx = px * (3.0f / w) - 2.2f, cy = py * (2.5f / h) - 1.25f, x = 0, y = 0;

	if (px >= w || py >= h)
		return;
	for (; k < limit; k++) {
		float xx = x * x, yy = y * y;

		if (xx + yy > 4)
			break;
		y = 2 * x * y + cy;
		x = xx - yy + cx;
	}
	out[py * w + px] = k;
}

/* inclusive sums of each block of 256; the sum of all of it to `total` */
KERNEL scan(GLOBAL const int *in, GLOBAL int *out, GLOBAL int *total)
{
	SHARED int s[2][256];
	int t = TID(0), i = GID(0), from = 0;

	s[0][t] = in[i];
	BARRIER();
	for (int d = 1; d < 256; d *= 2) {
		s[1 - from][t] = t >= d ? s[from][t] + s[from][t - d] : s[from][t];
		from = 1 - from;
		BARRIER();
	}
	out[i] = s[from][t];
	if (t == 255)
		total[BID(0)] = s[from][t];
}

KERNEL scan_add(GLOBAL int *out, GLOBAL const int *before)
{
	if (BID(0))
		out[GID(0)] += before[BID(0) - 1];
}

/* a row for each block of 256 */
KERNEL softmax(GLOBAL const float *in, GLOBAL float *out, int n)
{
	SHARED float s[256];
	int t = TID(0), row = BID(0) * n;
	float m = -1e30f, sum = 0;

	for (int i = t; i < n; i += 256)
		m = MAX(m, in[row + i]);
	s[t] = m;
	BARRIER();
	for (int d = 128; d > 0; d /= 2) {
		if (t < d)
			s[t] = MAX(s[t], s[t + d]);
		BARRIER();
	}
	m = s[0];
	BARRIER();
	for (int i = t; i < n; i += 256)
		sum += EXP(in[row + i] - m);
	s[t] = sum;
	BARRIER();
	for (int d = 128; d > 0; d /= 2) {
		if (t < d)
			s[t] += s[t + d];
		BARRIER();
	}
	sum = 1 / s[0];
	for (int i = t; i < n; i += 256)
		out[row + i] = EXP(in[row + i] - m) * sum;
}

/* rows in CSR form, one for each thread */
KERNEL spmv(GLOBAL const int *start, GLOBAL const int *col, GLOBAL const float *val, GLOBAL const float *x,
	    GLOBAL float *y, int n)
{
	int row = GID(0);

	if (row < n) {
		float sum = 0;

		for (int k = start[row]; k < start[row + 1]; k++)
			sum += val[k] * x[col[k]];
		y[row] = sum;
	}
}

/* n x n, n a multiple of 32; blocks of 32 x 8 */
KERNEL transpose(GLOBAL const float *in, GLOBAL float *out, int n)
{
	SHARED float tile[32][33];
	int x = TID(0), y = TID(1), bx = BID(0) * 32, by = BID(1) * 32;

	for (int k = 0; k < 32; k += 8)
		tile[y + k][x] = in[(by + y + k) * n + bx + x];
	BARRIER();
	for (int k = 0; k < 32; k += 8)
		out[(bx + y + k) * n + by + x] = tile[x][y + k];
}

/* one step of a bitonic sort: pairs that are j apart, in runs of k */
KERNEL bitonic(GLOBAL int *v, int j, int k)
{
	int i = GID(0), other = i ^ j;

	if (other > i) {
		int a = v[i], b = v[other];

		if ((a > b) == ((i & k) == 0)) {
			v[i] = b;
			v[other] = a;
		}
	}
}

/* the steps from j on that stay inside of a block of 256 */
KERNEL bitonic_block(GLOBAL int *v, int j, int k)
{
	SHARED int s[256];
	int t = TID(0), i = GID(0);

	s[t] = v[i];
	BARRIER();
	for (; j > 0; j /= 2) {
		int other = t ^ j;

		if (other > t) {
			int a = s[t], b = s[other];

			if ((a > b) == ((i & k) == 0)) {
				s[t] = b;
				s[other] = a;
			}
		}
		BARRIER();
	}
	v[i] = s[t];
}
