/* test_spirv_write.c - LLVM IR as the GPU emitter makes it becomes SPIR-V that spirv-val accepts and another reader understands. */
#include <llvm-c/Analysis.h>
#include <llvm-c/IRReader.h>
#include <spirv/unified1/spirv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/translate/code_util.h"
#include "translate/emit_gpu.h"
#include "translate/expand.h"
#include "translate/spirv_write.h"

#define LAYOUT "target datalayout = \"e-p:64:64-p1:64:64-p3:64:64-p5:64:64-i64:64-n8:16:32:64-A5\"\n"

struct result {
	enum hg_status st;
	uint32_t *word;
	size_t nr;
	uint32_t version;
	char why[160];
};

static LLVMModuleRef parse(LLVMContextRef c, const char *text)
{
	LLVMModuleRef m;
	char *why = NULL;
	LLVMMemoryBufferRef b = LLVMCreateMemoryBufferWithMemoryRangeCopy(text, strlen(text), "test");

	cr_assert_not(LLVMParseIRInContext(c, b, &m, &why), "%s\n%s", why, text);
	cr_assert_not(LLVMVerifyModule(m, LLVMReturnStatusAction, &why), "%s", why);
	LLVMDisposeMessage(why);
	return m;
}

/* declarations, then the kernel's body; `p` is the first argument, `q` the second. */
static struct result write_kernel(const char *declarations, const char *body)
{
	struct spirv_write_options opt = { .kernel = "kernel", .max_threads = 256 };
	struct result r = { 0 };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m;
	size_t size = strlen(declarations) + strlen(body) + 512;
	char *text = malloc(size);

	snprintf(text, size, LAYOUT "%s\ndefine void @kernel(ptr addrspace(1) %%p, ptr addrspace(3) %%q) {\n%s\n}\n", declarations, body);
	m = parse(c, text);
	r.st = spirv_write(m, &opt, &r.word, &r.nr, &r.version, r.why, sizeof(r.why));
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	free(text);
	return r;
}

static int run(const char *command, char *said, size_t size)
{
	FILE *f = popen(command, "r");
	size_t n;
	char rest[256];

	cr_assert_not_null(f);
	n = fread(said, 1, size - 1, f);
	said[n] = '\0';
	while (fread(rest, 1, sizeof(rest), f))
		;
	return pclose(f);
}

/* The n-th instruction of an operation; NULL: there are fewer. */
static const uint32_t *find(const struct result *r, SpvOp op, unsigned int n)
{
	for (size_t i = 5; i < r->nr; i += r->word[i] >> 16)
		if ((r->word[i] & 0xffff) == (uint32_t)op && !n--)
			return r->word + i;
	return NULL;
}

static unsigned int count(const struct result *r, SpvOp op)
{
	unsigned int n = 0;

	while (find(r, op, n))
		n++;
	return n;
}

static bool has_capability(const struct result *r, SpvCapability c)
{
	const uint32_t *w;

	for (unsigned int n = 0; (w = find(r, SpvOpCapability, n)); n++)
		if (w[1] == (uint32_t)c)
			return true;
	return false;
}

/* Of OpenCL's optional capabilities spirv-val takes no environment of OpenCL to have these. */
static const char *environment(const struct result *r)
{
	return r->version > 0x10200 || has_capability(r, SpvCapabilityInt64Atomics) || has_capability(r, SpvCapabilityFloat16) ? "spv1.3" :
															   "opencl2.2";
}

/* spirv-val accepts it, and LLVM reads what llvm-spirv makes of it. */
static void check(const struct result *r, const char *what)
{
	char path[64], command[320], said[512], *why = NULL;
	int fd = -1, rc;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMMemoryBufferRef b;

	cr_assert_eq(r->st, HG_OK, "%s\n%s", r->why, what);
	cr_expect_eq(count(r, SpvOpExtension), 0u, "%s: no device need take extensions", what);
	snprintf(path, sizeof(path), "/tmp/hgshim-spirv-XXXXXX");
	fd = mkstemp(path);
	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, r->word, r->nr * 4), (ssize_t)(r->nr * 4));
	close(fd);
	snprintf(command, sizeof(command), "spirv-val --target-env %s %s 2>&1", environment(r), path);
	rc = run(command, said, sizeof(said));
	cr_assert_eq(rc, 0, "%s\n%s", said, what);
	snprintf(command, sizeof(command), "llvm-spirv-15 -r %s -o %s.bc 2>&1", path, path);
	rc = run(command, said, sizeof(said));
	cr_assert_eq(rc, 0, "%s\n%s", said, what);
	unlink(path);
	snprintf(command, sizeof(command), "%s.bc", path);
	c = LLVMContextCreate();
	cr_assert_not(LLVMCreateMemoryBufferWithContentsOfFile(command, &b, &why), "%s", why);
	cr_assert_not(LLVMParseIRInContext(c, b, &m, &why), "%s\n%s", why, what);
	cr_assert_not_null(LLVMGetNamedFunction(m, "kernel"));
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
	unlink(command);
}

static void check_body(const char *declarations, const char *body)
{
	struct result r = write_kernel(declarations, body);

	check(&r, body);
	free(r.word);
}

/* The value of OpConstant `id`. */
static uint64_t constant(const struct result *r, uint32_t id)
{
	const uint32_t *w;

	for (unsigned int n = 0; (w = find(r, SpvOpConstant, n)); n++)
		if (w[2] == id)
			return *w >> 16 == 5 ? w[3] | (uint64_t)w[4] << 32 : w[3];
	cr_assert_fail("no constant has the id");
	return 0;
}

Test(spirv_write, an_empty_kernel_word_for_word)
{
	/* ids: 1 the function, 2 its type, 3 void, 4 i8, 5 and 7 pointers, 6 and 8 arguments, 9 the block */
	static const uint32_t want[] = {
		0x07230203, 0x10000, 0, 10, 0,
		2 << 16 | 17, SpvCapabilityInt8, 2 << 16 | 17, SpvCapabilityKernel, 2 << 16 | 17, SpvCapabilityAddresses,
		3 << 16 | 14, 2, 2,				/* Physical64 OpenCL */
		5 << 16 | 15, 6, 1, 0x6e72656b, 0x6c65,		/* OpEntryPoint Kernel "kernel" */
		3 << 16 | 16, 1, SpvExecutionModeContractionOff,
		6 << 16 | 16, 1, SpvExecutionModeLocalSizeHint, 256, 1, 1,
		4 << 16 | 5, 1, 0x6e72656b, 0x6c65,		/* OpName */
		3 << 16 | 5, 6, 'p', 3 << 16 | 5, 8, 'q',
		2 << 16 | 19, 3,				/* void */
		4 << 16 | 21, 4, 8, 0,
		4 << 16 | 32, 5, SpvStorageClassCrossWorkgroup, 4,
		4 << 16 | 32, 7, SpvStorageClassWorkgroup, 4,
		5 << 16 | 33, 2, 3, 5, 7,
		5 << 16 | 54, 3, 1, 0, 2,			/* OpFunction */
		3 << 16 | 55, 5, 6, 3 << 16 | 55, 7, 8,
		2 << 16 | 248, 9, 1 << 16 | 253, 1 << 16 | 56,
	};
	struct result r = write_kernel("", "ret void");

	check(&r, "empty");
	cr_assert_eq(r.nr, sizeof(want) / sizeof(*want), "%zu words", r.nr);
	for (size_t i = 0; i < r.nr; i++)
		cr_assert_eq(r.word[i], want[i], "word %zu is %#x, not %#x", i, r.word[i], want[i]);
	free(r.word);
}

Test(spirv_write, integers)
{
	static const char *const op[] = { "add", "sub", "mul", "udiv", "sdiv", "urem", "srem", "shl", "lshr", "ashr", "and", "or", "xor" };
	static const char *const predicate[] = { "eq", "ne", "ugt", "uge", "ult", "ule", "sgt", "sge", "slt", "sle" };
	char text[8192];
	size_t n = 0;

	for (unsigned int bits = 8; bits <= 64; bits *= 2) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%%a%u = load i%u, ptr addrspace(1) %%p, align 1\n", bits, bits);
		for (size_t i = 0; i < sizeof(op) / sizeof(*op); i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%%s%u = %s i%u %%a%u, 3\nstore i%u %%%s%u, ptr addrspace(3) %%q\n", op[i],
					      bits, op[i], bits, bits, bits, op[i], bits);
		for (size_t i = 0; i < sizeof(predicate) / sizeof(*predicate); i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%c%s%u = icmp %s i%u %%a%u, -1\n", predicate[i], bits, predicate[i], bits,
					      bits);
	}
	snprintf(text + n, sizeof(text) - n, "ret void");
	check_body("", text);
}

Test(spirv_write, truth_values)
{
	static const char *const op[] = { "add", "sub", "mul", "udiv", "urem", "shl", "lshr", "ashr", "and", "or", "xor" };
	static const char *const predicate[] = { "eq", "ne", "ugt", "uge", "ult", "ule", "sgt", "sge", "slt", "sle" };
	char text[8192];
	size_t n = (size_t)snprintf(text, sizeof(text), "%%v = load i32, ptr addrspace(1) %%p\n%%a = trunc i32 %%v to i1\n%%b = icmp eq i32 %%v, 7\n");

	for (size_t i = 0; i < sizeof(op) / sizeof(*op); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%%%s = %s i1 %%a, %%b\n", op[i], op[i]);
	for (size_t i = 0; i < sizeof(predicate) / sizeof(*predicate); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%%c%s = icmp %s i1 %%a, %%b\n", predicate[i], predicate[i]);
	snprintf(text + n, sizeof(text) - n,
		 "%%z = zext i1 %%a to i64\n%%s = sext i1 %%b to i8\n%%f = uitofp i1 %%a to float\n%%g = sitofp i1 %%a to double\n"
		 "%%u = fptoui float %%f to i1\n%%w = select i1 %%a, i1 %%b, i1 true\n%%fr = freeze i1 %%w\n%%x = xor i1 %%fr, true\n"
		 "br i1 %%x, label %%yes, label %%no\nyes:\nbr label %%no\nno:\n%%ph = phi i1 [ %%a, %%0 ], [ false, %%yes ]\n"
		 "switch i1 %%ph, label %%end [ i1 true, label %%one ]\none:\nbr label %%end\nend:\nret void");
	check_body("", text);
}

Test(spirv_write, floats)
{
	static const char *const type[] = { "half", "float", "double" };
	static const char *const op[] = { "fadd", "fsub", "fmul", "frem", "fdiv" };
	static const char *const predicate[] = { "false", "oeq", "ogt", "oge", "olt", "ole", "one", "ord", "uno", "ueq", "ugt", "uge", "ult", "ule",
						 "une", "true" };
	static const char *const call[] = { "fabs", "floor", "ceil", "trunc", "roundeven", "rint" };
	char text[8192], declarations[4096];

	for (size_t k = 0; k < 3; k++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "%%a = load %s, ptr addrspace(1) %%p\n%%neg = fneg %s %%a\n", type[k], type[k]), d = 0;
		const char *t = type[k], *suffix = k == 0 ? "f16" : k == 1 ? "f32" : "f64";

		/* division is of double alone */
		for (size_t i = 0; i < sizeof(op) / sizeof(*op) - (k < 2); i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%%s = %s %s %%a, 3.0\n", op[i], op[i], t);
		for (size_t i = 0; i < sizeof(predicate) / sizeof(*predicate); i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%c%s = fcmp %s %s %%a, %%neg\n", predicate[i], predicate[i], t);
		for (size_t i = 0; i < sizeof(call) / sizeof(*call); i++) {
			d += (size_t)snprintf(declarations + d, sizeof(declarations) - d, "declare %s @llvm.%s.%s(%s)\n", t, call[i], suffix, t);
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%r%s = call %s @llvm.%s.%s(%s %%a)\n", call[i], t, call[i], suffix, t);
		}
		d += (size_t)snprintf(declarations + d, sizeof(declarations) - d, "declare %s @llvm.fma.%s(%s, %s, %s)\n", t, suffix, t, t, t);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%%fma = call %s @llvm.fma.%s(%s %%a, %s %%a, %s %%neg)\n", t, suffix, t, t, t);
		for (unsigned int bits = 8; bits <= 64; bits *= 2) {
			d += (size_t)snprintf(declarations + d, sizeof(declarations) - d,
					      "declare i%u @llvm.fptosi.sat.i%u.%s(%s)\ndeclare i%u @llvm.fptoui.sat.i%u.%s(%s)\n", bits, bits, suffix, t,
					      bits, bits, suffix, t);
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      "%%s%u = call i%u @llvm.fptosi.sat.i%u.%s(%s %%a)\n%%u%u = call i%u @llvm.fptoui.sat.i%u.%s(%s %%a)\n"
					      "%%ps%u = fptosi %s %%a to i%u\n%%pu%u = fptoui %s %%a to i%u\n%%fs%u = sitofp i%u %%s%u to %s\n"
					      "%%fu%u = uitofp i%u %%u%u to %s\n",
					      bits, bits, bits, suffix, t, bits, bits, bits, suffix, t, bits, t, bits, bits, t, bits, bits, bits, bits,
					      t, bits, bits, bits, t);
		}
		if (k == 2) {
			snprintf(declarations + d, sizeof(declarations) - d, "declare double @llvm.sqrt.f64(double)\n");
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%root = call double @llvm.sqrt.f64(double %%a)\n%%h = fptrunc double %%a to half\n"
					      "%%f = fptrunc double %%a to float\n%%d = fpext half %%h to float\n%%b = bitcast double %%a to i64\n");
		}
		snprintf(text + n, sizeof(text) - n, "ret void");
		check_body(declarations, text);
	}
}

Test(spirv_write, bits_of_integers)
{
	static const char *const two[] = { "smin", "smax", "umin", "umax", "sadd.sat", "uadd.sat", "ssub.sat", "usub.sat" };
	char text[8192], declarations[8192];
	size_t n = 0, d = 0;

	for (unsigned int b = 8; b <= 64; b *= 2) {
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "%%a%u = load i%u, ptr addrspace(1) %%p, align 1\n%%p%u = call i%u @llvm.ctpop.i%u(i%u %%a%u)\n"
				      "%%l%u = call i%u @llvm.ctlz.i%u(i%u %%a%u, i1 false)\n%%t%u = call i%u @llvm.cttz.i%u(i%u %%a%u, i1 true)\n"
				      "%%r%u = call i%u @llvm.bitreverse.i%u(i%u %%a%u)\n%%f%u = call i%u @llvm.fshl.i%u(i%u %%a%u, i%u 1, i%u %%l%u)\n"
				      "%%g%u = call i%u @llvm.fshr.i%u(i%u %%a%u, i%u 1, i%u %%l%u)\n",
				      b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b);
		d += (size_t)snprintf(declarations + d, sizeof(declarations) - d,
				      "declare i%u @llvm.ctpop.i%u(i%u)\ndeclare i%u @llvm.ctlz.i%u(i%u, i1)\ndeclare i%u @llvm.cttz.i%u(i%u, i1)\n"
				      "declare i%u @llvm.bitreverse.i%u(i%u)\ndeclare i%u @llvm.fshl.i%u(i%u, i%u, i%u)\n"
				      "declare i%u @llvm.fshr.i%u(i%u, i%u, i%u)\n",
				      b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b);
		for (size_t i = 0; i < sizeof(two) / sizeof(*two); i++) {
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%%s%u = call i%u @llvm.%s.i%u(i%u %%a%u, i%u 9)\n", two[i], b, b, two[i], b, b, b,
					      b);
			d += (size_t)snprintf(declarations + d, sizeof(declarations) - d, "declare i%u @llvm.%s.i%u(i%u, i%u)\n", b, two[i], b, b, b);
		}
	}
	snprintf(text + n, sizeof(text) - n, "ret void");
	check_body(declarations, text);
}

Test(spirv_write, memory_and_pointers)
{
	check_body("",
		   "%x = alloca i32, align 4, addrspace(5)\n%y = alloca [40 x i8], align 16, addrspace(5)\n"
		   "%z = alloca i8, addrspace(5)\n%w = alloca ptr addrspace(1), addrspace(5)\n"
		   "%at = getelementptr inbounds [40 x i8], ptr addrspace(5) %y, i32 0, i32 5\n"
		   "store i32 7, ptr addrspace(5) %x\nstore i8 1, ptr addrspace(5) %at\nstore volatile i8 2, ptr addrspace(5) %z\n"
		   "store ptr addrspace(1) %p, ptr addrspace(5) %w\n%back = load ptr addrspace(1), ptr addrspace(5) %w\n"
		   "%i = load i32, ptr addrspace(5) %x\n%far = getelementptr i64, ptr addrspace(1) %back, i32 %i\n"
		   "%v = load volatile i64, ptr addrspace(1) %far\n"
		   "%st = getelementptr { i8, i64 }, ptr addrspace(1) %p, i64 0, i32 1\nstore i64 %v, ptr addrspace(1) %st, align 2\n"
		   "%g = addrspacecast ptr addrspace(3) %q to ptr\n%g1 = addrspacecast ptr %g to ptr addrspace(1)\n"
		   "%g5 = addrspacecast ptr addrspace(5) %y to ptr\n%n = ptrtoint ptr %g5 to i64\n%n32 = ptrtoint ptr %g to i32\n"
		   "%again = inttoptr i32 %n32 to ptr\n%same = icmp eq ptr %again, %g\n%null = icmp ult ptr %g, null\n"
		   "%some = select i1 %same, ptr %g, ptr %g5\nstore half 0xH7D01, ptr %some\n"
		   "store i32 5, ptr inttoptr (i64 4096 to ptr)\nstore i64 %n, ptr addrspace(1) %g1\n"
		   "store i64 ptrtoint (ptr getelementptr (i8, ptr inttoptr (i64 8 to ptr), i64 24) to i64), ptr addrspace(1) %p\n"
		   "br label %next\nnext:\n%ph = phi ptr [ %some, %0 ], [ inttoptr (i64 8192 to ptr), %next ]\nstore i32 undef, ptr %ph\n"
		   "br i1 %null, label %next, label %end\nend:\nret void");
}

Test(spirv_write, atomics)
{
	static const char *const op[] = { "xchg", "add", "sub", "and", "or", "xor", "max", "min", "umax", "umin" };
	static const char *const scope[] = { "syncscope(\"subgroup\") ", "syncscope(\"wavefront\") ", "syncscope(\"workgroup\") ", "syncscope(\"device\") ",
					     "syncscope(\"agent\") ", "" };
	static const char *const order[] = { "monotonic", "acquire", "release", "acq_rel", "seq_cst" };
	char text[16384];
	size_t n = 0;
	unsigned int id = 0;

	n += (size_t)snprintf(text, sizeof(text), "%%own = alloca i32, align 4, addrspace(5)\n");
	for (unsigned int bits = 32; bits <= 64; bits *= 2)
		for (size_t i = 0; i < sizeof(op) / sizeof(*op); i++, id++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%%a%u = atomicrmw %s ptr addrspace(%u) %s, i%u 5 %s%s\n", id, op[i], id & 1 ? 1 : 3,
					      id & 1 ? "%p" : "%q", bits, scope[id % 6], order[id % 5]);
	for (unsigned int bits = 8; bits <= 64; bits *= 2)
		for (size_t i = 0; i < 5; i++, id++) {
			if (i != 2 && i != 3)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "%%l%u = load atomic i%u, ptr addrspace(1) %%p %s%s, align %u\n", id, bits,
						      scope[id % 6], order[i], bits / 8);
			if (i != 1 && i != 3)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "store atomic i%u 1, ptr addrspace(3) %%q %s%s, align %u\n", bits,
						      scope[id % 6], order[i], bits / 8);
			if (i)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "fence %s%s\n", scope[id % 6], order[i]);
			if (bits >= 32)
				n += (size_t)snprintf(text + n, sizeof(text) - n,
						      "%%x%u = cmpxchg ptr addrspace(1) %%p, i%u 1, i%u 2 %s%s %s\n%%w%u = extractvalue { i%u, i1 } %%x%u, 0\n"
						      "%%o%u = extractvalue { i%u, i1 } %%x%u, 1\n",
						      id, bits, bits, scope[id % 6], order[i], i == 4 ? "seq_cst" : i & 1 ? "acquire" : "monotonic", id, bits, id,
						      id, bits, id);
		}
	snprintf(text + n, sizeof(text) - n, "%%mine = atomicrmw add ptr addrspace(5) %%own, i32 1 monotonic\nret void");
	check_body("", text);
}

/* A scope and an order are constants. */
Test(spirv_write, scopes_and_orders_are_what_the_ir_says)
{
	static const struct {
		const char *text;
		uint32_t scope, order;
	} row[] = {
		{ "", SpvScopeCrossDevice, SpvMemorySemanticsMaskNone },
		{ "syncscope(\"device\")", SpvScopeDevice, SpvMemorySemanticsMaskNone },
		{ "syncscope(\"workgroup\")", SpvScopeWorkgroup, SpvMemorySemanticsMaskNone },
		{ "syncscope(\"subgroup\")", SpvScopeSubgroup, SpvMemorySemanticsMaskNone },
	};
	static const char *const order[] = { "monotonic", "acquire", "release", "acq_rel", "seq_cst" };
	static const uint32_t bits[] = { 0, 0x302, 0x304, 0x308, 0x310 };
	char body[256];

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
		for (size_t k = 0; k < 5; k++) {
			struct result r;
			const uint32_t *w;

			snprintf(body, sizeof(body), "%%a = atomicrmw umax ptr addrspace(1) %%p, i32 1 %s %s\nret void", row[i].text, order[k]);
			r = write_kernel("", body);
			cr_assert_eq(r.st, HG_OK, "%s", r.why);
			w = find(&r, SpvOpAtomicUMax, 0);
			cr_assert_not_null(w);
			cr_expect_eq(constant(&r, w[4]), row[i].scope, "%s", body);
			cr_expect_eq(constant(&r, w[5]), bits[k] | row[i].order, "%s", body);
			cr_expect_not(has_capability(&r, SpvCapabilityInt64Atomics));
			free(r.word);
		}
}

Test(spirv_write, control_flow)
{
	/* two edges of a switch to one block, a wide switch, a block that is not reached, a loop with two ways in, values that come later */
	struct result r = write_kernel("", "%v = load i64, ptr addrspace(1) %p\n%b = trunc i64 %v to i8\n%c = icmp eq i64 %v, 9\n"
		   "switch i8 %b, label %one [ i8 -1, label %two\n i8 2, label %two\n i8 3, label %one ]\n"
		   "one:\n%x = phi i64 [ 5, %0 ], [ 5, %0 ], [ %z, %three ], [ 8, %dead ]\n"
		   "switch i64 %x, label %two [ i64 -2, label %three\n i64 81985529216486895, label %end ]\n"
		   "two:\n%y = phi i64 [ %v, %0 ], [ %v, %0 ], [ %x, %one ], [ %z, %three ]\n%y2 = add i64 %y, 1\n"
		   "br i1 %c, label %three, label %three\n"
		   "three:\n%z = phi i64 [ %x, %one ], [ %y2, %two ], [ %y2, %two ]\n%d = icmp ult i64 %z, 100\nbr i1 %d, label %one, label %two\n"
		   "dead:\nbr label %one\nend:\n%e = icmp eq i64 %x, 1\nbr i1 %e, label %bad, label %ok\nbad:\nunreachable\nok:\nret void");
	const uint32_t *narrow, *wide;

	check(&r, "control flow");
	cr_assert_eq(count(&r, SpvOpPhi), 3);
	for (unsigned int i = 0; i < 3; i++)
		cr_expect_eq(*find(&r, SpvOpPhi, i) >> 16, 3u + 2 * (i == 1 ? 3 : 2), "phi %u: one pair for each block", i);
	narrow = find(&r, SpvOpSwitch, 0);
	cr_expect_eq(narrow[3], 0xffu);
	/* both cases go to the block between, as the default and the third do */
	cr_expect_eq(narrow[4], narrow[6]);
	cr_expect_eq(narrow[2], narrow[8]);
	cr_expect_eq(count(&r, SpvOpLabel), 7u + 2u);
	wide = find(&r, SpvOpSwitch, 1);
	cr_expect_eq(*wide >> 16, 3u + 2 * 3);
	cr_expect_eq(wide[3], 0xfffffffeu);
	cr_expect_eq(wide[4], 0xffffffffu);
	cr_expect_eq(wide[6], 0x89abcdefu);
	cr_expect_eq(wide[7], 0x1234567u);
	free(r.word);
}

Test(spirv_write, constants_keep_their_bits)
{
	static const struct {
		const char *type, *text;
		uint64_t bits;
	} row[] = {
		{ "half", "0xH7D01", 0x7d01 }, { "half", "0xH8000", 0x8000 }, { "float", "0x7FF0000020000000", 0x7f800001 },
		{ "float", "0xFFFFFFFFE0000000", 0xffffffff }, { "float", "-0.0", 0x80000000 }, { "double", "0x7FF0000000000001", 0x7ff0000000000001 },
		{ "double", "0x0000000000000001", 1 }, { "i8", "-1", 0xff }, { "i16", "-32768", 0x8000 }, { "i64", "-9223372036854775807", 0x8000000000000001 },
	};
	char body[128];

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct result r;

		snprintf(body, sizeof(body), "store %s %s, ptr addrspace(1) %%p\nret void", row[i].type, row[i].text);
		r = write_kernel("", body);
		cr_assert_eq(r.st, HG_OK, "%s", r.why);
		cr_expect_eq(constant(&r, find(&r, SpvOpStore, 0)[2]), row[i].bits, "%s", body);
		free(r.word);
	}
}

Test(spirv_write, what_the_environment_knows)
{
	struct result r = write_kernel("declare i32 @hg.local.id.0()\ndeclare i32 @hg.local.id.2()\ndeclare i32 @hg.group.id.1()\ndeclare void @hg.barrier()",
				       "%x = call i32 @hg.local.id.0()\n%z = call i32 @hg.local.id.2()\n%y = call i32 @hg.group.id.1()\ncall void @hg.barrier()\n"
				       "%s = icmp eq i32 %z, %x\n%r = select i1 %s, i32 %x, i32 %y\nstore i32 %r, ptr addrspace(1) %p\nret void");

	check(&r, "environment");
	cr_expect_eq(r.version, 0x10000u);
	/* once for both of its components */
	cr_expect_eq(count(&r, SpvOpVariable), 2u);
	cr_expect_not(has_capability(&r, SpvCapabilitySubgroupDispatch));
	free(r.word);
}

Test(spirv_write, lanes)
{
	struct result r = write_kernel("declare i32 @hg.lane()\ndeclare i32 @hg.ballot(i1)\ndeclare i32 @hg.shuffle(i32, i32)\ndeclare i32 @hg.first(i32)",
				       "%l = call i32 @hg.lane()\n%c = icmp ult i32 %l, 7\n%b = call i32 @hg.ballot(i1 %c)\n%s = call i32 @hg.shuffle(i32 %b, i32 %l)\n"
				       "%f = call i32 @hg.first(i32 %s)\nstore i32 %f, ptr addrspace(1) %p\nret void");
	const uint32_t *w = NULL;

	check(&r, "lanes");
	cr_expect_eq(r.version, 0x10300u);
	for (unsigned int i = 0; (w = find(&r, SpvOpExecutionMode, i)) && w[2] != SpvExecutionModeSubgroupSize; i++)
		;
	cr_assert_not_null(w);
	cr_expect_eq(w[3], 32u);
	cr_expect(has_capability(&r, SpvCapabilityGroupNonUniformShuffle));
	free(r.word);
}

Test(spirv_write, what_is_not_in_the_dialect_is_named)
{
	static const struct {
		const char *declaration, *body, *why;
	} row[] = {
		{ "declare float @llvm.sin.f32(float)", "%a = call float @llvm.sin.f32(float 1.0)\nret void", "a call of 'llvm.sin.f32'" },
		{ "declare float @llvm.sqrt.f32(float)", "%a = call float @llvm.sqrt.f32(float 1.0)\nret void", "llvm.sqrt" },
		{ "", "%a = load float, ptr addrspace(1) %p\n%b = fdiv float %a, %a\nret void", "fdiv of less than double" },
		{ "declare void @other()", "call void @other()\nret void", "a call of 'other'" },
		{ "declare i32 @hg.lanes()", "%a = call i32 @hg.lanes()\nret void", "a call of 'hg.lanes'" },
		{ "declare i1 @llvm.ctpop.i1(i1)", "%c = call i1 @llvm.ctpop.i1(i1 true)\nret void", "a call of 'llvm.ctpop.i1'" },
		{ "", "%a = load i37, ptr addrspace(1) %p\nret void", "an integer of 37 bits" },
		{ "", "%a = load i1, ptr addrspace(1) %p\nret void", "a load of i1" },
		{ "", "store i1 true, ptr addrspace(1) %p\nret void", "a store of i1" },
		{ "", "%a = load <2 x i32>, ptr addrspace(1) %p\nret void", "a value of type '<2 x i32>'" },
		{ "", "%a = load i32, ptr addrspace(4) null\nret void", "a pointer of address space 4" },
		{ "", "%a = atomicrmw fadd ptr addrspace(1) %p, float 1.0 monotonic\nret void", "an atomic operation that OpenCL lacks" },
		{ "", "%a = atomicrmw uinc_wrap ptr addrspace(1) %p, i32 1 monotonic\nret void", "an atomic operation that OpenCL lacks" },
		{ "", "%a = atomicrmw add ptr addrspace(1) %p, i16 1 monotonic\nret void", "an atomic operation that OpenCL lacks" },
		{ "", "%a = cmpxchg ptr addrspace(1) %p, i16 1, i16 2 monotonic monotonic\nret void", "compare-and-swap of 16 bits" },
		{ "", "fence syncscope(\"cluster\") acquire\nret void", "scope 'cluster'" },
		{ "@v = external addrspace(1) global i32", "store i32 1, ptr addrspace(1) @v\nret void", "the address of 'v'" },
		{ "define void @second() {\nret void\n}", "ret void", "a second function, 'second'" },
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct result r = write_kernel(row[i].declaration, row[i].body);

		cr_expect_eq(r.st, HG_ERR_UNSUPPORTED, "%s", row[i].body);
		cr_expect_not_null(strstr(r.why, row[i].why), "'%s' for %s", r.why, row[i].body);
		cr_expect_null(r.word);
	}
}

Test(spirv_write, lines)
{
	struct result r = write_kernel("!llvm.dbg.cu = !{!0}\n!llvm.module.flags = !{!2}\n"
				       "!0 = distinct !DICompileUnit(language: DW_LANG_C, file: !1, emissionKind: LineTablesOnly)\n"
				       "!1 = !DIFile(filename: \"a kernel.ptx\", directory: \"\")\n!2 = !{i32 2, !\"Debug Info Version\", i32 3}\n"
				       "!3 = distinct !DISubprogram(name: \"kernel\", file: !1, line: 1, unit: !0, spFlags: DISPFlagDefinition)\n"
				       "!4 = !DILocation(line: 17, scope: !3)\n",
				       "store i32 1, ptr addrspace(1) %p, !dbg !4\nstore i32 2, ptr addrspace(1) %p, !dbg !4\nret void");

	check(&r, "lines");
	cr_expect_eq(r.st, HG_OK);
	free(r.word);
}

/* ---- what is spelt out, executed ---- */

static float to_float(uint64_t v)
{
	float f;

	memcpy(&f, &v, sizeof(f));
	return f;
}

/*
 * Runs a kernel of one block, without pointers but those of its accesses: every load gives `in`. Returns what the last store has. Knows what
 * the tests below need: integers of up to 64 bits, f32.
 */
static uint64_t evaluate(const struct result *r, uint64_t in)
{
	uint64_t v[400] = { 0 }, mask[400] = { 0 }, out = 0;

	cr_assert_lt(r->word[3], 400u);
	for (size_t i = 5; i < r->nr; i += r->word[i] >> 16) {
		const uint32_t *w = r->word + i;
		unsigned int op = *w & 0xffff, n = *w >> 16;
		uint64_t a = n > 3 && w[3] < 400 ? v[w[3]] : 0, b = n > 4 && w[4] < 400 ? v[w[4]] : 0, x;

		switch (op) {
		case SpvOpTypeInt: mask[w[1]] = UINT64_MAX >> (64 - w[2]); continue;
		case SpvOpTypeFloat: mask[w[1]] = UINT64_MAX >> (64 - w[2]); continue;
		case SpvOpTypeBool: mask[w[1]] = 1; continue;
		case SpvOpConstant: x = w[3] | (n > 4 ? (uint64_t)w[4] << 32 : 0); break;
		case SpvOpConstantTrue: x = 1; break;
		case SpvOpConstantFalse: x = 0; break;
		case SpvOpLoad: x = in; break;
		case SpvOpStore: out = v[w[2]]; continue;
		case SpvOpBitwiseAnd: case SpvOpLogicalAnd: x = a & b; break;
		case SpvOpBitwiseOr: case SpvOpLogicalOr: x = a | b; break;
		case SpvOpLogicalNot: x = !a; break;
		case SpvOpLogicalEqual: case SpvOpIEqual: x = a == b; break;
		case SpvOpLogicalNotEqual: case SpvOpINotEqual: x = a != b; break;
		case SpvOpISub: x = a - b; break;
		/* more than the width is not defined: a value that shows */
		case SpvOpShiftLeftLogical: x = mask[w[1]] >> (b & 63) && b < 64 ? a << b : 0xbad; break;
		case SpvOpShiftRightLogical: x = mask[w[1]] >> (b & 63) && b < 64 ? a >> b : 0xbad; break;
		case SpvOpSelect: x = a ? b : v[w[5]]; break;
		case SpvOpUConvert: case SpvOpBitcast: x = a; break;
		case SpvOpFOrdLessThan: x = to_float(a) < to_float(b); break;
		case SpvOpFOrdGreaterThanEqual: x = to_float(a) >= to_float(b); break;
		case SpvOpConvertFToS: case SpvOpConvertFToU:
			cr_assert(to_float(a) >= (op == SpvOpConvertFToS ? -0x1p63f : 0.0f) && to_float(a) < 0x1p64f, "an undefined conversion of %a",
				  (double)to_float(a));
			x = op == SpvOpConvertFToS ? (uint64_t)(int64_t)to_float(a) : (uint64_t)to_float(a);
			break;
		default: continue;
		}
		v[w[2]] = x & (mask[w[1]] ? mask[w[1]] : UINT64_MAX);
	}
	return out;
}

static uint64_t result_of(const char *declaration, const char *body, uint64_t in)
{
	struct result r = write_kernel(declaration, body);
	uint64_t out;

	cr_assert_eq(r.st, HG_OK, "%s", r.why);
	out = evaluate(&r, in);
	free(r.word);
	return out;
}

Test(spirv_write, reversed_bits_and_funnels_are_right)
{
	static const uint64_t value[] = { 0, 1, UINT64_MAX, 0x0123456789abcdef, 0x8000000000000001, 0x5a };
	char declaration[256], body[512];

	for (unsigned int bits = 8; bits <= 64; bits *= 2)
		for (size_t i = 0; i < sizeof(value) / sizeof(*value); i++) {
			uint64_t mask = UINT64_MAX >> (64 - bits), a = value[i] & mask, want = 0, other = 0xa5a5a5a5a5a5a5a5 & mask;

			for (unsigned int k = 0; k < bits; k++)
				want |= (a >> k & 1) << (bits - 1 - k);
			snprintf(declaration, sizeof(declaration), "declare i%u @llvm.bitreverse.i%u(i%u)", bits, bits, bits);
			snprintf(body, sizeof(body), "%%a = load i%u, ptr addrspace(1) %%p\n%%r = call i%u @llvm.bitreverse.i%u(i%u %%a)\n"
				 "store i%u %%r, ptr addrspace(1) %%p\nret void", bits, bits, bits, bits, bits);
			cr_expect_eq(result_of(declaration, body, a), want, "%u bits of %#lx", bits, a);
			for (unsigned int left = 0; left < 2; left++)
				for (unsigned int n = 0; n <= bits; n += n ? bits - 1 : 1) {
					unsigned int m = n % bits;

					want = left ? (m ? a << m | other >> (bits - m) : a) : m ? a << (bits - m) | other >> m : other;
					snprintf(declaration, sizeof(declaration), "declare i%u @llvm.fsh%c.i%u(i%u, i%u, i%u)", bits, left ? 'l' : 'r', bits,
						 bits, bits, bits);
					snprintf(body, sizeof(body), "%%a = load i%u, ptr addrspace(1) %%p\n"
						 "%%r = call i%u @llvm.fsh%c.i%u(i%u %%a, i%u %lld, i%u %u)\nstore i%u %%r, ptr addrspace(1) %%p\nret void", bits, bits,
						 left ? 'l' : 'r', bits, bits, bits, (long long)other, bits, n, bits);
					cr_expect_eq(result_of(declaration, body, a), want & mask, "%u bits of %#lx by %u", bits, a, n);
				}
		}
}

Test(spirv_write, saturated_conversions_are_right_and_defined)
{
	static const float value[] = { 0.0f, -0.0f, 0.75f, -0.75f, 1.5f, -1.5f, 127.9f, 128.0f, -128.9f, 255.9f, 256.0f, 32767.5f, 65536.0f, 2147483520.0f,
				       2147483648.0f, -2147483648.0f, 4294967040.0f, 4294967296.0f, 0x1p63f, -0x1p63f, 0x1.fffffep62f, 0x1p64f, 3e38f, -3e38f };
	static const uint32_t special[] = { 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001 };
	char declaration[128], body[256];

	for (unsigned int bits = 8; bits <= 64; bits *= 2)
		for (size_t i = 0; i < sizeof(value) / sizeof(*value) + 4; i++)
			for (unsigned int is_signed = 0; is_signed < 2; is_signed++) {
				uint64_t top = UINT64_MAX >> (64 - bits), max = is_signed ? top >> 1 : top, min = is_signed ? max + 1 : 0, want;
				uint32_t in = i < 4 ? special[i] : 0;
				double d, high = is_signed ? (double)(UINT64_C(1) << (bits - 1)) : 2.0 * (double)(UINT64_C(1) << (bits - 1));

				if (i >= 4)
					memcpy(&in, &value[i - 4], sizeof(in));
				d = (double)to_float(in);
				want = d != d ? 0 : d >= high ? max : d <= (is_signed ? -high : 0) ? min : is_signed ? (uint64_t)(int64_t)d : (uint64_t)d;
				snprintf(declaration, sizeof(declaration), "declare i%u @llvm.fpto%ci.sat.i%u.f32(float)", bits, is_signed ? 's' : 'u', bits);
				snprintf(body, sizeof(body), "%%a = load float, ptr addrspace(1) %%p\n%%r = call i%u @llvm.fpto%ci.sat.i%u.f32(float %%a)\n"
					 "store i%u %%r, ptr addrspace(1) %%p\nret void", bits, is_signed ? 's' : 'u', bits, bits);
				cr_expect_eq(result_of(declaration, body, in), want & top, "%a to %u bits", d, bits);
			}
}

Test(spirv_write, one_bit_is_compared_as_an_integer_of_one_bit)
{
	static const struct {
		const char *predicate;
		unsigned int is;	/* bit 2 * a + b: whether it holds */
	} row[] = { { "eq", 9 }, { "ne", 6 }, { "ugt", 4 }, { "uge", 13 }, { "ult", 2 }, { "ule", 11 }, { "sgt", 2 }, { "sge", 11 }, { "slt", 4 }, { "sle", 13 } };
	char body[512];

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++)
		for (unsigned int in = 0; in < 4; in++) {
			snprintf(body, sizeof(body), "%%v = load i32, ptr addrspace(1) %%p\n%%b = trunc i32 %%v to i1\n%%h = and i32 %%v, 2\n%%a = icmp ne i32 %%h, 0\n"
				 "%%c = icmp %s i1 %%a, %%b\n%%r = sext i1 %%c to i32\nstore i32 %%r, ptr addrspace(1) %%p\nret void", row[i].predicate);
			cr_expect_eq(result_of("", body, in), row[i].is >> in & 1 ? 0xffffffffu : 0, "%s of %u", row[i].predicate, in);
		}
}

/* ---- the emitter's code ---- */

static void check_kernel(const char *file, const struct ir_func *fn, bool scheduled)
{
	struct emit_gpu_options emit = { .layout = HG_GPU_WAVE32, .scheduled = scheduled, .max_threads = 256,
					 .local_bytes = fn->local_bytes + (fn->uses_stack ? 1024 : 0) };
	struct spirv_write_options opt = { .kernel = "kernel", .max_threads = 256 };
	LLVMContextRef c = LLVMContextCreate();
	LLVMModuleRef m = LLVMModuleCreateWithNameInContext("kernel", c);
	struct result r = { 0 };
	char what[256];
	uint32_t extra_lds;

	snprintf(what, sizeof(what), "%s, kernel '%s', %s", file, fn->name, scheduled ? "scheduled" : "direct");
	r.st = emit_spirv(fn, &emit, c, m, "kernel", &extra_lds, r.why, sizeof(r.why));
	cr_assert_eq(r.st, HG_OK, "%s: %s", what, r.why);
	r.st = spirv_write(m, &opt, &r.word, &r.nr, &r.version, r.why, sizeof(r.why));
	check(&r, what);
	free(r.word);
	LLVMDisposeModule(m);
	LLVMContextDispose(c);
}

Test(spirv_write, kernels_are_valid_in_both_forms, .timeout = 120)
{
	static const char *const file[] = { "tests/ptx/arith.ptx", "tests/ptx/control.ptx", "tests/ptx/functions.ptx", "tests/ptx/memory.ptx",
					    "tests/ptx/grammar.ptx", "tests/ptx/matrix.ptx", "tests/ptx/texture.ptx", "tests/ptx/nvcc13_reduction.ptx", "tests/ptx/nvcc13_cg.ptx",
					    "tests/ptx/nvcc13_histogram.ptx", "tests/ptx/nvcc13_scan.ptx", "tests/ptx/nvcc13_debug_vector_add.ptx" };

	for (size_t i = 0; i < sizeof(file) / sizeof(*file); i++) {
		size_t size;
		char *text = read_test_file(file[i], &size);
		struct hg_module *m = load_text(text);
		struct ir_module *ir;

		cr_assert_eq(hg_expand(hg_module_ir(m), &ir), HG_OK);
		for (uint32_t k = 0; k < ir->nr_funcs; k++)
			for (int scheduled = 0; scheduled < 2 && !ir->func[k].refused; scheduled++)
				check_kernel(file[i], &ir->func[k], scheduled);
		ir_module_free(ir);
		hg_module_free(m);
		free(text);
	}
}
