// train.cu - trains a small neural network on generated data: which of three spiral arms is a point on?
#include "app.h"

#define IN 2
#define HIDDEN 48
#define OUT 3
#define BATCH 128
#define TEST 1024
#define RATE 0.05f
#define MOMENTUM 0.9f
#define CHECKED 20	/* steps that the CPU repeats */

#define W1 0
#define B1 (W1 + IN * HIDDEN)
#define W2 (B1 + HIDDEN)
#define B2 (W2 + HIDDEN * HIDDEN)
#define W3 (B2 + HIDDEN)
#define B3 (W3 + HIDDEN * OUT)
#define PARAMS (B3 + OUT)

__host__ __device__ static uint32_t hash(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ (x >> 16);
}

__host__ __device__ static float uniform(uint32_t key)
{
	return (float)(hash(key) >> 8) * (1.0f / 16777216.0f);
}

__host__ __device__ static int spiral(uint32_t key, float *x, float *y)
{
	int arm = (int)(hash(key) % OUT);
	float t = uniform(key ^ 0x55555555u), noise = uniform(key ^ 0x33333333u) - 0.5f;
	float angle = t * 4.0f + arm * 2.0943951f + noise * 0.35f, radius = 0.15f + 0.85f * t;

	*x = radius * cosf(angle);
	*y = radius * sinf(angle);
	return arm;
}

__global__ void make_batch(float *x, int *label, uint32_t key, int n)
{
	int i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		label[i] = spiral(key + i * 2654435761u, &x[i * IN], &x[i * IN + 1]);
}

// out[sample][j] = f(bias[j] + sum of in[sample][k] * weight[k][j]); one block is one sample
__global__ void forward(const float *in, int inputs, const float *weight, const float *bias, float *out, int outputs,
			bool activate)
{
	extern __shared__ float row[];
	int sample = blockIdx.x, j = threadIdx.x;

	for (int k = j; k < inputs; k += blockDim.x)
		row[k] = in[sample * inputs + k];
	__syncthreads();
	if (j < outputs) {
		float sum = bias[j];

		for (int k = 0; k < inputs; k++)
			sum += row[k] * weight[k * outputs + j];
		out[sample * outputs + j] = activate ? tanhf(sum) : sum;
	}
}

// Softmax, cross-entropy and its gradient; the loss is summed in a fixed order.
__global__ void softmax(const float *score, const int *label, float *gradient, float *loss, int *right)
{
	__shared__ float part[BATCH];
	__shared__ int hits[BATCH];
	int i = threadIdx.x, best = 0;
	float e[OUT], sum = 0, top = score[i * OUT];

	for (int c = 1; c < OUT; c++) {
		if (score[i * OUT + c] > top) {
			top = score[i * OUT + c];
			best = c;
		}
	}
	for (int c = 0; c < OUT; c++)
		sum += e[c] = expf(score[i * OUT + c] - top);
	for (int c = 0; c < OUT; c++)
		gradient[i * OUT + c] = (e[c] / sum - (c == label[i] ? 1.0f : 0.0f)) / BATCH;
	part[i] = logf(sum) + top - score[i * OUT + label[i]];
	hits[i] = best == label[i];
	for (int d = BATCH / 2; d; d >>= 1) {
		__syncthreads();
		if (i < d) {
			part[i] += part[i + d];
			hits[i] += hits[i + d];
		}
	}
	if (!i) {
		*loss = part[0] / BATCH;
		*right += hits[0];
	}
}

// Gradient of a layer's input, through the tanh that made it.
__global__ void backward(const float *weight, const float *gradient, int outputs, const float *in, float *in_gradient)
{
	int sample = blockIdx.x, k = threadIdx.x, inputs = blockDim.x;
	float sum = 0, y = in[sample * inputs + k];

	for (int j = 0; j < outputs; j++)
		sum += gradient[sample * outputs + j] * weight[k * outputs + j];
	in_gradient[sample * inputs + k] = sum * (1.0f - y * y);
}

// One thread is one weight (k, j), or a bias (k == inputs): gradient over the batch, momentum, step.
__global__ void update(const float *in, int inputs, const float *gradient, int outputs, float *weight,
		       float *bias, float *weight_speed, float *bias_speed)
{
	int t = blockIdx.x * blockDim.x + threadIdx.x, k = t / outputs, j = t % outputs;
	float sum = 0, *w, *s;

	if (k > inputs)
		return;
	for (int i = 0; i < BATCH; i++)
		sum += gradient[i * outputs + j] * (k < inputs ? in[i * inputs + k] : 1.0f);
	w = k < inputs ? &weight[k * outputs + j] : &bias[j];
	s = k < inputs ? &weight_speed[k * outputs + j] : &bias_speed[j];
	*s = MOMENTUM * *s - RATE * sum;
	*w += *s;
}

// The reference: one sample after the other, in double precision, gradients accumulated as they come.
static double reference_step(double *w, double *speed, uint32_t key)
{
	static double g[PARAMS];
	double loss = 0;

	memset(g, 0, sizeof(g));
	for (int i = 0; i < BATCH; i++) {
		double h1[HIDDEN], h2[HIDDEN], s[OUT], d1[HIDDEN], d2[HIDDEN], sum = 0;
		float x[2];
		int arm = spiral(key + i * 2654435761u, &x[0], &x[1]);

		for (int j = 0; j < HIDDEN; j++)
			h1[j] = tanh(w[B1 + j] + x[0] * w[W1 + j] + x[1] * w[W1 + HIDDEN + j]);
		for (int j = 0; j < HIDDEN; j++) {
			double a = w[B2 + j];

			for (int k = 0; k < HIDDEN; k++)
				a += h1[k] * w[W2 + k * HIDDEN + j];
			h2[j] = tanh(a);
		}
		for (int c = 0; c < OUT; c++) {
			s[c] = w[B3 + c];
			for (int k = 0; k < HIDDEN; k++)
				s[c] += h2[k] * w[W3 + k * OUT + c];
			sum += exp(s[c]);
		}
		loss += log(sum) - s[arm];
		for (int c = 0; c < OUT; c++) {
			s[c] = (exp(s[c]) / sum - (c == arm)) / BATCH;
			g[B3 + c] += s[c];
		}
		for (int k = 0; k < HIDDEN; k++) {
			d2[k] = 0;
			for (int c = 0; c < OUT; c++) {
				d2[k] += s[c] * w[W3 + k * OUT + c];
				g[W3 + k * OUT + c] += s[c] * h2[k];
			}
			d2[k] *= 1 - h2[k] * h2[k];
			g[B2 + k] += d2[k];
		}
		for (int k = 0; k < HIDDEN; k++) {
			d1[k] = 0;
			for (int j = 0; j < HIDDEN; j++) {
				d1[k] += d2[j] * w[W2 + k * HIDDEN + j];
				g[W2 + k * HIDDEN + j] += d2[j] * h1[k];
			}
			d1[k] *= 1 - h1[k] * h1[k];
			g[B1 + k] += d1[k];
			g[W1 + k] += d1[k] * x[0];
			g[W1 + HIDDEN + k] += d1[k] * x[1];
		}
	}
	for (int i = 0; i < PARAMS; i++) {
		speed[i] = MOMENTUM * speed[i] - RATE * g[i];
		w[i] += speed[i];
	}
	return loss / BATCH;
}

static int classify(const float *w, float x, float y)
{
	float h1[HIDDEN], h2[HIDDEN], top = 0;
	int best = -1;

	for (int j = 0; j < HIDDEN; j++)
		h1[j] = tanhf(w[B1 + j] + x * w[W1 + j] + y * w[W1 + HIDDEN + j]);
	for (int j = 0; j < HIDDEN; j++) {
		float a = w[B2 + j];

		for (int k = 0; k < HIDDEN; k++)
			a += h1[k] * w[W2 + k * HIDDEN + j];
		h2[j] = tanhf(a);
	}
	for (int c = 0; c < OUT; c++) {
		float s = w[B3 + c];

		for (int k = 0; k < HIDDEN; k++)
			s += h2[k] * w[W3 + k * OUT + c];
		if (best < 0 || s > top) {
			best = c;
			top = s;
		}
	}
	return best;
}

int main(int argc, char **argv)
{
	static float host[PARAMS];
	static double ref[PARAMS], ref_speed[PARAMS];
	float *weights, *speed, *x, *h1, *h2, *score, *g1, *g2, *g3, *loss, host_loss;
	int *label, *right, good = 0, since = 0;
	uint32_t seed = 11;

	app_args(argc, argv, 3000);
	for (int i = 0; i < PARAMS; i++) {
		float scale = i < B1 ? 1.0f : i >= W2 && i < B2 ? 0.2f : i >= W3 && i < B3 ? 0.2f : 0.0f;

		ref[i] = host[i] = scale * app_random_float(&seed);
	}
	CU(cudaMalloc(&weights, PARAMS * 4));
	CU(cudaMalloc(&speed, PARAMS * 4));
	CU(cudaMalloc(&x, BATCH * IN * 4));
	CU(cudaMalloc(&label, BATCH * 4));
	CU(cudaMalloc(&h1, BATCH * HIDDEN * 4));
	CU(cudaMalloc(&h2, BATCH * HIDDEN * 4));
	CU(cudaMalloc(&score, BATCH * OUT * 4));
	CU(cudaMalloc(&g1, BATCH * HIDDEN * 4));
	CU(cudaMalloc(&g2, BATCH * HIDDEN * 4));
	CU(cudaMalloc(&g3, BATCH * OUT * 4));
	CU(cudaMalloc(&loss, 4));
	CU(cudaMalloc(&right, 4));
	app_buffer("weights", weights, PARAMS * 4);
	app_buffer("speed", speed, PARAMS * 4);
	app_buffer("x", x, BATCH * IN * 4);
	app_buffer("label", label, BATCH * 4);
	app_buffer("h1", h1, BATCH * HIDDEN * 4);
	app_buffer("h2", h2, BATCH * HIDDEN * 4);
	app_buffer("score", score, BATCH * OUT * 4);
	app_buffer("g1", g1, BATCH * HIDDEN * 4);
	app_buffer("g2", g2, BATCH * HIDDEN * 4);
	app_buffer("g3", g3, BATCH * OUT * 4);
	app_buffer("loss", loss, 4);
	app_buffer("right", right, 4);
	CU(cudaMemcpy(weights, host, PARAMS * 4, cudaMemcpyHostToDevice));
	CU(cudaMemset(speed, 0, PARAMS * 4));
	CU(cudaMemset(right, 0, 4));

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		make_batch<<<(BATCH + 63) / 64, 64>>>(x, label, (uint32_t)r * 7919u, BATCH);
		forward<<<BATCH, 64, IN * 4>>>(x, IN, weights + W1, weights + B1, h1, HIDDEN, true);
		forward<<<BATCH, 64, HIDDEN * 4>>>(h1, HIDDEN, weights + W2, weights + B2, h2, HIDDEN, true);
		forward<<<BATCH, 32, HIDDEN * 4>>>(h2, HIDDEN, weights + W3, weights + B3, score, OUT, false);
		softmax<<<1, BATCH>>>(score, label, g3, loss, right);
		backward<<<BATCH, HIDDEN>>>(weights + W3, g3, OUT, h2, g2);
		backward<<<BATCH, HIDDEN>>>(weights + W2, g2, HIDDEN, h1, g1);
		update<<<((IN + 1) * HIDDEN + 127) / 128, 128>>>(x, IN, g1, HIDDEN, weights + W1, weights + B1,
								 speed + W1, speed + B1);
		update<<<((HIDDEN + 1) * HIDDEN + 127) / 128, 128>>>(h1, HIDDEN, g2, HIDDEN, weights + W2,
								     weights + B2, speed + W2, speed + B2);
		update<<<((HIDDEN + 1) * OUT + 127) / 128, 128>>>(h2, HIDDEN, g3, OUT, weights + W3, weights + B3,
								  speed + W3, speed + B3);
		APP_LAUNCHED();
		since++;
		if (r < CHECKED || r % 250 == 249 || r == app.rounds - 1) {
			CU(cudaMemcpy(&host_loss, loss, 4, cudaMemcpyDeviceToHost));
			if (r < CHECKED) {
				double want = reference_step(ref, ref_speed, (uint32_t)r * 7919u);

				APP_NEAR(host_loss, want, 1e-3, r);
			} else {
				int hits;

				CU(cudaMemcpy(&hits, right, 4, cudaMemcpyDeviceToHost));
				CU(cudaMemset(right, 0, 4));
				printf("step %5d   loss %.4f   %5.1f %% of the last %d batches right\n", r + 1,
				       host_loss, 100.0 * hits / (since * BATCH), since);
				since = 0;
			}
		}
	}

	CU(cudaMemcpy(host, weights, PARAMS * 4, cudaMemcpyDeviceToHost));
	for (int i = 0; i < TEST; i++) {
		float px, py;
		int arm = spiral(0x80000000u + i * 40503u, &px, &py);

		good += classify(host, px, py) == arm;
	}
	printf("%d of %d unseen points are put on the right arm\n", good, TEST);
	if (app.rounds >= 2000 && good < TEST * 95 / 100)
		app_fail("the network has not learnt");
	return app_pass(app_sum(0, host, sizeof(host)));
}
