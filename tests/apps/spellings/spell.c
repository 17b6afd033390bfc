/*
 * spell.c - reaches the driver by a name given on the command line, through dlopen and dlsym, and uses it.
 * With a second argument, first opens that library, which is found through this program's RPATH or RUNPATH only.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int CUresult, CUdevice;

int main(int argc, char **argv)
{
	CUresult (*init)(unsigned int), (*version)(int *), (*name)(char *, int, CUdevice);
	CUresult (*find)(const char *, void **, int, uint64_t, int *);
	char text[256] = "";
	int v = 0, status = -1;
	void *handle, *fn = NULL;

	if (argc > 2) {
		int (*answer)(void);

		handle = dlopen(argv[2], RTLD_NOW);
		if (!handle) {
			fprintf(stderr, "FAIL %s\n", dlerror());
			return 1;
		}
		answer = (int (*)(void))dlsym(handle, "spell_answer");
		if (!answer || answer() != 42) {
			fprintf(stderr, "FAIL '%s' is another library\n", argv[2]);
			return 1;
		}
	}
	handle = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
	if (!handle) {
		fprintf(stderr, "FAIL %s\n", dlerror());
		return 1;
	}
	init = (CUresult(*)(unsigned int))dlsym(handle, "cuInit");
	version = (CUresult(*)(int *))dlsym(handle, "cuDriverGetVersion");
	name = (CUresult(*)(char *, int, CUdevice))dlsym(handle, "cuDeviceGetName");
	find = (CUresult(*)(const char *, void **, int, uint64_t, int *))dlsym(handle, "cuGetProcAddress_v2");
	if (!init || !version || !name || !find) {
		fprintf(stderr, "FAIL '%s' lacks the driver's symbols\n", argv[1]);
		return 1;
	}
	if (version(&v) || init(0) || name(text, sizeof(text), 0) || find("cuDeviceGetName", &fn, v, 0, &status)) {
		fprintf(stderr, "FAIL '%s' does not answer\n", argv[1]);
		return 1;
	}
	if (fn != (void *)name || status) {
		fprintf(stderr, "FAIL cuGetProcAddress and dlsym differ\n");
		return 1;
	}
	printf("PASS %d %s\n", v, text);
	return 0;
}
