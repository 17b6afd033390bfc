/* simt_llvm.c - modules of kernels out of LLVM IR, compiled for this CPU when they are first launched. */
#define _GNU_SOURCE
#include "tests/drivers/simt/simt_llvm.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "common/msg.h"

/* LLVM takes none down: one whose code is gone is empty, and the next unit's. */
struct library {
	LLVMOrcJITDylibRef dylib;
	struct library *next;		/* of those that are empty */
};

/* What was added at once: compiled at once. */
struct unit {
	pthread_mutex_t lock;
	LLVMContextRef context;		/* until it is compiled */
	LLVMModuleRef code;
	struct library *library;	/* since */
	bool failed;
	size_t first, nr;		/* its kernels */
	struct unit *next;
};

struct kernel {
	struct simt_kernel k;
	struct unit *unit;
	_Atomic(simt_entry) entry;
};

struct simt_module {
	const struct simt_symbol *symbols;
	size_t nr_symbols;
	struct kernel *kernel;
	size_t nr_kernels;
	struct unit *units;
};

/* The process's linker, made at first use and never taken down. */
static struct {
	pthread_once_t once;
	LLVMOrcLLJITRef jit;
	LLVMTargetRef target;
	char *triple, *cpu, *features;
	pthread_mutex_t lock;		/* protects what follows */
	struct library *empty;
	unsigned int nr_libraries;
} host = { .once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER };

static bool said(LLVMErrorRef err, const char *doing)
{
	char *text;

	if (!err)
		return false;
	text = LLVMGetErrorMessage(err);
	pr_err("simt: cannot %s: %s", doing, text);
	LLVMDisposeErrorMessage(text);
	return true;
}

static void host_init(void)
{
	char *why = NULL;

	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86Target();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86AsmPrinter();
	host.triple = LLVMGetDefaultTargetTriple();
	host.cpu = LLVMGetHostCPUName();
	host.features = LLVMGetHostCPUFeatures();
	if (LLVMGetTargetFromTriple(host.triple, &host.target, &why)) {
		pr_err("simt: cannot compile for '%s': %s", host.triple, why);
		LLVMDisposeMessage(why);
		return;
	}
	if (said(LLVMOrcCreateLLJIT(&host.jit, NULL), "start the linker"))
		host.jit = NULL;
}

/* ---- what code may call ---- */

#define SYMBOL(name) { #name, (void *)name }
static const struct simt_symbol builtin[] = {
	SYMBOL(simt_meet), SYMBOL(simt_active), SYMBOL(simt_barrier), SYMBOL(simt_barrier_arrive),
	SYMBOL(simt_barrier_count), SYMBOL(simt_yield), SYMBOL(simt_sleep), SYMBOL(simt_clock), SYMBOL(simt_timer),
	SYMBOL(simt_trap), SYMBOL(simt_misaligned),
	/* the code generator makes calls of these out of operations */
	SYMBOL(memcpy), SYMBOL(memset), SYMBOL(memmove), SYMBOL(fma), SYMBOL(fmaf), SYMBOL(floor), SYMBOL(floorf),
	SYMBOL(ceil), SYMBOL(ceilf), SYMBOL(trunc), SYMBOL(truncf), SYMBOL(rint), SYMBOL(rintf), SYMBOL(nearbyint),
	SYMBOL(nearbyintf), SYMBOL(fmin), SYMBOL(fminf), SYMBOL(fmax), SYMBOL(fmaxf), SYMBOL(roundeven), SYMBOL(roundevenf),
	SYMBOL(round), SYMBOL(roundf), SYMBOL(ldexp), SYMBOL(ldexpf),
};

static LLVMErrorRef define(LLVMOrcJITDylibRef dylib, const struct simt_symbol *s, size_t nr)
{
	LLVMOrcCSymbolMapPair pair[64];

	for (size_t done = 0; done < nr;) {
		size_t n = nr - done < 64 ? nr - done : 64;
		LLVMErrorRef err;

		for (size_t i = 0; i < n; i++) {
			pair[i].Name = LLVMOrcLLJITMangleAndIntern(host.jit, s[done + i].name);
			pair[i].Sym.Address = (uintptr_t)s[done + i].addr;
			pair[i].Sym.Flags.GenericFlags = LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable;
			pair[i].Sym.Flags.TargetFlags = 0;
		}
		err = LLVMOrcJITDylibDefine(dylib, LLVMOrcAbsoluteSymbols(pair, n));
		if (err)
			return err;
		done += n;
	}
	return NULL;
}

/* ---- compiling ---- */

static enum hg_status to_object(struct unit *u, LLVMTargetMachineRef tm, LLVMMemoryBufferRef *out)
{
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef err;
	char *text = NULL;

	err = LLVMRunPasses(u->code, "default<O1>", tm, options);
	LLVMDisposePassBuilderOptions(options);
	if (said(err, "optimise a kernel"))
		return HG_ERR_UNSUPPORTED;
	if (LLVMTargetMachineEmitToMemoryBuffer(tm, u->code, LLVMObjectFile, &text, out)) {
		pr_err("simt: cannot compile a kernel: %s", text);
		LLVMDisposeMessage(text);
		return HG_ERR_UNSUPPORTED;
	}
	return HG_OK;
}

static void on_found(LLVMErrorRef err, LLVMOrcCSymbolMapPairs pairs, size_t nr, void *arg)
{
	uint64_t *addr = arg;

	if (!said(err, "link a kernel") && nr == 1)
		*addr = pairs[0].Sym.Address;
}

/* NULL: no memory. */
static struct library *library_get(void)
{
	struct library *l;
	char name[32];

	pthread_mutex_lock(&host.lock);
	l = host.empty;
	if (l) {
		host.empty = l->next;
	} else {
		l = malloc(sizeof(*l));
		snprintf(name, sizeof(name), "simt.%u", host.nr_libraries++);
		if (l)
			l->dylib = LLVMOrcExecutionSessionCreateBareJITDylib(LLVMOrcLLJITGetExecutionSession(host.jit), name);
	}
	pthread_mutex_unlock(&host.lock);
	return l;
}

/* NULL is allowed. */
static void library_put(struct library *l)
{
	if (!l || said(LLVMOrcJITDylibClear(l->dylib), "unload a kernel's code"))
		return;
	pthread_mutex_lock(&host.lock);
	l->next = host.empty;
	host.empty = l;
	pthread_mutex_unlock(&host.lock);
}

static enum hg_status link_unit(struct simt_module *m, struct unit *u, LLVMMemoryBufferRef object)
{
	LLVMOrcExecutionSessionRef es = LLVMOrcLLJITGetExecutionSession(host.jit);
	LLVMOrcJITDylibRef dylib;

	u->library = library_get();
	if (!u->library) {
		LLVMDisposeMemoryBuffer(object);
		return HG_ERR_NOMEM;
	}
	dylib = u->library->dylib;
	if (said(define(dylib, builtin, sizeof(builtin) / sizeof(builtin[0])), "define the executor's functions") ||
	    said(define(dylib, m->symbols, m->nr_symbols), "define a module's functions")) {
		LLVMDisposeMemoryBuffer(object);
		return HG_ERR_UNSUPPORTED;
	}
	if (said(LLVMOrcLLJITAddObjectFile(host.jit, dylib, object), "load a kernel's code"))
		return HG_ERR_UNSUPPORTED;
	for (size_t i = u->first; i < u->first + u->nr; i++) {
		LLVMOrcCJITDylibSearchOrderElement order = { dylib, LLVMOrcJITDylibLookupFlagsMatchAllSymbols };
		LLVMOrcCLookupSetElement symbol = { NULL, LLVMOrcSymbolLookupFlagsRequiredSymbol };
		uint64_t addr = 0;
		char entry[512];

		if (m->kernel[i].k.refused)
			continue;
		snprintf(entry, sizeof(entry), m->kernel[i].k.waits ? "%s" : "%.400s.all", m->kernel[i].k.name);
		symbol.Name = LLVMOrcLLJITMangleAndIntern(host.jit, entry);
		LLVMOrcExecutionSessionLookup(es, LLVMOrcLookupKindStatic, &order, 1, &symbol, 1, on_found, &addr);
		if (!addr)
			return HG_ERR_UNSUPPORTED;
		atomic_store(&m->kernel[i].entry, (simt_entry)(uintptr_t)addr);
	}
	return HG_OK;
}

/* A large frame must not step over the page below its stack. */
static void probe_stacks(LLVMContextRef c, LLVMModuleRef code)
{
	for (LLVMValueRef f = LLVMGetFirstFunction(code); f; f = LLVMGetNextFunction(f))
		if (!LLVMIsDeclaration(f))
			LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex,
						LLVMCreateStringAttribute(c, "probe-stack", 11, "inline-asm", 10));
}

/* ---- a block of items that never wait is a loop ---- */

struct loop {
	LLVMContextRef c;
	LLVMBuilderRef b;
	LLVMValueRef f, self;
};

static LLVMValueRef number(struct loop *l, uint64_t v)
{
	return LLVMConstInt(LLVMInt32TypeInContext(l->c), v, 0);
}

static LLVMValueRef place(struct loop *l, LLVMValueRef base, size_t offset)
{
	LLVMValueRef index = LLVMConstInt(LLVMInt64TypeInContext(l->c), offset, 0);

	return LLVMBuildGEP2(l->b, LLVMInt8TypeInContext(l->c), base, &index, 1, "");
}

static LLVMValueRef field(struct loop *l, LLVMValueRef base, size_t offset)
{
	return LLVMBuildLoad2(l->b, LLVMInt32TypeInContext(l->c), place(l, base, offset), "");
}

static void set_field(struct loop *l, size_t offset, LLVMValueRef v)
{
	LLVMBuildStore(l->b, v, place(l, l->self, offset));
}

/* `name`.all: the kernel for each item of the block, x first; the kernel itself becomes part of it. */
static void add_loop(LLVMContextRef c, LLVMModuleRef code, const struct simt_kernel *k)
{
	static const size_t tid = offsetof(struct simt_item, tid), ntid = offsetof(struct simt_env, ntid);
	LLVMTypeRef ptr = LLVMPointerTypeInContext(c, 0), i32 = LLVMInt32TypeInContext(c);
	LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(c), &ptr, 1, 0);
	LLVMValueRef kernel = LLVMGetNamedFunction(code, k->name), env, phi, next, n[3], t[3], lanes, zero;
	unsigned int always = LLVMGetEnumAttributeKindForName("alwaysinline", 12);
	struct loop l = { .c = c, .b = LLVMCreateBuilderInContext(c) };
	LLVMBasicBlockRef entry, body, end, from[2];
	char name[512];

	snprintf(name, sizeof(name), "%.400s.all", k->name);
	l.f = LLVMAddFunction(code, name, type);
	l.self = LLVMGetParam(l.f, 0);
	LLVMAddAttributeAtIndex(kernel, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(c, always, 0));
	LLVMSetLinkage(kernel, LLVMInternalLinkage);
	entry = LLVMAppendBasicBlockInContext(c, l.f, "");
	body = LLVMAppendBasicBlockInContext(c, l.f, "");
	end = LLVMAppendBasicBlockInContext(c, l.f, "");
	LLVMPositionBuilderAtEnd(l.b, entry);
	env = LLVMBuildLoad2(l.b, ptr, place(&l, l.self, offsetof(struct simt_item, env)), "");
	for (int i = 0; i < 3; i++)
		n[i] = field(&l, env, ntid + 4 * (size_t)i);
	lanes = field(&l, env, offsetof(struct simt_env, lanes));
	n[2] = LLVMBuildMul(l.b, LLVMBuildMul(l.b, n[0], n[1], ""), n[2], "");	/* all items */
	LLVMBuildBr(l.b, body);

	LLVMPositionBuilderAtEnd(l.b, body);
	phi = LLVMBuildPhi(l.b, i32, "");
	for (int i = 0; i < 3; i++)
		t[i] = LLVMBuildPhi(l.b, i32, "");
	for (int i = 0; i < 3; i++)
		set_field(&l, tid + 4 * (size_t)i, t[i]);
	set_field(&l, offsetof(struct simt_item, lane), LLVMBuildURem(l.b, phi, lanes, ""));
	set_field(&l, offsetof(struct simt_item, warp), LLVMBuildUDiv(l.b, phi, lanes, ""));
	if (k->local_bytes)
		LLVMBuildMemSet(l.b, LLVMBuildLoad2(l.b, ptr, place(&l, l.self, offsetof(struct simt_item, local)), ""),
				LLVMConstNull(LLVMInt8TypeInContext(c)), number(&l, k->local_bytes), 1);
	LLVMBuildCall2(l.b, type, kernel, &l.self, 1, "");
	zero = number(&l, 0);
	next = LLVMBuildAdd(l.b, phi, number(&l, 1), "");
	from[0] = entry;
	from[1] = body;
	LLVMAddIncoming(phi, (LLVMValueRef[]){ zero, next }, from, 2);
	/* x, and what is carried over to y and z */
	{
		LLVMValueRef carry = number(&l, 1), sum, over;

		for (int i = 0; i < 3; i++) {
			sum = LLVMBuildAdd(l.b, t[i], carry, "");
			over = i < 2 ? LLVMBuildICmp(l.b, LLVMIntEQ, sum, n[i], "") : NULL;
			if (over) {
				sum = LLVMBuildSelect(l.b, over, zero, sum, "");
				carry = LLVMBuildZExt(l.b, over, i32, "");
			}
			LLVMAddIncoming(t[i], (LLVMValueRef[]){ zero, sum }, from, 2);
		}
	}
	LLVMBuildCondBr(l.b, LLVMBuildICmp(l.b, LLVMIntEQ, next, n[2], ""), end, body);
	LLVMPositionBuilderAtEnd(l.b, end);
	LLVMBuildRetVoid(l.b);
	LLVMDisposeBuilder(l.b);
}

static enum hg_status compile(struct simt_module *m, struct unit *u)
{
	LLVMTargetMachineRef tm = LLVMCreateTargetMachine(host.target, host.triple, host.cpu, host.features,
							  LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelJITDefault);
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
	LLVMMemoryBufferRef object;
	enum hg_status st;
	char *text = NULL;

	LLVMSetModuleDataLayout(u->code, layout);
	LLVMDisposeTargetData(layout);
	LLVMSetTarget(u->code, host.triple);
	for (size_t i = u->first; i < u->first + u->nr; i++)
		if (!m->kernel[i].k.refused && !m->kernel[i].k.waits && LLVMGetNamedFunction(u->code, m->kernel[i].k.name))
			add_loop(u->context, u->code, &m->kernel[i].k);
	probe_stacks(u->context, u->code);
	st = HG_ERR_UNSUPPORTED;
	if (LLVMVerifyModule(u->code, LLVMReturnStatusAction, &text))
		pr_err("simt: kernel '%s' is not valid LLVM IR: %.300s", m->kernel[u->first].k.name, text);
	else
		st = to_object(u, tm, &object);
	LLVMDisposeMessage(text);
	LLVMDisposeTargetMachine(tm);
	LLVMDisposeModule(u->code);
	LLVMContextDispose(u->context);
	u->code = NULL;
	u->context = NULL;
	return st ? st : link_unit(m, u, object);
}

/* ---- modules ---- */

enum hg_status simt_module_create(const struct simt_symbol *symbols, size_t nr, struct simt_module **out)
{
	struct simt_module *m = calloc(1, sizeof(*m));

	if (!m)
		return HG_ERR_NOMEM;
	m->symbols = symbols;
	m->nr_symbols = nr;
	*out = m;
	return HG_OK;
}

static void kernel_release(struct simt_kernel *k)
{
	free((char *)(uintptr_t)k->name);
	free((char *)(uintptr_t)k->refused);
}

static void unit_free(struct unit *u)
{
	if (u->code)
		LLVMDisposeModule(u->code);
	if (u->context)
		LLVMContextDispose(u->context);
	library_put(u->library);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

enum hg_status simt_module_add(struct simt_module *m, LLVMContextRef context, LLVMModuleRef code,
			       const struct simt_kernel *k, size_t nr)
{
	struct unit *u = calloc(1, sizeof(*u));
	struct kernel *list;

	if (!u) {
		if (code)
			LLVMDisposeModule(code);
		if (context)
			LLVMContextDispose(context);
		return HG_ERR_NOMEM;
	}
	pthread_mutex_init(&u->lock, NULL);
	u->context = context;
	u->code = code;
	u->first = m->nr_kernels;
	u->nr = nr;
	list = realloc(m->kernel, (m->nr_kernels + nr) * sizeof(*list));
	if (!list) {
		unit_free(u);
		return HG_ERR_NOMEM;
	}
	m->kernel = list;
	for (size_t i = 0; i < nr; i++) {
		struct kernel *to = &list[m->nr_kernels + i];

		memset(to, 0, sizeof(*to));
		to->k = k[i];
		to->k.name = strdup(k[i].name);
		to->k.refused = k[i].refused ? strdup(k[i].refused) : NULL;
		to->unit = u;
		if (!to->k.name || (k[i].refused && !to->k.refused)) {
			while (i != SIZE_MAX)
				kernel_release(&list[m->nr_kernels + i--].k);
			unit_free(u);
			return HG_ERR_NOMEM;
		}
	}
	m->nr_kernels += nr;
	u->next = m->units;
	m->units = u;
	return HG_OK;
}

enum hg_status simt_module_kernel(struct simt_module *m, size_t i, const struct simt_kernel **k, simt_entry *entry)
{
	enum hg_status st = HG_OK;
	struct unit *u;

	if (i >= m->nr_kernels)
		return HG_ERR_NOTFOUND;
	*k = &m->kernel[i].k;
	if ((*k)->refused)
		return HG_ERR_UNSUPPORTED;
	*entry = atomic_load(&m->kernel[i].entry);
	if (*entry)
		return HG_OK;
	pthread_once(&host.once, host_init);
	if (!host.jit)
		return HG_ERR_UNAVAILABLE;
	u = m->kernel[i].unit;
	pthread_mutex_lock(&u->lock);
	if (!u->failed && !u->library)
		u->failed = compile(m, u) != HG_OK;
	if (u->failed)
		st = HG_ERR_UNSUPPORTED;
	pthread_mutex_unlock(&u->lock);
	*entry = atomic_load(&m->kernel[i].entry);
	return st;
}

void simt_module_free(struct simt_module *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->nr_kernels; i++)
		kernel_release(&m->kernel[i].k);
	while (m->units) {
		struct unit *u = m->units;

		m->units = u->next;
		unit_free(u);
	}
	free(m->kernel);
	free(m);
}
