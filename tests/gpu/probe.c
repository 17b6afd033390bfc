/* probe.c - asks an NVIDIA driver what hgshim assumes of it, and prints the answers as Markdown. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cuda.h>

#include "intercept/handshake.h"

/*
 *	probe [--driver FILE]
 *	probe --name		the device and the driver alone
 *
 * Linked to nothing of CUDA and not run under hgshim. Each question is asked in a process of its own, which may crash; the
 * answers are for docs/measurements.md. Exit status: 0; 1 an assumption does not hold; 77 there is no driver or no device.
 * "!!" in front of an answer: hgshim assumes another one.
 */
#define CALLS(X)                                                                                   \
	X(cuInit) X(cuDriverGetVersion) X(cuDeviceGet) X(cuDeviceGetCount) X(cuDeviceGetName)      \
	X(cuDeviceGetAttribute) X(cuDeviceGetUuid_v2) X(cuDevicePrimaryCtxRetain)                  \
	X(cuDevicePrimaryCtxRelease_v2) X(cuDevicePrimaryCtxReset_v2) X(cuDevicePrimaryCtxGetState) \
	X(cuCtxSetCurrent) X(cuCtxGetCurrent) X(cuCtxSynchronize) X(cuGetErrorName)                \
	X(cuGetExportTable) X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction)           \
	X(cuModuleGetGlobal_v2) X(cuModuleGetLoadingMode) X(cuLibraryLoadData) X(cuLibraryUnload)  \
	X(cuLibraryGetKernel) X(cuLibraryGetGlobal) X(cuKernelGetFunction) X(cuKernelGetParamInfo) \
	X(cuFuncGetParamInfo) X(cuFuncGetAttribute) X(cuFuncGetModule) X(cuLaunchKernel)           \
	X(cuMemAlloc_v2) X(cuMemFree_v2) X(cuMemAllocManaged) X(cuMemHostAlloc) X(cuMemFreeHost)   \
	X(cuMemHostRegister_v2) X(cuMemHostUnregister) X(cuMemHostGetDevicePointer_v2)             \
	X(cuMemAllocAsync) X(cuMemFreeAsync) X(cuMemPoolTrimTo) X(cuDeviceGetDefaultMemPool)       \
	X(cuMemAddressReserve) X(cuMemAddressFree) X(cuMemCreate) X(cuMemMap) X(cuMemSetAccess)    \
	X(cuMemUnmap) X(cuMemRelease) X(cuMemGetAllocationGranularity) X(cuMemsetD32_v2)           \
	X(cuMemcpyDtoH_v2)

static struct {
#define MEMBER(sym) __typeof__(sym) *sym;
	CALLS(MEMBER)
} cu;
/* by dlsym: the macros of cuda.h give these names other meanings */
static CUresult (*look_up)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);
static CUresult (*old_look_up)(const char *, void **, int, cuuint64_t);

static const char *driver_path = "libcuda.so.1";
static void *driver;
static int version;
static CUdevice device;
static CUcontext context;
static unsigned int wrong;		/* answers of this process that are not as assumed */

/* ---- saying ---- */

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("- ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
}

__attribute__((format(printf, 2, 3))) static void answer(bool as_assumed, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("- %s", as_assumed ? "" : "!! ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	wrong += !as_assumed;
}

static const char *error(CUresult r)
{
	static char text[4][64];
	static int next;
	const char *name = NULL;
	char *out = text[next++ % 4];

	if (cu.cuGetErrorName && cu.cuGetErrorName(r, &name) == CUDA_SUCCESS && name)
		snprintf(out, sizeof(text[0]), "%s", name);
	else
		snprintf(out, sizeof(text[0]), "error %d", (int)r);
	return out;
}

/* A call that the question cannot be asked without. */
#define NEED(call)                                                                                 \
	do {                                                                                       \
		CUresult r_ = (call);                                                              \
                                                                                                   \
		if (r_ != CUDA_SUCCESS) {                                                          \
			answer(false, "`%s` failed with %s: this question stays open", #call, error(r_)); \
			return;                                                                    \
		}                                                                                  \
	} while (0)
#define HAVE(sym)                                                                                  \
	do {                                                                                       \
		if (!cu.sym) {                                                                     \
			answer(false, "the driver has no `%s`: this question stays open", #sym);   \
			return;                                                                    \
		}                                                                                  \
	} while (0)

/* ---- mappings ---- */

struct map {
	uint64_t start, end;
	char perm[8], path[256];
};

static bool next_map(FILE *f, struct map *m)
{
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		m->path[0] = 0;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %*s %255[^\n]", &m->start, &m->end, m->perm, m->path) >= 3)
			return true;
	}
	return false;
}

static bool map_at(uint64_t addr, struct map *out)
{
	FILE *f = fopen("/proc/self/maps", "r");
	bool found = false;

	while (f && !found && next_map(f, out))
		found = out->start <= addr && addr < out->end;
	if (f)
		fclose(f);
	return found;
}

/* "7f12…-7f13… rw-s /dev/nvidiactl"; several where the range has several; or "nothing". */
static const char *maps_text(uint64_t addr, uint64_t size)
{
	static char text[4][512];
	static int next;
	char *out = text[next++ % 4];
	size_t len = 0;
	struct map m;
	FILE *f = fopen("/proc/self/maps", "r");

	out[0] = 0;
	while (f && next_map(f, &m))
		if (m.start < addr + size && addr < m.end && len < sizeof(text[0]) - 1) {
			len += (size_t)snprintf(out + len, sizeof(text[0]) - len, "%s`%" PRIx64 "-%" PRIx64 " %s%s%s`", len ? ", " : "",
						m.start, m.end, m.perm, m.path[0] ? " " : "", m.path);
		}
	if (f)
		fclose(f);
	return out[0] ? out : "nothing";
}

static int open_files(void)
{
	int n = 0;
	char link[64], path[128];

	for (int fd = 0; fd < 256; fd++) {
		ssize_t len;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, path, sizeof(path) - 1);
		if (len > 0) {
			path[len] = 0;
			n += !strncmp(path, "/dev/nvidia", 11);
		}
	}
	return n;
}

/* ---- a process for each question ---- */

static bool start(void)
{
	CUresult r = cu.cuInit(0);

	if (r == CUDA_SUCCESS)
		r = cu.cuDeviceGet(&device, 0);
	if (r == CUDA_SUCCESS)
		r = cu.cuDevicePrimaryCtxRetain(&context, device);
	if (r == CUDA_SUCCESS)
		r = cu.cuCtxSetCurrent(context);
	if (r != CUDA_SUCCESS)
		answer(false, "no context: %s", error(r));
	return r == CUDA_SUCCESS;
}

/* True: it ended, and all was as assumed. */
static bool ask(const char *title, void (*question)(void))
{
	int status = 0;
	pid_t pid;

	printf("\n#### %s\n\n", title);
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		printf("- !! cannot fork: %s\n", strerror(errno));
		return false;
	}
	if (!pid) {
		alarm(120);
		question();
		fflush(stdout);
		exit(wrong ? 1 : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		printf("- !! the process that asked this was ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	fflush(stdout);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- the machine ---- */

static void machine(void)
{
	static const struct {
		const char *name;
		CUdevice_attribute what;
		int assumed;		/* -1: nothing */
	} attribute[] = {
#define A(name, assumed) { #name, CU_DEVICE_ATTRIBUTE_##name, assumed }
		A(COMPUTE_CAPABILITY_MAJOR, -1), A(COMPUTE_CAPABILITY_MINOR, -1), A(UNIFIED_ADDRESSING, 1),
		A(CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1), A(VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1),
		A(MEMORY_POOLS_SUPPORTED, 1), A(MANAGED_MEMORY, -1), A(PAGEABLE_MEMORY_ACCESS, -1),
		A(HOST_REGISTER_SUPPORTED, 1),
	};
	CUmoduleLoadingMode mode = 0;
	int count = 0;

	if (!start())
		return;
	NEED(cu.cuDeviceGetCount(&count));
	say("%d device%s", count, count == 1 ? "" : "s");
	for (size_t i = 0; i < sizeof(attribute) / sizeof(attribute[0]); i++) {
		int v = -1;
		CUresult r = cu.cuDeviceGetAttribute(&v, attribute[i].what, device);

		answer(r == CUDA_SUCCESS && (attribute[i].assumed < 0 || v == attribute[i].assumed), "%s: %d", attribute[i].name, v);
	}
	if (cu.cuModuleGetLoadingMode && cu.cuModuleGetLoadingMode(&mode) == CUDA_SUCCESS)
		say("module loading: %s", mode == CU_MODULE_LAZY_LOADING ? "lazy" : "eager");
	say("descriptors of `/dev/nvidia*` open with a context: %d", open_files());
}

/* ---- cuGetProcAddress ---- */

enum { PLAIN, PTSZ, PTDS };
static const struct row {
	const char *symbol, *base;
	int version, flavour;
} rows[] = {
#define HG_SYM(sym, plain, base, version, flavour, params, args) { #sym, #base, version, flavour },
#include "intercept/symbols.def"
#undef HG_SYM
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

/* What hgshim's table says: the newest symbol of that name that is not newer. */
static const struct row *by_table(const char *base, int upto, bool per_thread)
{
	const struct row *best[2] = { NULL, NULL };

	for (size_t i = 0; i < NR_ROWS; i++) {
		const struct row **b = &best[rows[i].flavour != PLAIN];

		if (!strcmp(rows[i].base, base) && rows[i].version <= upto && (!*b || rows[i].version > (*b)->version))
			*b = &rows[i];
	}
	return per_thread && best[1] ? best[1] : best[0];
}

static const char *symbol_at(void *fn)
{
	Dl_info info;

	for (size_t i = 0; fn && i < NR_ROWS; i++)
		if (dlsym(driver, rows[i].symbol) == fn)
			return rows[i].symbol;
	return !fn ? "nothing" : dladdr(fn, &info) && info.dli_sname ? info.dli_sname : "an address without a symbol";
}

#define MAX_SHOWN 24

static void look_ups(void)
{
	static const struct {
		const char *name;
		cuuint64_t flags;
	} ways[] = {
		{ "DEFAULT", CU_GET_PROC_ADDRESS_DEFAULT },
		{ "LEGACY_STREAM", CU_GET_PROC_ADDRESS_LEGACY_STREAM },
		{ "PER_THREAD_DEFAULT_STREAM", CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM },
	};
	unsigned int same = 0, other = 0, missing = 0, old_other = 0, without = 0;

	if (!look_up) {
		answer(false, "the driver has no `cuGetProcAddress_v2`");
		return;
	}
	for (size_t i = 0; i < NR_ROWS; i++)
		missing += !dlsym(driver, rows[i].symbol);
	answer(!missing, "%u of the %zu symbols of `symbols.def` are not exported", missing, NR_ROWS);
	for (size_t i = 0; i < NR_ROWS; i++)
		for (size_t w = 0; w < 3; w++)
			for (int v = 0; v < 2; v++) {
				const int upto = v ? version < 13000 ? version : 13000 : rows[i].version;
				const struct row *want = by_table(rows[i].base, upto, w == 2);
				void *fn = NULL, *old = NULL, *expected = want ? dlsym(driver, want->symbol) : NULL;
				CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
				CUresult r;

				if (rows[i].version > version)
					continue;
				r = look_up(rows[i].base, &fn, upto, ways[w].flags, &status);
				if (r == CUDA_SUCCESS && fn == expected) {
					same++;
				} else {
					without += fn && !strcmp(symbol_at(fn), "an address without a symbol");
					if (other++ < MAX_SHOWN)
						answer(false, "`%s`, version %d, %s: %s (%s, status %d), the table says `%s`", rows[i].base, upto,
						       ways[w].name, symbol_at(fn), error(r), (int)status, want ? want->symbol : "nothing");
				}
				if (old_look_up && (old_look_up(rows[i].base, &old, upto, ways[w].flags) == CUDA_SUCCESS ? old : NULL) != fn)
					old_other++;
			}
	answer(!other, "of %u look-ups by name, version and flag %u give the address of the symbol that the table says, %u another (%u of "
	       "these an address without a symbol)", same + other, same, other, without);
	answer(!old_other, "the older `cuGetProcAddress` disagrees with `_v2` in %u of them", old_other);
}

/* ---- export tables ---- */

#define UUID(...) { __VA_ARGS__ }
enum { RUNTIME, TOOLS, TOOLS_LOCAL, LOCAL, CHECK, CHECKSUM, FIRST, CUDA_134, BYPASS, HEAP, NONE, NR_TABLES };
static const struct {
	const char *name;
	unsigned char id[16];
	int size;			/* of slots, as assumed; 0: no size in front, -1: not known, -2: the table is refused */
} tables[NR_TABLES] = {
	[RUNTIME] = { "6bd5fb6c (runtime)", UUID(0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a,
						 0x89, 0x87, 0xd9, 0x39, 0x12, 0xfd, 0x9d, 0xf9), -1 },
	[TOOLS] = { "a094798c (tools)", UUID(0xa0, 0x94, 0x79, 0x8c, 0x2e, 0x74, 0x2e, 0x74,
					     0x93, 0xf2, 0x08, 0x00, 0x20, 0x0c, 0x0a, 0x66), -1 },
	[TOOLS_LOCAL] = { "42d85a81 (tools, by thread)", UUID(0x42, 0xd8, 0x5a, 0x81, 0x23, 0xf6, 0xcb, 0x47,
							      0x82, 0x98, 0xf6, 0xe7, 0x8a, 0x3a, 0xec, 0xdc), -1 },
	[LOCAL] = { "c693336e (context-local storage)", UUID(0xc6, 0x93, 0x33, 0x6e, 0x11, 0x21, 0xdf, 0x11,
							     0xa8, 0xc3, 0x68, 0xf3, 0x55, 0xd8, 0x95, 0x93), 0 },
	[CHECK] = { "263e8860 (checks of contexts)", UUID(0x26, 0x3e, 0x88, 0x60, 0x7c, 0xd2, 0x61, 0x43,
							  0x92, 0xf6, 0xbb, 0xd5, 0x00, 0x6d, 0xfa, 0x7e), -1 },
	[CHECKSUM] = { "d4082055 (checksum)", UUID(0xd4, 0x08, 0x20, 0x55, 0xbd, 0xe6, 0x70, 0x4b,
						   0x8d, 0x34, 0xba, 0x12, 0x3c, 0x66, 0xe1, 0xf2), -1 },
	[FIRST] = { "f8cff951", UUID(0xf8, 0xcf, 0xf9, 0x51, 0x21, 0x46, 0x8b, 0x4e,
				     0xb9, 0xe2, 0xfb, 0x46, 0x9e, 0x7c, 0x0d, 0xd9), -1 },
	[CUDA_134] = { "21318c60 (asked for by CUDA 13.4)", UUID(0x21, 0x31, 0x8c, 0x60, 0x97, 0x14, 0x32, 0x48,
								 0x8c, 0xa6, 0x41, 0xff, 0x73, 0x24, 0xc8, 0xf2), -1 },
	[BYPASS] = { "0ca50b8c", UUID(0x0c, 0xa5, 0x0b, 0x8c, 0x10, 0x04, 0x92, 0x9a,
				      0x89, 0xa7, 0xd0, 0xdf, 0x10, 0xe7, 0x72, 0x86), -1 },
	[HEAP] = { "195bcbf4", UUID(0x19, 0x5b, 0xcb, 0xf4, 0xd6, 0x7d, 0x02, 0x4a,
				    0xac, 0xc5, 0x1d, 0x29, 0xce, 0xa6, 0x31, 0xae), -1 },
	[NONE] = { "a UUID made up here", UUID(0x5e, 0x11, 0x0c, 0x4d, 0x92, 0x7b, 0x4a, 0x30,
					       0xb1, 0x66, 0x2f, 0x08, 0xd3, 0x9a, 0x47, 0xee), -2 },
};

static void *const *table_of(int i)
{
	const void *t = NULL;
	CUuuid id;

	memcpy(id.bytes, tables[i].id, 16);
	return cu.cuGetExportTable(&t, &id) == CUDA_SUCCESS ? t : NULL;
}

static bool is_code(const void *p)
{
	struct map m;

	return p && map_at((uintptr_t)p, &m) && strchr(m.perm, 'x');
}

static void table_shapes(void)
{
	for (int i = 0; i < NR_TABLES; i++) {
		void *const *before = table_of(i), *const *t;
		unsigned int code = 0, nr;
		struct map m;

		if (i == 0 && !start())
			return;
		t = table_of(i);
		if (!t) {
			answer(tables[i].size == -2 || i >= FIRST, "%s: refused", tables[i].name);
			continue;
		}
		nr = (uintptr_t)t[0] % 8 || (uintptr_t)t[0] > 4096 ? 0 : (unsigned int)((uintptr_t)t[0] / 8);
		for (unsigned int s = nr ? 1 : 0; s < (nr ? nr : 4); s++)
			code += is_code(t[s]);
		answer(tables[i].size != -2 && (i != LOCAL || !nr) && (i >= FIRST || i == LOCAL || nr) && (!before || before == t),
		       "%s: %s%u slots, %u of them functions, in `%s` memory of `%s`%s", tables[i].name, nr ? "" : "no size in front, of the first ",
		       nr ? nr - 1 : 4, code, map_at((uintptr_t)t, &m) ? m.perm : "?", m.path,
		       !before ? "; before cuInit it is refused" : before != t ? "; another one before cuInit" : "");
	}
}

static void table_runtime(void)
{
	CUresult (*primary)(CUcontext *, CUdevice);
	CUcontext early = NULL, retained = NULL;
	unsigned int flags = 0;
	void *const *t;
	int active = -1;
	CUresult r;

	NEED(cu.cuInit(0));
	NEED(cu.cuDeviceGet(&device, 0));
	t = table_of(RUNTIME);
	if (!t) {
		answer(false, "there is no such table");
		return;
	}
	primary = (CUresult (*)(CUcontext *, CUdevice))t[2];
	r = primary(&early, device);
	NEED(cu.cuDevicePrimaryCtxGetState(device, &flags, &active));
	answer(r == CUDA_SUCCESS && early && !active, "slot 2 gives a context that is %sactive (%s)", active ? "" : "not ", error(r));
	NEED(cu.cuDevicePrimaryCtxRetain(&retained, device));
	answer(early == retained, "cuDevicePrimaryCtxRetain gives %s", early == retained ? "the same" : "another one");
	r = primary(&early, device + 1000);
	answer(r != CUDA_SUCCESS, "of a device that does not exist: %s", error(r));
}

static int destroyed;

static void destroy(CUcontext ctx, void *key, void *value)
{
	(void)ctx;
	(void)key;
	destroyed += value == &destroyed;
}

static void table_local(void)
{
	CUresult (*put)(CUcontext, void *, void *, void (*)(CUcontext, void *, void *));
	CUresult (*drop)(CUcontext, void *), (*get)(void **, CUcontext, void *);
	static int key_a, key_b;
	void *value = NULL;
	void *const *t;
	CUresult r;

	if (!start())
		return;
	t = table_of(LOCAL);
	if (!t) {
		answer(false, "there is no such table");
		return;
	}
	put = (CUresult (*)(CUcontext, void *, void *, void (*)(CUcontext, void *, void *)))t[0];
	drop = (CUresult (*)(CUcontext, void *))t[1];
	get = (CUresult (*)(void **, CUcontext, void *))t[2];
	r = get(&value, context, &key_a);
	answer(r == CUDA_ERROR_INVALID_HANDLE, "slot 2 of a key that is not there: %s", error(r));
	r = put(context, &key_a, &destroyed, destroy);
	answer(r == CUDA_SUCCESS && get(&value, NULL, &key_a) == CUDA_SUCCESS && value == &destroyed,
	       "slot 0 puts (%s), and slot 2 finds it in the current context (NULL)", error(r));
	r = put(context, &key_a, &key_b, destroy);
	value = NULL;
	say("put a second time: %s, then get gives the %s value", error(r),
	    get(&value, context, &key_a) == CUDA_SUCCESS && value == &key_b ? "new" : "old");
	r = put(context, &key_b, &destroyed, destroy);
	if (r == CUDA_SUCCESS)
		r = drop(context, &key_b);
	answer(r == CUDA_SUCCESS && get(&value, context, &key_b) != CUDA_SUCCESS, "slot 1 deletes (%s), its destructor ran %d times",
	       error(r), destroyed);
	r = drop(context, &key_b);
	say("deleted a second time: %s", error(r));
	(void)drop(context, &key_a);
	destroyed = 0;
	NEED(put(context, &key_a, &destroyed, destroy));
	NEED(cu.cuDevicePrimaryCtxReset_v2(device));
	answer(destroyed == 1, "cuDevicePrimaryCtxReset runs the destructor %d times", destroyed);
}

static void table_rest(void)
{
	CUresult (*flags)(void **, size_t *), (*check)(CUcontext, uint32_t *, void **);
	uint32_t (*forked)(void);
	void *const *t, *buf = NULL, *more = NULL;
	uint32_t result = 77;
	size_t n = 0;
	CUresult r;

	if (!start())
		return;
	t = table_of(TOOLS);
	for (int slot = 2; t && slot <= 6; slot += 4) {
		size_t set = 0;

		flags = (CUresult (*)(void **, size_t *))t[slot];
		r = flags((void **)&buf, &n);
		for (size_t i = 0; r == CUDA_SUCCESS && i < n; i++)
			set += ((const uint32_t *)buf)[i] != 0;
		answer(r == CUDA_SUCCESS && !set, "slot %d of a094798c: %s, %zu flags, %zu of them set (1024 and 14 were seen)", slot, error(r), n, set);
	}
	t = table_of(CHECK);
	if (!t) {
		answer(false, "263e8860: there is no such table");
		return;
	}
	check = (CUresult (*)(CUcontext, uint32_t *, void **))t[2];
	forked = (uint32_t (*)(void))t[3];
	r = check(context, &result, &more);
	answer(r == CUDA_SUCCESS && !result, "slot 2 of 263e8860 with a context: %s, result %u, third argument %s", error(r), result,
	       more ? "written" : "left alone");
	result = forked();
	answer(!result, "slot 3 of 263e8860: %u", result);
}

static void table_checksum(void)
{
	struct hg_handshake_device d[HG_HANDSHAKE_MAX_DEVICES];
	CUresult (*sum)(uint32_t, uint64_t, uint64_t[2]);
	void *const *t;
	int count = 0;

	if (!start())
		return;
	t = table_of(CHECKSUM);
	NEED(cu.cuDeviceGetCount(&count));
	if (!t || count > HG_HANDSHAKE_MAX_DEVICES) {
		answer(false, "there is no such table");
		return;
	}
	sum = (CUresult (*)(uint32_t, uint64_t, uint64_t[2]))t[1];
	for (int i = 0; i < count; i++) {
		CUuuid uuid;
		int v[3] = { 0 };

		NEED(cu.cuDeviceGetUuid_v2(&uuid, i));
		(void)cu.cuDeviceGetAttribute(&v[0], CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, i);
		(void)cu.cuDeviceGetAttribute(&v[1], CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, i);
		(void)cu.cuDeviceGetAttribute(&v[2], CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, i);
		memcpy(d[i].uuid, uuid.bytes, 16);
		d[i].pci_domain = v[0];
		d[i].pci_bus = v[1];
		d[i].pci_device = v[2];
	}
	for (uint32_t v = 13000; v < 13003; v++) {
		struct hg_handshake h = {
			.driver_version = (uint32_t)version, .version = v, .pid = (uint32_t)getpid(),
			.thread = (uint32_t)pthread_self(), .runtime_table = (uintptr_t)table_of(RUNTIME),
			.checksum_table = (uintptr_t)t, .checksum_function = (uintptr_t)t[1],
			.unix_seconds = (uint64_t)time(NULL),
		};
		uint64_t want[2] = { 0 }, got[2] = { 0 };
		CUresult r = sum(v, h.unix_seconds, got);

		hg_handshake(&h, d, (size_t)count, want);
		answer(r == CUDA_SUCCESS && !memcmp(want, got, sizeof(got)), "slot 1 of d4082055, version %u: %s, %s", v, error(r),
		       memcmp(want, got, sizeof(got)) ? "another checksum than hgshim's" : "the checksum that hgshim computes");
	}
}

/* ---- addresses ---- */

static const char ptx[] =
	".version 7.0\n"
	".target sm_75\n"
	".address_size 64\n"
	".visible .global .align 4 .u32 seen = 1;\n"
	".global .align 4 .u32 unseen = 2;\n"
	".global .align 256 .b8 wide[300];\n"
	".const .align 4 .b32 fixed[4] = { 3, 4, 5, 6 };\n"
	".visible .entry sum(.param .u64 p_out, .param .u32 p_add)\n"
	"{\n"
	"	.reg .b32 %r<8>;\n"
	"	.reg .b64 %rd<4>;\n"
	"	ld.param.u64 %rd1, [p_out];\n"
	"	ld.param.u32 %r1, [p_add];\n"
	"	cvta.to.global.u64 %rd1, %rd1;\n"
	"	ld.global.u32 %r2, [seen];\n"
	"	ld.global.u32 %r3, [unseen];\n"
	"	ld.const.u32 %r4, [fixed+4];\n"
	"	ld.global.u8 %r5, [wide+299];\n"
	"	add.u32 %r2, %r2, %r3;\n"
	"	add.u32 %r2, %r2, %r4;\n"
	"	add.u32 %r2, %r2, %r5;\n"
	"	add.u32 %r2, %r2, %r1;\n"
	"	st.global.u32 [%rd1], %r2;\n"
	"	ret;\n"
	"}\n";

#define MIB ((size_t)1 << 20)

static void where(void)
{
	CUdeviceptr p[4] = { 0 };
	void *host = NULL, *page;
	CUmodule module;
	size_t size = 0;

	if (!start())
		return;
	NEED(cu.cuMemAlloc_v2(&p[0], 100));
	NEED(cu.cuMemAlloc_v2(&p[1], 100));
	NEED(cu.cuMemAlloc_v2(&p[2], 3000));
	say("cuMemAlloc of 100, 100 and 3000 bytes: 0x%llx, then %+lld and %+lld; mapped: %s", p[0], (long long)(p[1] - p[0]),
	    (long long)(p[2] - p[1]), maps_text(p[0], 4096));
	NEED(cu.cuMemAlloc_v2(&p[0], 64 * MIB));
	NEED(cu.cuMemAlloc_v2(&p[1], 5 * MIB));
	say("cuMemAlloc of 64 MiB and 5 MiB: 0x%llx and 0x%llx; mapped: %s", p[0], p[1], maps_text(p[0], 64 * MIB));
	if (cu.cuMemAllocAsync && cu.cuMemAllocAsync(&p[0], 4096, NULL) == CUDA_SUCCESS &&
	    cu.cuMemAllocAsync(&p[1], 8 * MIB, NULL) == CUDA_SUCCESS && cu.cuCtxSynchronize() == CUDA_SUCCESS)
		say("cuMemAllocAsync of 4 KiB and 8 MiB: 0x%llx and 0x%llx; mapped: %s", p[0], p[1], maps_text(p[0], 4096));
	else
		say("cuMemAllocAsync: none");
	if (cu.cuMemAllocManaged && cu.cuMemAllocManaged(&p[0], 4 * MIB, CU_MEM_ATTACH_GLOBAL) == CUDA_SUCCESS)
		say("cuMemAllocManaged of 4 MiB: 0x%llx; mapped: %s", p[0], maps_text(p[0], 4 * MIB));
	else
		say("cuMemAllocManaged: none");
	NEED(cu.cuMemHostAlloc(&host, MIB, CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE));
	p[0] = 0;
	(void)cu.cuMemHostGetDevicePointer_v2(&p[0], host, 0);
	say("cuMemHostAlloc of 1 MiB: %p, for the device %s; mapped: %s", host, p[0] == (uintptr_t)host ? "the same" : "another",
	    maps_text((uintptr_t)host, MIB));
	page = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(cu.cuMemHostRegister_v2(page, MIB, CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_PORTABLE));
	p[0] = 0;
	(void)cu.cuMemHostGetDevicePointer_v2(&p[0], page, 0);
	answer(p[0] == (uintptr_t)page, "registered memory has %s address for the device", p[0] == (uintptr_t)page ? "the same" : "another");
	NEED(cu.cuModuleLoadData(&module, ptx));
	if (cu.cuModuleGetGlobal_v2(&p[0], &size, module, "seen") == CUDA_SUCCESS)
		say("a module's variable: 0x%llx; mapped: %s", p[0], maps_text(p[0], 4));
	if (cu.cuModuleGetGlobal_v2(&p[1], &size, module, "wide") == CUDA_SUCCESS)
		say("another of the same module: %+lld", (long long)(p[1] - p[0]));
}

/* What a device address must be read as: the driver's range, or one of the program's. */
static CUresult reserve(CUdeviceptr at, size_t size, CUdeviceptr *got)
{
	*got = 0;
	return cu.cuMemAddressReserve(got, size, 0, at, 0);
}

static const uint64_t wanted[] = {
	0x10000000000, 0x100000000000, 0x200000000000, 0x300000000000, 0x400000000000, 0x600000000000, 0x7e0000000000,
	0xa00000000, 0x302000000,
};
#define TIB ((size_t)1 << 40)

static void reserving(void)
{
	CUdeviceptr got;
	CUresult r;

	HAVE(cuMemAddressReserve);
	if (!start())
		return;
	r = reserve(0, 64 * MIB, &got);
	say("without a wish, 64 MiB: 0x%llx (%s); mapped: %s", got, error(r), maps_text(got, 64 * MIB));
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		static const size_t sizes[] = { TIB, TIB / 16, 64 * MIB };
		size_t s;

		r = CUDA_ERROR_UNKNOWN;
		for (s = 0; s < 3; s++) {
			r = reserve(wanted[i], sizes[s], &got);
			if (r == CUDA_SUCCESS && got == wanted[i])
				break;
			if (r == CUDA_SUCCESS)
				(void)cu.cuMemAddressFree(got, sizes[s]);
		}
		answer(s < 3 || wanted[i] != 0x200000000000, "0x%" PRIx64 ": %s%s", wanted[i],
		       s == 0 ? "granted, 1 TiB" : s == 1 ? "granted, 64 GiB" : s == 2 ? "granted, 64 MiB" : "not granted, not even 64 MiB",
		       s == 3 && r != CUDA_SUCCESS ? error(r) : "");
		if (s < 3) {
			say("…mapped there: %s", maps_text(got, 4096));
			(void)cu.cuMemAddressFree(got, sizes[s]);
		}
	}
}

/* The addresses that cuMemAlloc gave in one process, reserved in another. */
static struct shared {
	CUdeviceptr small, large, pool, managed, variable;
} *shared;

static void note_addresses(void)
{
	CUmodule module;
	size_t size;

	if (!start())
		return;
	NEED(cu.cuMemAlloc_v2(&shared->small, 4096));
	NEED(cu.cuMemAlloc_v2(&shared->large, 64 * MIB));
	if (cu.cuMemAllocAsync)
		(void)cu.cuMemAllocAsync(&shared->pool, 4 * MIB, NULL);
	if (cu.cuMemAllocManaged)
		(void)cu.cuMemAllocManaged(&shared->managed, 4 * MIB, CU_MEM_ATTACH_GLOBAL);
	NEED(cu.cuModuleLoadData(&module, ptx));
	(void)cu.cuModuleGetGlobal_v2(&shared->variable, &size, module, "seen");
	(void)cu.cuCtxSynchronize();
	say("small 0x%llx, large 0x%llx, pool 0x%llx, managed 0x%llx, variable 0x%llx", shared->small, shared->large, shared->pool,
	    shared->managed, shared->variable);
}

/* As a new program: in a forked child the kernel would choose the same addresses again. */
static void reserve_again(void)
{
	char at[5][24];

	snprintf(at[0], sizeof(at[0]), "%llx", shared->small);
	snprintf(at[1], sizeof(at[1]), "%llx", shared->large);
	snprintf(at[2], sizeof(at[2]), "%llx", shared->pool);
	snprintf(at[3], sizeof(at[3]), "%llx", shared->managed);
	snprintf(at[4], sizeof(at[4]), "%llx", shared->variable);
	execl("/proc/self/exe", "probe", "--driver", driver_path, "--reserve", at[0], at[1], at[2], at[3], at[4], (char *)NULL);
	answer(false, "cannot start itself again: %s", strerror(errno));
}

static void reserve_these(void)
{
	const struct {
		const char *name;
		CUdeviceptr at;
		size_t size;
	} range[] = {
		{ "small", shared->small, 2 * MIB }, { "large", shared->large, 64 * MIB }, { "pool", shared->pool, 4 * MIB },
		{ "managed", shared->managed, 4 * MIB }, { "variable", shared->variable, 2 * MIB },
	};

	HAVE(cuMemAddressReserve);
	if (!start())
		return;
	for (size_t i = 0; i < sizeof(range) / sizeof(range[0]); i++) {
		CUdeviceptr at = range[i].at & -(CUdeviceptr)(2 * MIB), got;
		CUresult r;

		if (!range[i].at)
			continue;
		r = reserve(at, range[i].size, &got);
		say("%s: %s", range[i].name, r != CUDA_SUCCESS ? error(r) : got == at ? "granted" : "another address");
	}
}

/* VMM memory at a wanted address, as the arena makes it. */
static void placed(void)
{
	CUmemAllocationProp prop = { .type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE } };
	CUmemAccessDesc access = { .location = prop.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at = 0x200000000000, got;
	uint32_t value = 0;
	size_t granule = 0;
	void *p;

	HAVE(cuMemAddressReserve);
	if (!start())
		return;
	NEED(cu.cuMemGetAllocationGranularity(&granule, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
	answer(granule <= 2 * MIB && 2 * MIB % granule == 0, "granularity: %zu KiB", granule >> 10);
	NEED(reserve(at, 64 * MIB, &got));
	if (got != at) {
		answer(false, "0x200000000000 is not granted: 0x%llx", got);
		return;
	}
	NEED(cu.cuMemCreate(&handle, 2 * MIB, &prop, 0));
	NEED(cu.cuMemMap(at, 2 * MIB, 0, handle, 0));
	NEED(cu.cuMemSetAccess(at, 2 * MIB, &access, 1));
	NEED(cu.cuMemsetD32_v2(at, 0x1234567, 1024));
	NEED(cu.cuMemcpyDtoH_v2(&value, at + 4092, 4));
	answer(value == 0x1234567, "memory placed at 0x200000000000 works; mapped: %s", maps_text(at, 2 * MIB));
	NEED(cu.cuMemUnmap(at, 2 * MIB));
	NEED(cu.cuMemRelease(handle));
	say("mapped after cuMemUnmap: %s", maps_text(at, 2 * MIB));
	NEED(cu.cuMemAddressFree(at, 64 * MIB));
	say("mapped after cuMemAddressFree: %s", maps_text(at, 2 * MIB));
	p = mmap((void *)(uintptr_t)at, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	answer(p == (void *)(uintptr_t)at, "mmap there then: %s", p == (void *)(uintptr_t)at ? "granted" : strerror(errno));
	if (p == (void *)(uintptr_t)at) {
		memset(p, 1, 2 * MIB);
		(void)cu.cuDevicePrimaryCtxReset_v2(device);
		say("…and written to; still there after a reset of the context: %s", *(char *)p == 1 ? "yes" : "no");
	}
}

static bool try_map(const char *when, uint64_t at, size_t size, bool assumed)
{
	void *p;

	at &= -(uint64_t)(2 * MIB);
	say("%s, mapped there: %s", when, maps_text(at, size));
	p = mmap((void *)(uintptr_t)at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (p == MAP_FAILED) {
		answer(!assumed, "%s, `mmap(MAP_FIXED_NOREPLACE)` there: %s", when, strerror(errno));
		return false;
	}
	memset(p, 0x5a, size);
	say("%s, `mmap(MAP_FIXED_NOREPLACE)` there: granted and written to", when);
	return true;
}

/* What stands in the way, if it has no access, is taken away as hgshim does when a process leaves its driver. */
static void force_map(const char *when, uint64_t at, size_t size)
{
	struct map m;
	void *p;

	at &= -(uint64_t)(2 * MIB);
	if (map_at(at, &m) && strncmp(m.perm, "---", 3) != 0) {
		answer(false, "%s, it is still mapped with access: `%s %s`", when, m.perm, m.path);
		return;
	}
	if (munmap((void *)(uintptr_t)at, size)) {
		answer(false, "%s, munmap: %s", when, strerror(errno));
		return;
	}
	p = mmap((void *)(uintptr_t)at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	answer(p != MAP_FAILED, "%s, after `munmap`: %s", when, p == MAP_FAILED ? strerror(errno) : "granted");
	if (p != MAP_FAILED)
		memset(p, 0x5a, size);
}

/* The process then ends as any does: does the driver stand that? ask() says when it does not. */
static void freed(size_t size, bool from_pool)
{
	CUmemoryPool pool = NULL;
	CUdeviceptr p = 0;
	bool got;

	if (!start())
		return;
	if (from_pool) {
		HAVE(cuMemAllocAsync);
		NEED(cu.cuMemAllocAsync(&p, size, NULL));
		NEED(cu.cuCtxSynchronize());
	} else {
		NEED(cu.cuMemAlloc_v2(&p, size));
	}
	NEED(cu.cuMemsetD32_v2(p, 1, size / 4));
	say("allocated, mapped there: %s", maps_text(p, size));
	if (from_pool) {
		NEED(cu.cuMemFreeAsync(p, NULL));
		NEED(cu.cuCtxSynchronize());
		NEED(cu.cuDeviceGetDefaultMemPool(&pool, device));
		NEED(cu.cuMemPoolTrimTo(pool, 0));
	} else {
		NEED(cu.cuMemFree_v2(p));
	}
	got = try_map("after the free", p, size < 2 * MIB ? 2 * MIB : size, false);
	if (!got) {
		NEED(cu.cuDevicePrimaryCtxReset_v2(device));
		got = try_map("after cuDevicePrimaryCtxReset", p, size < 2 * MIB ? 2 * MIB : size, false);
		if (!got)
			force_map("after cuDevicePrimaryCtxReset", p, size < 2 * MIB ? 2 * MIB : size);
	}
	say("mapped there at the end: %s", maps_text(p, 4096));
}

static void freed_small(void)
{
	freed(4096, false);
}

static void freed_large(void)
{
	freed(64 * MIB, false);
}

static void freed_pool(void)
{
	freed(8 * MIB, true);
}

static void freed_variable(void)
{
	CUdeviceptr p = 0;
	CUmodule module;
	size_t size;

	if (!start())
		return;
	NEED(cu.cuModuleLoadData(&module, ptx));
	NEED(cu.cuModuleGetGlobal_v2(&p, &size, module, "seen"));
	NEED(cu.cuModuleUnload(module));
	say("after cuModuleUnload, mapped there: %s", maps_text(p, 4));
	NEED(cu.cuDevicePrimaryCtxReset_v2(device));
	if (!try_map("after cuDevicePrimaryCtxReset", p, 2 * MIB, false))
		force_map("after cuDevicePrimaryCtxReset", p, 2 * MIB);
}

/* A new context in the same process, with ordinary memory where the old one's was. */
static void used_again(void)
{
	CUdeviceptr p = 0, q = 0;
	uint32_t value = 0;

	if (!start())
		return;
	NEED(cu.cuMemAlloc_v2(&p, 64 * MIB));
	NEED(cu.cuMemFree_v2(p));
	NEED(cu.cuDevicePrimaryCtxReset_v2(device));
	if (!try_map("after the reset", p, 64 * MIB, false))
		force_map("after the reset", p, 64 * MIB);
	NEED(cu.cuDevicePrimaryCtxRetain(&context, device));
	NEED(cu.cuCtxSetCurrent(context));
	NEED(cu.cuMemAlloc_v2(&q, 64 * MIB));
	NEED(cu.cuMemsetD32_v2(q, 7, 1024));
	NEED(cu.cuMemcpyDtoH_v2(&value, q, 4));
	say("the driver goes on: it gives 0x%llx now (before 0x%llx), and that %s", q, p, value == 7 ? "works" : "does not work");
}

/* ---- kernels ---- */

static void kernels(void)
{
	size_t offset = 99, size = 0;
	uint32_t add = 10, value = 0;
	CUdeviceptr out, var = 0;
	CUfunction function = NULL, plain = NULL;
	CUlibrary library;
	CUkernel kernel;
	CUmodule module, of = NULL;
	void *params[] = { &out, &add };
	CUresult r;

	HAVE(cuLibraryLoadData);
	if (!start())
		return;
	NEED(cu.cuMemAlloc_v2(&out, 4));
	NEED(cu.cuLibraryLoadData(&library, ptx, NULL, NULL, 0, NULL, NULL, 0));
	NEED(cu.cuLibraryGetKernel(&kernel, library, "sum"));
	NEED(cu.cuKernelGetFunction(&function, kernel));
	say("a CUkernel and its CUfunction are %s value", (void *)kernel == (void *)function ? "the same" : "not the same");
	if (cu.cuKernelGetParamInfo) {
		r = cu.cuKernelGetParamInfo(kernel, 1, &offset, &size);
		answer(r == CUDA_SUCCESS && offset == 8 && size == 4, "cuKernelGetParamInfo: %s, offset %zu, size %zu", error(r), offset, size);
	} else {
		say("cuKernelGetParamInfo: none");
	}
	if (cu.cuFuncGetParamInfo) {
		offset = 99;
		r = cu.cuFuncGetParamInfo(function, 1, &offset, &size);
		answer(r == CUDA_SUCCESS && offset == 8 && size == 4, "cuFuncGetParamInfo of a CUfunction: %s, offset %zu, size %zu", error(r), offset,
		       size);
		offset = 99;
		r = cu.cuFuncGetParamInfo((CUfunction)kernel, 1, &offset, &size);
		say("cuFuncGetParamInfo of a CUkernel: %s, offset %zu, size %zu", error(r), offset, size);
		r = cu.cuFuncGetParamInfo(function, 2, &offset, &size);
		answer(r == CUDA_ERROR_INVALID_VALUE, "…of a parameter that is not there: %s", error(r));
	} else {
		say("cuFuncGetParamInfo: none");
	}
	r = cu.cuFuncGetModule(&of, (CUfunction)kernel);
	say("cuFuncGetModule of a CUkernel: %s", error(r));
	r = cu.cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
	if (r == CUDA_SUCCESS)
		r = cu.cuMemcpyDtoH_v2(&value, out, 4);
	answer(r == CUDA_SUCCESS && value == 1 + 2 + 4 + 0 + 10, "cuLaunchKernel of a CUkernel: %s, result %u", error(r), value);

	NEED(cu.cuModuleLoadData(&module, ptx));
	NEED(cu.cuModuleGetFunction(&plain, module, "sum"));
	for (int i = 0; i < 4; i++) {
		static const char *const name[] = { "seen", "unseen", "wide", "fixed" };

		r = cu.cuModuleGetGlobal_v2(&var, &size, module, name[i]);
		/* hgshim takes those that it cannot find to be out of reach, and says so */
		answer(r == CUDA_SUCCESS || i, "cuModuleGetGlobal of `%s`, which is %svisible: %s%s", name[i], i ? "not " : "", error(r),
		       r == CUDA_SUCCESS ? "" : " (its contents cannot be in a snapshot)");
		r = cu.cuLibraryGetGlobal(&var, &size, library, name[i]);
		say("cuLibraryGetGlobal of it: %s", error(r));
	}
	(void)cu.cuModuleGetGlobal_v2(&var, &size, module, "seen");
	NEED(cu.cuMemsetD32_v2(var, 100, 1));
	NEED(cu.cuLaunchKernel(plain, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
	NEED(cu.cuMemcpyDtoH_v2(&value, out, 4));
	answer(value == 100 + 2 + 4 + 0 + 10, "a module has its own copy of the variables: result %u", value);
}

/* ---- all of them ---- */

static bool open_driver(void)
{
	driver = dlopen(driver_path, RTLD_NOW | RTLD_LOCAL);
	if (!driver)
		return false;
#define FIND(sym) cu.sym = (__typeof__(cu.sym))dlsym(driver, #sym);
	CALLS(FIND)
	look_up = (CUresult (*)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *))dlsym(driver, "cuGetProcAddress_v2");
	old_look_up = (CUresult (*)(const char *, void **, int, cuuint64_t))dlsym(driver, "cuGetProcAddress");
	return cu.cuInit && cu.cuDriverGetVersion && cu.cuDeviceGetName && cu.cuGetExportTable;
}

/* In a child: a driver that is initialised here cannot be used in those of the questions. Name of the device, or "". */
static void device_name(char *name, size_t size, char *why, size_t why_size)
{
	int channel[2], count = 0;
	ssize_t len;
	pid_t pid;

	name[0] = why[0] = 0;
	if (pipe(channel))
		return;
	pid = fork();
	if (!pid) {
		char text[256] = "";
		CUresult r = cu.cuInit(0);

		if (r == CUDA_SUCCESS)
			r = cu.cuDeviceGetCount(&count);
		if (r == CUDA_SUCCESS && count)
			r = cu.cuDeviceGetName(text + 1, sizeof(text) - 1, 0);
		text[0] = r == CUDA_SUCCESS && count ? '+' : '-';
		if (text[0] == '-')
			snprintf(text + 1, sizeof(text) - 1, "%s", r == CUDA_SUCCESS ? "it has no device" : error(r));
		len = write(channel[1], text, strlen(text));
		_exit(len < 0);
	}
	close(channel[1]);
	len = pid > 0 ? read(channel[0], why, why_size - 1) : -1;
	close(channel[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	why[len > 0 ? len : 0] = 0;
	if (why[0] == '+')
		snprintf(name, size, "%s", why + 1);
	memmove(why, why + (why[0] != 0), strlen(why) + 1 - (why[0] != 0));
}

int main(int argc, char **argv)
{
	const struct rlimit no_core = { 0, 0 };
	char name[256], why[256], today[32];
	time_t now = time(NULL);
	bool good = true;

	if ((argc == 3 || argc == 9) && !strcmp(argv[1], "--driver")) {
		driver_path = argv[2];
	} else if (argc != 1 && !(argc == 2 && !strcmp(argv[1], "--name"))) {
		fprintf(stderr, "usage: %s [--driver FILE]\n", argv[0]);
		return 2;
	}
	setrlimit(RLIMIT_CORE, &no_core);
	if (!open_driver()) {
		const char *text = dlerror();

		printf("skipped: no NVIDIA driver: %s\n", text ? text : "it lacks calls");
		return 77;
	}
	if (argc == 9) {	/* this is the fresh process of reserve_again() */
		struct shared given = {
			.small = strtoull(argv[4], NULL, 16), .large = strtoull(argv[5], NULL, 16),
			.pool = strtoull(argv[6], NULL, 16), .managed = strtoull(argv[7], NULL, 16),
			.variable = strtoull(argv[8], NULL, 16),
		};

		shared = &given;
		reserve_these();
		return wrong ? 1 : 0;
	}
	device_name(name, sizeof(name), why, sizeof(why));
	if (!name[0]) {
		printf("skipped: no device: %s\n", why[0] ? why : "the driver crashed");
		return 77;
	}
	cu.cuDriverGetVersion(&version);
	if (argc == 2) {
		printf("# %s, its driver is for CUDA %d.%d\n", name, version / 1000, version % 1000 / 10);
		return 0;
	}
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	strftime(today, sizeof(today), "%Y-%m-%d", gmtime(&now));
	printf("### %s, CUDA %d.%d, %s\n\n", name, version / 1000, version % 1000 / 10, today);
	if (strstr(name, "test double"))
		printf("**This is the test double (`tests/drivers/cuda`), not hardware: it shows that the questions can be asked.**\n\n");
	printf("`tests/gpu/probe`; \"!!\" stands where hgshim assumes something else.\n");

	good &= ask("The device", machine);
	good &= ask("`cuGetProcAddress`: does it give the address of the versioned symbol for every name and flag?", look_ups);
	good &= ask("Export tables: sizes, functions, memory", table_shapes);
	good &= ask("6bd5fb6c, slot 2: the primary context", table_runtime);
	good &= ask("c693336e: context-local storage", table_local);
	good &= ask("a094798c and 263e8860", table_rest);
	good &= ask("d4082055: the checksum", table_checksum);
	good &= ask("Which addresses does the driver give?", where);
	good &= ask("Which does it grant through cuMemAddressReserve?", reserving);
	good &= ask("Memory placed at hgshim's arena", placed);
	good &= ask("Addresses that one process was given…", note_addresses);
	good &= ask("…reserved in a fresh one", reserve_again);
	good &= ask("Is a freed range mappable in the same process? 4 KiB", freed_small);
	good &= ask("The same, 64 MiB", freed_large);
	good &= ask("The same, 8 MiB from the default pool", freed_pool);
	good &= ask("The same, a module's variable", freed_variable);
	good &= ask("A new context when ordinary memory lies where the old one's was", used_again);
	good &= ask("Kernels, parameters and variables", kernels);
	printf("\n%s\n", good ? "Everything is as hgshim assumes." : "Something is not as hgshim assumes: see \"!!\".");
	return good ? 0 : 1;
}
