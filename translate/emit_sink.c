/* emit_sink.c - what only rare code wants is computed there. */
#include "translate/emit.h"

/*
 * Most accesses find their address by one number for the warp; the vector of addresses is for what is left over. LLVM
 * computes it all the same, as several places want it, and moves it to neither. Here it goes to each of them: done last, as most of LLVM's
 * passes would bring it back.
 */
static unsigned int mark_kind(LLVMContextRef c)
{
	return LLVMGetMDKindIDInContext(c, "hgshim.rare", 11);
}

void emit_mark_rare(struct emit *e, LLVMBasicBlockRef bb)
{
	LLVMValueRef node = LLVMMetadataAsValue(e->c, LLVMMDNodeInContext2(e->c, NULL, 0));

	LLVMSetMetadata(LLVMGetBasicBlockTerminator(bb), mark_kind(e->c), node);
}

/* The one block from which this one is reached; NULL: there are several, or none. */
static LLVMBasicBlockRef only_predecessor(LLVMBasicBlockRef bb)
{
	LLVMBasicBlockRef only = NULL;

	for (LLVMUseRef u = LLVMGetFirstUse(LLVMBasicBlockAsValue(bb)); u; u = LLVMGetNextUse(u)) {
		LLVMBasicBlockRef from = LLVMGetInstructionParent(LLVMGetUser(u));

		if (only && only != from)
			return NULL;
		only = from;
	}
	return only;
}

/* The rare block that this one is or follows; NULL: neither. */
static LLVMBasicBlockRef rare_root(LLVMBasicBlockRef bb, unsigned int kind)
{
	for (unsigned int i = 0; bb && i < 4; i++, bb = only_predecessor(bb))
		if (LLVMGetMetadata(LLVMGetBasicBlockTerminator(bb), kind))
			return bb;
	return NULL;
}

static bool is_movable(LLVMValueRef v)
{
	if (LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMVectorTypeKind || !LLVMGetFirstUse(v))
		return false;
	switch (LLVMGetInstructionOpcode(v)) {
	case LLVMAdd: case LLVMSub: case LLVMMul: case LLVMShl: case LLVMLShr: case LLVMAnd: case LLVMOr: case LLVMXor:
	case LLVMSExt: case LLVMZExt: case LLVMTrunc: case LLVMIntToPtr: case LLVMInsertElement: case LLVMShuffleVector:
		return true;
	default:
		return false;
	}
}

#define MAX_ROOTS 16

/* The rare blocks that want v; 0: others do as well, or it is one's own, or too many. */
static unsigned int find_roots(LLVMValueRef v, unsigned int kind, LLVMBasicBlockRef root[MAX_ROOTS])
{
	LLVMBasicBlockRef own = rare_root(LLVMGetInstructionParent(v), kind);
	unsigned int nr = 0, i;

	for (LLVMUseRef u = LLVMGetFirstUse(v); u; u = LLVMGetNextUse(u)) {
		LLVMValueRef user = LLVMGetUser(u);
		LLVMBasicBlockRef r;

		if (LLVMIsAPHINode(user))
			return 0;
		r = rare_root(LLVMGetInstructionParent(user), kind);
		if (!r || r == own)
			return 0;
		for (i = 0; i < nr && root[i] != r; i++)
			;
		if (i == MAX_ROOTS)
			return 0;
		if (i == nr)
			root[nr++] = r;
	}
	return nr;
}

static LLVMValueRef first_insn(LLVMBasicBlockRef bb)
{
	LLVMValueRef v = LLVMGetFirstInstruction(bb);

	while (LLVMIsAPHINode(v))
		v = LLVMGetNextInstruction(v);
	return v;
}

static void move_to(LLVMBuilderRef b, LLVMValueRef v, LLVMBasicBlockRef root, unsigned int kind)
{
	LLVMValueRef copy = LLVMInstructionClone(v);
	LLVMUseRef u, next;

	LLVMPositionBuilderBefore(b, first_insn(root));
	LLVMInsertIntoBuilder(b, copy);
	for (u = LLVMGetFirstUse(v); u; u = next) {
		LLVMValueRef user = LLVMGetUser(u);

		next = LLVMGetNextUse(u);
		if (rare_root(LLVMGetInstructionParent(user), kind) != root)
			continue;
		for (unsigned int i = 0; i < (unsigned int)LLVMGetNumOperands(user); i++)
			if (LLVMGetOperand(user, i) == v) {
				LLVMSetOperand(user, i, copy);
				break;
			}
	}
}

/* True when something moved. */
static bool sink_once(LLVMBuilderRef b, LLVMValueRef f, unsigned int kind)
{
	LLVMBasicBlockRef root[MAX_ROOTS];
	bool any = false;

	for (LLVMBasicBlockRef bb = LLVMGetLastBasicBlock(f); bb; bb = LLVMGetPreviousBasicBlock(bb)) {
		LLVMValueRef v, before;

		for (v = LLVMGetLastInstruction(bb); v; v = before) {
			unsigned int nr = is_movable(v) ? find_roots(v, kind, root) : 0;

			before = LLVMGetPreviousInstruction(v);
			if (!nr)
				continue;
			for (unsigned int i = 0; i < nr; i++)
				move_to(b, v, root[i], kind);
			LLVMInstructionEraseFromParent(v);
			any = true;
		}
	}
	return any;
}

void emit_sink(LLVMValueRef f)
{
	LLVMContextRef c = LLVMGetModuleContext(LLVMGetGlobalParent(f));
	LLVMBuilderRef b = LLVMCreateBuilderInContext(c);

	while (sink_once(b, f, mark_kind(c)))
		;
	LLVMDisposeBuilder(b);
}
