/* driver_open.c - dlopen, overridden for the driver's names. */
#define _GNU_SOURCE
#include "intercept/driver_open.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>

/*
 * The SONAME libcuda.so.1 makes the loader answer that name with this library, in dlopen and in DT_NEEDED. It
 * does not answer "libcuda.so", "libcuda.so.580.65.06" or a path; hence this override.
 */

typedef void *(*dlopen_fn)(const char *path, int flags);

bool hg_is_driver_name(const char *path)
{
	static const char name[] = "libcuda.so";
	const char *base;

	if (!path)
		return false;
	base = strrchr(path, '/');
	base = base ? base + 1 : path;
	if (strncmp(base, name, sizeof(name) - 1) != 0)
		return false;
	base += sizeof(name) - 1;
	/* "libcuda.so.1", not "libcuda.so-old" */
	return !*base || *base == '.';
}

static dlopen_fn real_dlopen(void)
{
	static _Atomic(dlopen_fn) known;
	dlopen_fn fn = atomic_load_explicit(&known, memory_order_relaxed);

	if (!fn) {
		fn = (dlopen_fn)dlsym(RTLD_NEXT, "dlopen");
		atomic_store_explicit(&known, fn, memory_order_relaxed);
	}
	return fn;
}

void *hg_real_dlopen(const char *path, int flags)
{
	dlopen_fn fn = real_dlopen();

	return fn ? fn(path, flags) : NULL;
}

/* A handle of this library, counted like any other. */
static void *open_self(const char *path, int flags)
{
	struct link_map *map;
	void *handle;
	Dl_info self;

	(void)path;
	handle = hg_real_dlopen("libcuda.so.1", flags);
	if (handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_ld == _DYNAMIC)
		return handle;
	/* another library of that name was there first: by the path under which this one was loaded */
	if (handle)
		dlclose(handle);
	if (!dladdr((void *)open_self, &self))
		return NULL;
	return hg_real_dlopen(self.dli_fname, flags);
}

void hg_stay_loaded(void)
{
	(void)open_self(NULL, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

/* What dlopen below jumps to. Not static: named in its assembly. */
__attribute__((visibility("hidden"), used)) dlopen_fn hg_dlopen_choose(const char *path);

dlopen_fn hg_dlopen_choose(const char *path)
{
	return hg_is_driver_name(path) ? open_self : real_dlopen();
}

/*
 * The C library searches the RUNPATH of the object that its return address lies in. So the real dlopen
 * must be entered by a jump, with the caller's own return address on the stack; a C compiler
 * promises no tail call.
 */
#ifdef __x86_64__
__attribute__((naked, visibility("protected"))) void *dlopen(const char *path __attribute__((unused)),
							    int flags __attribute__((unused)))
{
	__asm__("endbr64\n\t"
		"pushq %rdi\n\t"
		"pushq %rsi\n\t"
		"subq $8, %rsp\n\t"	/* the ABI wants 16-byte alignment at a call */
		"call hg_dlopen_choose\n\t"
		"addq $8, %rsp\n\t"
		"popq %rsi\n\t"
		"popq %rdi\n\t"
		"testq %rax, %rax\n\t"
		"jz 1f\n\t"
		"jmp *%rax\n"
		"1:\tret");		/* no dlopen anywhere: NULL */
}
#else
#error "dlopen's override is written for x86-64"
#endif
