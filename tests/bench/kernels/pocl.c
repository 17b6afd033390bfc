/*
 * pocl.c - the peer of bench-kernels: runs the cases as OpenCL C on PoCL's CPU device, in a process of its own.
 *
 * Says "ready" and what it runs on. For each number read from stdin it runs that case once and answers with the
 * milliseconds, by the clock and of processors; the first time it prepares, compiles, warms up and checks before. An answer that is no number says what went wrong.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/kernels/cases.h"

static cl_context context;
static cl_command_queue queue;
static cl_program program;
static cl_device_id device;
static cl_mem mem[MAX_BUFFERS];
static char version[128];

static void say(const char *what, int code)
{
	printf("%s failed with %d\n", what, code);
	fflush(stdout);
}

/* One kernel object for each name. */
static cl_kernel kernel(const char *name)
{
	static struct { const char *name; cl_kernel kernel; } known[32];
	int i = 0, err;

	for (; known[i].name; i++)
		if (!strcmp(known[i].name, name))
			return known[i].kernel;
	known[i].kernel = clCreateKernel(program, name, &err);
	if (err)
		return NULL;
	known[i].name = name;
	return known[i].kernel;
}

static void launch(struct machine *m, const char *name, const int grid[2], const int block[2], const struct arg *arg,
		   int nr_args)
{
	size_t global[2] = { (size_t)grid[0] * (size_t)block[0], (size_t)grid[1] * (size_t)block[1] };
	size_t local[2] = { (size_t)block[0], (size_t)block[1] };
	cl_kernel k = kernel(name);
	int err = k ? 0 : CL_INVALID_KERNEL_NAME;

	for (int i = 0; i < nr_args && !err; i++)
		err = arg[i].kind == ARG_BUFFER ? clSetKernelArg(k, (cl_uint)i, sizeof(cl_mem), &mem[arg[i].i]) :
						  clSetKernelArg(k, (cl_uint)i, 4, &arg[i].i);
	if (!err)
		err = clEnqueueNDRangeKernel(queue, k, 2, NULL, global, local, 0, NULL, NULL);
	if (!err)
		return;
	say(name, err);
	m->failed = true;
}

static struct cost once(const struct bench *b, struct machine *m, struct buffer *buf)
{
	struct cost start;

	/* the buffers are the host's memory: the device is this machine */
	if (b->reset)
		b->reset(buf);
	start = now();
	b->run(m);
	clFinish(queue);
	return since(start);
}

static int open_device(void)
{
	cl_platform_id all[8];
	char name[128] = "";
	cl_uint n = 0;

	if (clGetPlatformIDs(8, all, &n))
		n = 0;
	for (cl_uint i = 0; i < n && i < 8; i++) {
		clGetPlatformInfo(all[i], CL_PLATFORM_NAME, sizeof(name), name, NULL);
		if (strcmp(name, "Portable Computing Language") || clGetDeviceIDs(all[i], CL_DEVICE_TYPE_CPU, 1, &device, NULL))
			continue;
		clGetPlatformInfo(all[i], CL_PLATFORM_VERSION, sizeof(version), version, NULL);
		return 0;
	}
	printf("PoCL has no CPU device here\n");
	return 1;
}

static int compile(const char *path)
{
	FILE *f = fopen(path, "rb");
	static char text[1 << 16], why[4096];
	const char *source = text;
	size_t n;
	int err;

	if (!f) {
		printf("cannot open '%s'\n", path);
		return 1;
	}
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	context = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
	if (!err)
		queue = clCreateCommandQueue(context, device, 0, &err);
	if (!err)
		program = clCreateProgramWithSource(context, 1, &source, &n, &err);
	if (!err)
		err = clBuildProgram(program, 1, &device, "", NULL, NULL);
	if (!err)
		return 0;
	if (program)
		clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, sizeof(why), why, NULL);
	fprintf(stderr, "%s\n", why);
	say("OpenCL", err);
	return 1;
}

int main(int argc, char **argv)
{
	struct machine m = { .launch = launch };
	int i, ready = -1;
	struct buffer buf[MAX_BUFFERS];

	if (argc != 2 || open_device() || compile(argv[1]))
		return 1;
	printf("ready %s\n", version);
	fflush(stdout);
	while (scanf("%d", &i) == 1) {
		const struct bench *b = &benches[i];
		struct cost c;

		if (ready != i) {
			const char *bad;
			int err = 0;

			b->prepare(buf);
			for (int k = 0; k < b->nr_buffers && !err; k++)
				mem[k] = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, buf[k].bytes, buf[k].data, &err);
			if (err) {
				say("clCreateBuffer", err);
				return 1;
			}
			once(b, &m, buf);
			if (m.failed)
				return 1;
			bad = b->check(buf);
			if (bad) {
				printf("wrong result: %s\n", bad);
				return 1;
			}
			ready = i;
		}
		c = once(b, &m, buf);
		if (m.failed)
			return 1;
		printf("%.6f %.6f\n", c.wall, c.cpu);
		fflush(stdout);
	}
	return 0;
}
