// linked_list.cu - lists built on the device and walked later: raw pointers inside buffers, across buffers.
#include "app.h"

#define POOLS 3
#define PER_POOL 4096
#define NODES (POOLS * PER_POOL)
#define LISTS 256

struct node {
	node *next;
	uint32_t value, visits;
};

struct pools {
	node *pool[POOLS];
};

__host__ __device__ static uint32_t pool_of(uint32_t i)
{
	return i % POOLS;
}

__device__ node *node_at(pools p, uint32_t i)
{
	return p.pool[pool_of(i)] + i / POOLS;
}

// Node i is followed by i + LISTS: each list visits all pools.
__global__ void build(pools p, node **head)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i >= NODES)
		return;
	node_at(p, i)->next = i + LISTS < NODES ? node_at(p, i + LISTS) : nullptr;
	node_at(p, i)->value = i * 2654435761u;
	node_at(p, i)->visits = 0;
	if (i < LISTS)
		head[i] = node_at(p, i);
}

// Pushes the first node of every list on the neighbour's list; all read before any writes.
__global__ void rotate(node **head)
{
	__shared__ node *first[LISTS];
	int mine = threadIdx.x, other = (threadIdx.x + 1) % LISTS;

	first[mine] = head[mine];
	__syncthreads();
	node *rest = first[mine]->next;

	__syncthreads();
	first[other]->next = rest;
	head[mine] = first[other];
}

__global__ void walk(node **head, uint32_t *sum)
{
	int list = blockIdx.x * blockDim.x + threadIdx.x;
	uint32_t s = sum[list];

	for (node *n = head[list]; n; n = n->next) {
		n->value = n->value * 1664525u + s;
		n->visits++;
		s = (s ^ n->value) * 16777619u;
	}
	sum[list] = s;
}

int main(int argc, char **argv)
{
	static node got[PER_POOL];
	static uint32_t value[NODES], want[LISTS], got_sum[LISTS];
	static int next[NODES], first[LISTS], moved[LISTS], rest[LISTS];
	pools p;
	node **head;
	uint32_t *sum;
	uint64_t check;

	app_args(argc, argv, 12000);
	for (int k = 0; k < POOLS; k++) {
		char name[8];

		CU(cudaMalloc(&p.pool[k], PER_POOL * sizeof(node)));
		snprintf(name, sizeof(name), "pool%d", k);
		app_buffer(name, p.pool[k], PER_POOL * sizeof(node));
	}
	CU(cudaMalloc(&head, LISTS * sizeof(*head)));
	CU(cudaMalloc(&sum, LISTS * 4));
	app_buffer("head", head, LISTS * sizeof(*head));
	app_buffer("sum", sum, LISTS * 4);
	CU(cudaMemset(sum, 0, LISTS * 4));
	build<<<NODES / 128, 128>>>(p, head);
	APP_LAUNCHED();

	for (int r = 0; r < app.rounds; r++) {
		APP_ROUND(r);
		rotate<<<1, LISTS>>>(head);
		APP_LAUNCHED();
		walk<<<LISTS / 64, 64>>>(head, sum);
		APP_LAUNCHED();
	}

	// the same with indices
	for (int i = 0; i < NODES; i++) {
		value[i] = (uint32_t)i * 2654435761u;
		next[i] = i + LISTS < NODES ? i + LISTS : -1;
		if (i < LISTS)
			first[i] = i;
	}
	for (int r = 0; r < app.rounds; r++) {
		for (int l = 0; l < LISTS; l++)
			rest[l] = next[first[l]];
		for (int l = 0; l < LISTS; l++) {
			moved[l] = first[(l + 1) % LISTS];
			next[moved[l]] = rest[l];
		}
		memcpy(first, moved, sizeof(first));
		for (int l = 0; l < LISTS; l++) {
			for (int i = first[l]; i >= 0; i = next[i]) {
				value[i] = value[i] * 1664525u + want[l];
				want[l] = (want[l] ^ value[i]) * 16777619u;
			}
		}
	}
	CU(cudaMemcpy(got_sum, sum, sizeof(got_sum), cudaMemcpyDeviceToHost));
	for (int l = 0; l < LISTS; l++)
		APP_EQUAL(got_sum[l], want[l], l);
	check = app_sum(0, got_sum, sizeof(got_sum));
	for (uint32_t k = 0; k < POOLS; k++) {
		CU(cudaMemcpy(got, p.pool[k], sizeof(got), cudaMemcpyDeviceToHost));
		for (uint32_t i = k; i < NODES; i += POOLS) {
			APP_EQUAL(got[i / POOLS].value, value[i], i);
			APP_EQUAL(got[i / POOLS].visits, (uint32_t)app.rounds, i);
			check = app_sum(check, &got[i / POOLS].value, 8);
		}
	}
	return app_pass(check);
}
