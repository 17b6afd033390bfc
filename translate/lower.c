/* lower.c - PTX functions into hgIR kernels: linking, inlining, the control-flow graph, the final form. */
#include "translate/lower.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- messages -------------------------------------------------------------------------------- */
/* The instruction's text with blanks folded, for messages. */
static void insn_text(const struct ptx_insn *in, char *buf, size_t size)
{
	size_t o = 0;
	bool blank = false;

	for (uint32_t i = 0; i < in->size && o + 4 < size; i++) {
		unsigned char c = (unsigned char)in->text[i];

		if (c <= ' ') {
			blank = o > 0;
			continue;
		}
		if (blank)
			buf[o++] = ' ';
		blank = false;
		buf[o++] = c > 126 ? '?' : (char)c;
		if (o > 120) {
			memcpy(buf + o, "…", 3);
			o += 3;
			break;
		}
	}
	buf[o] = 0;
}

/* For whoever asks what a kernel lacks: an instruction of a function that is inlined often counts once. */
static void note_refusal(struct lower *l, const char *why, const char *text)
{
	for (uint32_t i = 0; i < l->nr_refusals; i++)
		if (l->refused_insn[i] == l->in)
			return;
	if (l->nr_refusals == LOWER_MAX_REFUSALS) {
		l->is_hopeless = true;
		return;
	}
	if (!lower_grow(l, (void **)&l->refusal, l->nr_refusals, &l->cap_refusals, sizeof(*l->refusal)) ||
	    !lower_grow(l, (void **)&l->refused_insn, l->nr_refusals, &l->cap_refused_insns, sizeof(*l->refused_insn)))
		return;
	l->refused_insn[l->nr_refusals] = l->in;
	l->refusal[l->nr_refusals++] = (struct ir_refusal){
		.line = l->in ? l->in->line : l->kernel->sym->line,
		.function = l->inst && lower_in_function(l) ? hg_pool_strdup(l->pool, l->inst->fn->sym->name) : NULL,
		.insn = text ? hg_pool_strdup(l->pool, text) : NULL,
		.why = hg_pool_strdup(l->pool, why),
	};
}

/* Whether lower_body can look at the next instruction, though it will come to nothing. */
static bool go_on(struct lower *l)
{
	if (l->st || l->tmp->failed || l->pool->failed || l->is_hopeless)
		return false;
	l->refused = NULL;
	return true;
}

void lower_refuse(struct lower *l, const char *fmt, ...)
{
	char why[256], text[160], where[160] = "";
	va_list ap;

	if (lower_stopped(l))
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (l->in)
		insn_text(l->in, text, sizeof(text));
	note_refusal(l, why, l->in ? text : NULL);
	if (l->first_refused) {
		l->refused = l->first_refused;
		return;
	}
	if (l->inst && lower_in_function(l))
		snprintf(where, sizeof(where), " in '%.100s'", l->inst->fn->sym->name);
	if (l->in) {
		l->refused = hg_pool_printf(l->pool, "kernel '%s', line %" PRIu32 "%s: '%s': %s", l->kernel->sym->name,
					    l->in->line, where, text, why);
	} else {
		l->refused = hg_pool_printf(l->pool, "kernel '%s', line %" PRIu32 "%s: %s", l->kernel->sym->name,
					    l->kernel->sym->line, where, why);
	}
	if (!l->refused)
		l->st = HG_ERR_NOMEM;
	l->first_refused = l->refused;
}

void lower_bad(struct lower *l, const struct ptx_opd *at, const char *fmt, ...)
{
	char why[256], text[160];
	va_list ap;

	if (lower_stopped(l))
		return;
	/* What looks wrong behind an instruction that was left out may be right. */
	if (l->first_refused) {
		l->refused = l->first_refused;
		l->is_hopeless = true;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	insn_text(l->in, text, sizeof(text));
	l->st = HG_ERR_INVALID;
	ptx_log_add(l->log, true, "PTX line %" PRIu32 ", column %" PRIu32 ": '%s': %s", at ? at->line : l->in->line,
		    at ? at->column : l->in->column, text, why);
}

/* --- building -------------------------------------------------------------------------------- */
bool lower_grow(struct lower *l, void **array, uint32_t nr, uint32_t *capacity, size_t size)
{
	uint32_t want;
	void *bigger;

	if (nr < *capacity)
		return true;
	want = *capacity ? *capacity * 2 : 8;
	bigger = want > *capacity ? hg_pool_grow(l->tmp, *array, nr, want, size) : NULL;
	if (!bigger) {
		l->tmp->failed = 1;
		return false;
	}
	*array = bigger;
	*capacity = want;
	return true;
}

static bool more_regs(struct lower *l, uint32_t nr)
{
	uint32_t want;

	if (nr <= l->cap_regs - l->fn->nr_regs)
		return true;
	if (nr > LOWER_MAX_REGS || l->fn->nr_regs > LOWER_MAX_REGS - nr) {
		l->is_hopeless = true;
		lower_refuse(l, "too many registers");
		return false;
	}
	want = (l->fn->nr_regs + nr) * 2;
	l->fn->reg_type = hg_pool_grow(l->tmp, l->fn->reg_type, l->fn->nr_regs, want, sizeof(*l->fn->reg_type));
	l->cap_regs = want;
	return l->fn->reg_type != NULL;
}

ir_reg lower_reg(struct lower *l, enum ir_type class)
{
	if (!more_regs(l, 1))
		return 0;
	l->fn->reg_type[l->fn->nr_regs] = ir_type_class(class);
	return l->fn->nr_regs++;
}

uint32_t lower_new_block(struct lower *l)
{
	if (!lower_grow(l, (void **)&l->block, l->nr_blocks, &l->cap_blocks, sizeof(*l->block)))
		return 0;
	l->block[l->nr_blocks] = (struct lower_block){ 0 };
	return l->nr_blocks++;
}

struct ir_insn *lower_emit(struct lower *l, enum ir_op op, enum ir_type type, unsigned int nr_dst, unsigned int nr_src)
{
	struct lower_block *b;
	struct lower_insn *in;

	if (lower_stopped(l))
		return NULL;
	if (l->nr_insns++ >= LOWER_MAX_INSNS) {
		l->is_hopeless = true;
		lower_refuse(l, "more than %" PRIu32 " instructions", LOWER_MAX_INSNS);
		return NULL;
	}
	b = &l->block[l->cur];
	if (!lower_grow(l, (void **)&b->insn, b->nr, &b->capacity, sizeof(*b->insn)))
		return NULL;
	in = &b->insn[b->nr];
	*in = (struct lower_insn){ .from = l->in };
	in->ir.op = (uint16_t)op;
	in->ir.type = (uint8_t)type;
	in->ir.guard = l->guard;
	in->ir.guard_neg = l->guard_neg;
	in->ir.line = l->in ? l->in->line : 0;
	in->ir.nr_dst = (uint8_t)nr_dst;
	in->ir.nr_src = (uint8_t)nr_src;
	in->ir.dst = hg_pool_array(l->tmp, nr_dst, sizeof(*in->ir.dst));
	in->ir.src = hg_pool_array(l->tmp, nr_src, sizeof(*in->ir.src));
	if (l->tmp->failed)
		return NULL;
	b->nr++;
	return &in->ir;
}

void lower_bra(struct lower *l, uint32_t to)
{
	struct ir_insn *in;

	l->guard = IR_NO_REG;
	l->guard_neg = false;
	in = lower_emit(l, IR_bra, IR_NONE, 0, 0);
	if (in)
		in->target[0] = to;
}

void lower_cbra(struct lower *l, ir_reg pred, bool neg, uint32_t yes, uint32_t no)
{
	struct ir_insn *in;

	l->guard = IR_NO_REG;
	l->guard_neg = false;
	in = lower_emit(l, IR_cbra, IR_NONE, 0, 1);
	if (!in)
		return;
	in->src[0] = (struct ir_operand){ .kind = IR_OPD_REG, .reg = pred };
	in->target[0] = neg ? no : yes;
	in->target[1] = neg ? yes : no;
}

void lower_split(struct lower *l)
{
	uint32_t b = lower_new_block(l);

	lower_bra(l, b);
	l->cur = b;
}

static uint32_t block_of_label(struct lower *l, uint32_t label)
{
	uint32_t *b = &l->inst->label_block[label];

	if (*b == UINT32_MAX)
		*b = lower_new_block(l);
	return *b;
}

struct ptx_sym *lower_resolve(struct ptx_sym *sym)
{
	/* Aliases among weak functions of several modules might go in a circle. */
	for (int steps = 0; sym->link && steps < 100; steps++)
		sym = sym->link;
	return sym;
}

uint32_t lower_label(struct lower *l, const struct ptx_opd *o)
{
	struct ptx_sym *sym = o->kind == PTX_OPD_SYM ? lower_resolve(o->sym) : NULL;

	if (!sym || sym->kind != PTX_SYM_LABEL || !sym->is_defined) {
		lower_bad(l, o, "expected a label");
		return 0;
	}
	return block_of_label(l, sym->label);
}

/*
 * The number that stands for a function. Each set of functions has numbers of its own, so that one that came from another module
 * is none of those that a call compares with, and not some other function.
 */
static uint64_t function_address(const struct lower *l, const struct ptx_func *fn)
{
	return UINT64_C(0xf00000000000) + ((uint64_t)(l->targets_hash & 0xfffff) << 24) + UINT64_C(16) * fn->address;
}

/* --- variables ------------------------------------------------------------------------------- */
static uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

/* A variable's place in the kernel's shared or local window, or in the frame of code `frame`. */
static uint64_t window_offset(struct lower *l, struct ptx_var *v, uint64_t *bytes, uint32_t frame)
{
	if (v->epoch != l->epoch || v->frame != frame) {
		v->epoch = l->epoch;
		v->frame = frame;
		v->offset = align_up(*bytes, v->align ? v->align : 1);
		*bytes = v->offset + v->size;
		if (v->space == PTX_LOCAL && v->align > l->local_align)
			l->local_align = v->align;
		if (frame && v->align > l->stack_align)
			l->stack_align = v->align;
		if (*bytes > UINT32_MAX / 2)
			lower_refuse(l, "more than 2 GiB of shared or local memory");
	}
	return v->offset;
}

#define RESERVED_BYTES 1024	/* what CUDA takes of each block's shared memory, too */

uint32_t lower_reserved(struct lower *l)
{
	if (!l->has_reserved) {
		l->has_reserved = true;
		l->reserved = (uint32_t)align_up(l->shared_bytes, 128);
		l->shared_bytes = (uint64_t)l->reserved + RESERVED_BYTES;
	}
	return l->reserved;
}

uint32_t lower_storage(struct lower *l, const struct ptx_var *v)
{
	uint32_t *s = &l->inst->storage[v->index];

	if (*s == UINT32_MAX) {
		if (!lower_grow(l, (void **)&l->storage, l->nr_storages, &l->cap_storages, sizeof(*l->storage)))
			return 0;
		l->storage[l->nr_storages] = (struct lower_storage){ .size = v->size, .align = v->align, .like = l->nr_storages,
			.owner = l->code[l->owner].is_framed ? l->owner : 0 };
		*s = l->nr_storages++;
	}
	return *s;
}

bool lower_var_address(struct lower *l, const struct ptx_opd *o, struct ptx_sym *sym, uint64_t offset, struct ir_operand *out,
		       enum ir_space *space)
{
	struct ptx_var *v;

	sym = lower_resolve(sym);
	*out = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG };
	if (sym->kind == PTX_SYM_FUNC) {
		if (!sym->func || !sym->func->address) {
			lower_refuse(l, "the address of a function that is defined nowhere, or of a kernel, is not supported");
			return false;
		}
		out->imm = function_address(l, sym->func) + offset;
		*space = IR_GENERIC;
		return true;
	}
	if (sym->kind != PTX_SYM_VAR) {
		if (sym->kind == PTX_SYM_LABEL && sym->is_defined)
			lower_refuse(l, "the address of a label is not supported");
		else
			lower_bad(l, o, "'%s' is not a variable", sym->name);
		return false;
	}
	v = &sym->var;
	if (v->refused) {
		lower_refuse(l, "variable '%s': %s", sym->name, v->refused);
		return false;
	}
	switch (v->space) {
	case PTX_GLOBAL: case PTX_CONST:
		if (!sym->is_defined) {
			lower_refuse(l, "variable '%s' is defined nowhere", sym->name);
			return false;
		}
		out->kind = IR_OPD_VAR;
		out->index = v->index;
		out->imm = offset;
		*space = v->space == PTX_CONST ? IR_CONST : IR_GLOBAL;
		return true;
	case PTX_SHARED:
		*space = IR_SHARED;
		if (sym->is_extern) {
			if (v->align > l->dynamic_align)
				l->dynamic_align = v->align;
			out->kind = IR_OPD_VAR;
			out->index = LOWER_DYNAMIC_SHARED;
			out->imm = offset;
		} else {
			out->imm = window_offset(l, v, &l->shared_bytes, 0) + offset;
		}
		return true;
	case PTX_LOCAL:
		*space = IR_LOCAL;
		if (l->code[l->owner].is_framed) {
			out->kind = IR_OPD_VAR;
			out->index = LOWER_FRAME | l->owner;
			out->imm = window_offset(l, v, &l->code[l->owner].frame_bytes, l->owner) + offset;
		} else {
			out->imm = window_offset(l, v, &l->local_bytes, 0) + offset;
		}
		return true;
	case PTX_PARAM:
		if (v->owner == l->kernel && v->epoch == l->epoch) {
			*space = IR_PARAM;
			out->imm = v->offset + offset;
			return true;
		}
		if (v->owner != l->inst->fn) {
			lower_bad(l, o, "'%s' is a parameter of another function", sym->name);
			return false;
		}
		*space = IR_LOCAL;
		out->kind = IR_OPD_VAR;
		out->index = LOWER_STORAGE | lower_storage(l, v);
		out->imm = offset;
		return true;
	default:
		lower_bad(l, o, "'%s' has no address", sym->name);
		return false;
	}
}

/* --- calls ----------------------------------------------------------------------------------- */
/*
 * Most functions have no code of their own here (lower_real.c is about those that have). The address of one is a number that stands
 * for it, and a call through a pointer compares with those it might be.
 */
struct lower_inst *lower_new_inst(struct lower *l, struct ptx_func *fn, struct lower_inst *parent)
{
	struct lower_inst *i = hg_pool_alloc(l->tmp, sizeof(*i));

	if (!i || !more_regs(l, fn->nr_regs))
		return NULL;
	i->parent = parent;
	i->fn = fn;
	i->depth = parent ? parent->depth + 1 : 0;
	i->old_sp = IR_NO_REG;
	i->reg_base = l->fn->nr_regs;
	for (uint32_t r = 0; r < fn->nr_regs; r++)
		l->fn->reg_type[l->fn->nr_regs++] = fn->reg_class[r];
	i->label_block = hg_pool_array(l->tmp, fn->nr_labels, sizeof(*i->label_block));
	i->storage = hg_pool_array(l->tmp, fn->nr_param_vars, sizeof(*i->storage));
	if (l->tmp->failed)
		return NULL;
	for (uint32_t b = 0; b < fn->nr_labels; b++)
		i->label_block[b] = UINT32_MAX;
	for (uint32_t b = 0; b < fn->nr_param_vars; b++)
		i->storage[b] = UINT32_MAX;
	return i;
}

static bool mov_operand(struct lower *l, ir_reg dst, const struct ir_operand *src)
{
	enum ir_type class = l->fn->reg_type[dst];
	struct ir_insn *in = lower_emit(l, IR_mov, class, 1, 1);

	if (!in)
		return false;
	in->dst[0] = dst;
	in->src[0] = *src;
	return true;
}

/* A kernel's parameter that is handed on as it is: into the storage that the callee gets. */
static bool copy_param(struct lower *l, const struct ptx_var *v, uint32_t storage)
{
	for (uint64_t at = 0, n; at < v->size && !lower_stopped(l); at += n) {
		struct ir_operand to = { .kind = IR_OPD_VAR, .reg = IR_NO_REG, .index = LOWER_STORAGE | storage, .imm = at };
		struct ir_operand zero = { .kind = IR_OPD_IMM, .reg = IR_NO_REG }, from = zero, value = { .kind = IR_OPD_REG };
		struct ir_insn *in;
		enum ir_type type;

		for (n = 8; n > v->size - at || at % n || n > (v->align ? v->align : 1); n /= 2)
			;
		type = n == 8 ? IR_B64 : n == 4 ? IR_B32 : n == 2 ? IR_B16 : IR_B8;
		value.reg = lower_reg(l, type == IR_B8 ? IR_B16 : type);
		from.imm = v->offset + at;
		in = lower_emit(l, IR_ld, type, 1, 2);
		if (!in)
			return false;
		in->space = IR_PARAM;
		in->dst[0] = value.reg;
		in->src[0] = from;
		in->src[1] = zero;
		in = lower_emit(l, IR_st, type, 0, 3);
		if (!in)
			return false;
		in->space = IR_LOCAL;
		in->src[0] = to;
		in->src[1] = zero;
		in->src[2] = value;
	}
	return !lower_stopped(l);
}

bool lower_actual(struct lower *l, const struct ptx_sym *formal, const struct ptx_opd *actual, bool is_result,
		  struct lower_actual *out)
{
	struct ptx_sym *sym = actual->kind == PTX_OPD_SYM ? lower_resolve(actual->sym) : NULL;
	unsigned int bits;

	*out = (struct lower_actual){ .value.kind = IR_OPD_REG, .storage = UINT32_MAX };
	if (formal->kind == PTX_SYM_REG) {
		if (actual->kind == PTX_OPD_REG) {
			out->value.reg = l->inst->reg_base + actual->reg;
			bits = ir_type_bits(l->fn->reg_type[out->value.reg]);
		} else if (actual->kind == PTX_OPD_INT && !is_result) {
			out->value.kind = IR_OPD_IMM;
			bits = ir_type_bits(formal->class);
			out->value.imm = bits < 64 ? actual->imm & ((UINT64_C(1) << bits) - 1) : actual->imm;
		} else {
			lower_refuse(l, "this way of passing an argument is not supported");
			return false;
		}
		if (bits != ir_type_bits(formal->class)) {
			lower_bad(l, actual, "argument of %u bits, '%s' has %u", bits, formal->name, ir_type_bits(formal->class));
			return false;
		}
		return true;
	}
	if (!sym || sym->kind != PTX_SYM_VAR || sym->var.space != PTX_PARAM || sym->var.owner != l->inst->fn) {
		lower_refuse(l, "this way of passing an argument is not supported");
		return false;
	}
	out->storage = lower_storage(l, &sym->var);
	if (sym->var.epoch == l->epoch && sym->var.owner == l->kernel) {
		if (!is_result)
			return copy_param(l, &sym->var, out->storage);
		lower_bad(l, actual, "'%s' is a parameter of the kernel, which cannot be changed", sym->name);
		return false;
	}
	return !l->tmp->failed;
}

/* One argument or result of an inlined call: formal (the callee's) and actual (the caller's). */
static bool bind(struct lower *l, struct lower_inst *callee, struct ptx_sym *formal, const struct ptx_opd *actual,
		 bool is_result, bool after)
{
	struct ir_operand value = { .kind = IR_OPD_REG, .reg = callee->reg_base + formal->reg };
	struct lower_actual a;

	if (formal->kind == PTX_SYM_REG ? is_result != after : after)
		return true;
	if (!lower_actual(l, formal, actual, is_result, &a))
		return false;
	if (a.storage == UINT32_MAX)
		return is_result ? mov_operand(l, a.value.reg, &value) : mov_operand(l, value.reg, &a.value);
	/* The larger of the two says how much local memory it may need. */
	if (formal->var.size > l->storage[a.storage].size)
		l->storage[a.storage].size = formal->var.size;
	if (formal->var.align > l->storage[a.storage].align)
		l->storage[a.storage].align = formal->var.align;
	callee->storage[formal->var.index] = a.storage;
	return true;
}

/* A call of fn from the current block on, which is afterwards where it returns to. */
static void call_function(struct lower *l, struct ptx_func *fn, const struct ptx_opd *args, const struct ptx_opd *rets)
{
	struct lower_inst *caller = l->inst, *callee;
	const struct ptx_insn *call = l->in;

	if (fn->refused) {
		lower_refuse(l, "function '%s': %s", fn->sym->name, fn->refused);
		return;
	}
	if (fn->is_real) {
		lower_real_call(l, fn, args, rets);
		return;
	}
	if (caller->depth >= LOWER_MAX_DEPTH) {
		lower_refuse(l, "calls are nested too deeply");
		return;
	}
	callee = lower_new_inst(l, fn, caller);
	if (!callee)
		return;
	callee->return_block = lower_new_block(l);
	for (uint32_t a = 0; a < fn->nr_params; a++)
		if (!bind(l, callee, fn->param[a], &args->elem[a], false, false))
			return;
	for (uint32_t r = 0; r < fn->nr_rets; r++)
		if (!bind(l, callee, fn->ret[r], &rets->elem[r], true, false))
			return;
	l->inst = callee;
	if (fn->has_alloca)
		callee->old_sp = lower_op(l, IR_mov, IR_U32, IR_NO_REG, 1, &(struct ir_operand){ .kind = IR_OPD_REG, .reg = lower_sp(l) });
	lower_body(l);
	if (lower_stopped(l))
		return;
	l->inst = caller;
	l->in = call;
	l->guard = IR_NO_REG;
	l->cur = callee->return_block;
	if (fn->has_alloca)
		lower_op(l, IR_mov, IR_U32, lower_sp(l), 1, &(struct ir_operand){ .kind = IR_OPD_REG, .reg = callee->old_sp });
	for (uint32_t r = 0; r < fn->nr_rets; r++)
		if (!bind(l, callee, fn->ret[r], &rets->elem[r], true, true))
			return;
}

static bool fits(const struct ptx_func *fn, const struct ptx_opd *args, const struct ptx_opd *rets)
{
	return (args ? args->nr_elems : 0) == fn->nr_params && (rets ? rets->nr_elems : 0) == fn->nr_rets;
}

/* Whether an argument may be meant for this parameter: both have the same size. */
static bool same_size(const struct ptx_func *caller, const struct ptx_sym *formal, const struct ptx_opd *actual)
{
	const struct ptx_sym *sym = actual->kind == PTX_OPD_SYM ? lower_resolve(actual->sym) : NULL;

	if (formal->kind == PTX_SYM_REG)
		return actual->kind != PTX_OPD_REG || caller->reg_class[actual->reg] == (uint8_t)formal->class;
	return sym && sym->kind == PTX_SYM_VAR && sym->var.space == PTX_PARAM && sym->var.size == formal->var.size;
}

bool lower_suits(const struct ptx_func *caller, const struct ptx_func *fn, const struct lower_callee *c)
{
	bool suits = fits(fn, c->args, c->rets);

	for (uint32_t a = 0; suits && a < fn->nr_params; a++)
		suits = same_size(caller, fn->param[a], &c->args->elem[a]);
	for (uint32_t r = 0; suits && r < fn->nr_rets; r++)
		suits = same_size(caller, fn->ret[r], &c->rets->elem[r]);
	return suits;
}

/* A call through a pointer: one of the functions whose address is taken anywhere and that this call would suit. */
static void indirect_call(struct lower *l, ir_reg pointer, const struct lower_callee *c)
{
	uint32_t done = lower_new_block(l), nr = 0;

	if (l->fn->reg_type[pointer] != IR_B64) {
		lower_bad(l, NULL, "the pointer to a function has 64 bits");
		return;
	}
	for (uint32_t i = 0; i < l->nr_targets && !lower_stopped(l); i++) {
		struct ptx_func *fn = l->target[i];
		struct ir_insn *in;
		uint32_t here, next;
		ir_reg p;

		if (!lower_suits(l->inst->fn, fn, c))
			continue;
		nr++;
		here = lower_new_block(l);
		next = lower_new_block(l);
		p = lower_reg(l, IR_PRED);
		in = lower_emit(l, IR_setp, IR_B64, 1, 2);
		if (!in)
			return;
		in->cmp = IR_EQ;
		in->dst[0] = p;
		in->src[0] = (struct ir_operand){ .kind = IR_OPD_REG, .reg = pointer };
		in->src[1] = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG, .imm = function_address(l, fn) };
		lower_cbra(l, p, false, here, next);
		l->cur = here;
		call_function(l, fn, c->args, c->rets);
		lower_bra(l, done);
		l->cur = next;
	}
	if (!nr)
		lower_refuse(l, "no function that this call could reach has its address taken");
	lower_emit(l, IR_trap, IR_NONE, 0, 0);
	lower_bra(l, done);
	l->cur = done;
}

/* An argument of a function that the driver has, of 64 or 32 bits. */
static bool system_argument(struct lower *l, const struct ptx_opd *o, enum ir_type type, struct ir_operand *out)
{
	struct ptx_sym *sym = o->kind == PTX_OPD_SYM ? lower_resolve(o->sym) : NULL;
	struct ir_insn *in;

	*out = (struct ir_operand){ .kind = IR_OPD_REG };
	if (o->kind == PTX_OPD_REG && l->fn->reg_type[l->inst->reg_base + o->reg] == type) {
		out->reg = l->inst->reg_base + o->reg;
		return true;
	}
	if (!sym || sym->kind != PTX_SYM_VAR || sym->var.space != PTX_PARAM || sym->var.owner != l->inst->fn ||
	    (sym->var.epoch == l->epoch && sym->var.owner == l->kernel) || sym->var.size * 8 != ir_type_bits(type)) {
		lower_refuse(l, "this way of passing an argument is not supported");
		return false;
	}
	out->reg = lower_reg(l, type);
	in = lower_emit(l, IR_ld, type, 1, 2);
	if (!in)
		return false;
	in->space = IR_LOCAL;
	in->dst[0] = out->reg;
	in->src[0] = (struct ir_operand){ .kind = IR_OPD_VAR, .reg = IR_NO_REG, .index = LOWER_STORAGE | lower_storage(l, &sym->var) };
	in->src[1] = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG };
	return true;
}

/* Where such a function's 32-bit result goes. */
static void system_result(struct lower *l, const struct ptx_opd *o, ir_reg value)
{
	struct ptx_sym *sym = o->kind == PTX_OPD_SYM ? lower_resolve(o->sym) : NULL;
	struct ir_operand v = { .kind = IR_OPD_REG, .reg = value };
	struct ir_insn *in;

	if (o->kind == PTX_OPD_REG && l->fn->reg_type[l->inst->reg_base + o->reg] == IR_B32) {
		mov_operand(l, l->inst->reg_base + o->reg, &v);
		return;
	}
	if (!sym || sym->kind != PTX_SYM_VAR || sym->var.space != PTX_PARAM || sym->var.owner != l->inst->fn ||
	    (sym->var.epoch == l->epoch && sym->var.owner == l->kernel) || sym->var.size != 4) {
		lower_refuse(l, "this way of passing a result is not supported");
		return;
	}
	in = lower_emit(l, IR_st, IR_B32, 0, 3);
	if (!in)
		return;
	in->space = IR_LOCAL;
	in->src[0] = (struct ir_operand){ .kind = IR_OPD_VAR, .reg = IR_NO_REG, .index = LOWER_STORAGE | lower_storage(l, &sym->var) };
	in->src[1] = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG };
	in->src[2] = v;
}

static void call_vprintf(struct lower *l, const struct ptx_opd *args, const struct ptx_opd *rets)
{
	struct ir_operand src[2];
	struct ir_insn *in;
	ir_reg count;

	if (!args || args->nr_elems != 2 || (rets && rets->nr_elems > 1)) {
		lower_bad(l, NULL, "'vprintf' takes 2 arguments and gives 1 result");
		return;
	}
	for (unsigned int i = 0; i < 2; i++)
		if (!system_argument(l, &args->elem[i], IR_B64, &src[i]))
			return;
	count = lower_reg(l, IR_B32);
	in = lower_emit(l, IR_vprintf, IR_B64, 1, 2);
	if (!in)
		return;
	in->dst[0] = count;
	in->src[0] = src[0];
	in->src[1] = src[1];
	if (rets && rets->nr_elems)
		system_result(l, &rets->elem[0], count);
}

/* message, file, line, function, size of a character */
static void call_assertfail(struct lower *l, const struct ptx_opd *args)
{
	struct ir_operand src[4];
	struct ir_insn *in;

	if (!args || args->nr_elems != 5) {
		lower_bad(l, NULL, "'__assertfail' takes 5 arguments");
		return;
	}
	for (unsigned int i = 0; i < 4; i++)
		if (!system_argument(l, &args->elem[i], i == 2 ? IR_B32 : IR_B64, &src[i]))
			return;
	in = lower_emit(l, IR_assertfail, IR_B64, 0, 4);
	for (unsigned int i = 0; in && i < 4; i++)
		in->src[i] = src[i];
}

bool lower_call_operands(const struct ptx_insn *in, struct lower_callee *out)
{
	uint32_t i = 0;

	*out = (struct lower_callee){ 0 };
	if (i < in->nr_opds && in->opd[i].kind == PTX_OPD_LIST)
		out->rets = &in->opd[i++];
	if (i == in->nr_opds)
		return false;
	out->callee = &in->opd[i++];
	if (i < in->nr_opds && in->opd[i].kind == PTX_OPD_LIST)
		out->args = &in->opd[i];
	return true;
}

void lower_call(struct lower *l)
{
	const struct ptx_opd *rets, *args, *callee_opd;
	struct lower_callee c;
	struct ptx_sym *sym;
	struct ptx_func *fn;

	if (!lower_call_operands(l->in, &c)) {
		lower_bad(l, NULL, "the function to call is missing");
		return;
	}
	rets = c.rets;
	args = c.args;
	callee_opd = c.callee;
	if (callee_opd->kind == PTX_OPD_REG) {
		indirect_call(l, l->inst->reg_base + callee_opd->reg, &c);
		return;
	}
	sym = callee_opd->kind == PTX_OPD_SYM ? lower_resolve(callee_opd->sym) : NULL;
	if (!sym || sym->kind != PTX_SYM_FUNC) {
		lower_bad(l, callee_opd, "expected a function");
		return;
	}
	fn = sym->func;
	if (!fn || !fn->has_body) {
		if (!strcmp(sym->name, "__assertfail"))
			call_assertfail(l, args);
		else if (!strcmp(sym->name, "vprintf"))
			call_vprintf(l, args, rets);
		else
			lower_refuse(l, "function '%s' is defined nowhere", sym->name);
		return;
	}
	if (fn->is_entry)
		lower_refuse(l, "a kernel cannot be called");
	else if (!fits(fn, args, rets))
		lower_bad(l, NULL, "'%s' takes %" PRIu32 " arguments and gives %" PRIu32 " results", sym->name, fn->nr_params,
			  fn->nr_rets);
	else
		call_function(l, fn, args, rets);
}

/* The instructions of l->inst, from the current block on; the current block is ended when it returns. */
void lower_body(struct lower *l)
{
	struct ptx_func *fn = l->inst->fn;

	for (uint32_t i = 0; i < fn->nr_insns && go_on(l); i++) {
		const struct ptx_insn *in = &fn->insn[i];

		if (in->op == PTX_W_NONE) {
			uint32_t b = block_of_label(l, in->label);

			l->in = in->text ? in : l->in;
			lower_bra(l, b);
			l->cur = b;
			continue;
		}
		l->in = in;
		lower_insn(l);
	}
	/* Running off the end is a return. */
	if (go_on(l))
		lower_bra(l, l->inst->return_block);
}

/* --- parameters of inlined calls ------------------------------------------------------------- */
static bool is_storage(const struct ir_operand *o)
{
	return o->kind == IR_OPD_VAR && o->index & LOWER_STORAGE;
}

static unsigned int data_count(const struct ir_insn *in)
{
	return in->op == IR_ld ? in->nr_dst : in->nr_src - 2u;
}

static struct lower_storage *layout_of(const struct lower *l, uint32_t s)
{
	while (l->storage[s].like != s)
		s = l->storage[s].like;
	return &l->storage[s];
}

/* A place for it in memory: in the local window, or in the frame of its code. */
static bool place_storage(struct lower *l, struct lower_storage *st, const struct lower_storage *layout)
{
	uint64_t *bytes = st->owner ? &l->code[st->owner].frame_bytes : &l->local_bytes;
	uint64_t at = align_up(*bytes, layout->align > 16 ? layout->align : 16), size = align_up(layout->size, 8);

	if (at + size > UINT32_MAX / 2) {
		lower_refuse(l, "more than 2 GiB of local memory");
		return false;
	}
	st->offset = (uint32_t)at;
	*bytes = at + size;
	if (layout->align > l->local_align)
		l->local_align = layout->align;
	if (st->owner && layout->align > l->stack_align)
		l->stack_align = layout->align;
	return true;
}

/* Every access makes, or finds, its slot; storages with anything else go to memory. */
static void collect_slots(struct lower *l)
{
	for (uint32_t s = 0; s < l->nr_storages; s++) {
		struct lower_storage *to = layout_of(l, s);

		if (l->storage[s].size > to->size)
			to->size = l->storage[s].size;
		if (l->storage[s].align > to->align)
			to->align = l->storage[s].align;
	}
	for (uint32_t b = 0; b < l->nr_blocks; b++) {
		for (uint32_t i = 0; i < l->block[b].nr; i++) {
			const struct ir_insn *in = &l->block[b].insn[i].ir;
			unsigned int bytes = (ir_type_bits(in->type) + 7) / 8;

			for (unsigned int s = 0; s < in->nr_src; s++)
				if (is_storage(&in->src[s]) && (s || (in->op != IR_ld && in->op != IR_st)))
					layout_of(l, in->src[s].index & ~LOWER_STORAGE)->in_memory = true;
			if ((in->op != IR_ld && in->op != IR_st) || !is_storage(&in->src[0]))
				continue;
			struct lower_storage *st = layout_of(l, in->src[0].index & ~LOWER_STORAGE);
			uint64_t offset = in->src[0].imm + in->src[1].imm;

			for (unsigned int d = 0; d < data_count(in) && !st->in_memory; d++, offset += bytes) {
				uint32_t k;

				if (offset >= st->size || bytes > st->size - offset) {
					st->in_memory = true;
					break;
				}
				for (k = 0; k < st->nr_slots; k++)
					if (offset < st->slot[k].offset + st->slot[k].bits / 8 &&
					    st->slot[k].offset < offset + bytes)
						break;
				if (k < st->nr_slots) {
					if (st->slot[k].offset != offset || st->slot[k].bits != bytes * 8)
						st->in_memory = true;
					continue;
				}
				/* A structure too large for registers is better off in memory anyway. */
				if (st->nr_slots >= 64 || !lower_grow(l, (void **)&st->slot, st->nr_slots, &st->cap_slots, sizeof(*st->slot))) {
					st->in_memory = true;
					break;
				}
				st->slot[st->nr_slots++] = (struct lower_slot){ (uint32_t)offset, bytes * 8 };
			}
		}
	}
	for (uint32_t s = 0; s < l->nr_storages && !lower_stopped(l); s++) {
		struct lower_storage *st = &l->storage[s];
		const struct lower_storage *layout = layout_of(l, s);

		st->in_memory = layout->in_memory;
		if (st->in_memory) {
			if (!place_storage(l, st, layout))
				return;
			continue;
		}
		st->slot = layout->slot;
		st->nr_slots = layout->nr_slots;
		st->reg = hg_pool_array(l->tmp, st->nr_slots, sizeof(*st->reg));
		if (!st->reg)
			return;
		for (uint32_t k = 0; k < st->nr_slots; k++)
			st->reg[k] = lower_reg(l, st->slot[k].bits <= 16 ? IR_B16 : st->slot[k].bits == 32 ? IR_B32 :
					       st->slot[k].bits == 64 ? IR_B64 : IR_B128);
	}
}

static enum ir_type int_type(unsigned int bits, bool is_signed)
{
	switch (bits) {
	case 8: return is_signed ? IR_S8 : IR_U8;
	case 16: return is_signed ? IR_S16 : IR_U16;
	case 32: return is_signed ? IR_S32 : IR_U32;
	default: return is_signed ? IR_S64 : IR_U64;
	}
}

static enum ir_type bits_type(unsigned int bits)
{
	return bits <= 16 ? IR_B16 : bits == 32 ? IR_B32 : bits == 64 ? IR_B64 : IR_B128;
}

/* Datum d of a load from or a store to registers. */
static void slot_access(struct lower *l, const struct lower_insn *from, unsigned int d)
{
	const struct ir_insn *in = &from->ir;
	struct lower_storage *st = &l->storage[in->src[0].index & ~LOWER_STORAGE];
	unsigned int bits = ir_type_bits(in->type);
	uint64_t offset = in->src[0].imm + in->src[1].imm + d * ((bits + 7) / 8);
	bool is_load = in->op == IR_ld;
	struct ir_operand src;
	unsigned int src_bits, dst_bits;
	struct ir_insn *out;
	uint32_t k = 0;
	ir_reg dst;

	while (k + 1 < st->nr_slots && st->slot[k].offset != offset)
		k++;
	if (is_load) {
		dst = in->dst[d];
		if (dst == IR_NO_REG)
			return;
		src = (struct ir_operand){ .kind = IR_OPD_REG, .reg = st->reg[k] };
	} else {
		dst = st->reg[k];
		src = in->src[2 + d];
	}
	dst_bits = ir_type_bits(l->fn->reg_type[dst]);
	src_bits = src.kind == IR_OPD_REG ? ir_type_bits(l->fn->reg_type[src.reg]) : dst_bits;
	l->in = from->from;
	l->guard = in->guard;
	l->guard_neg = in->guard_neg;
	if (src.kind == IR_OPD_IMM && bits < 64)
		src.imm &= (UINT64_C(1) << bits) - 1;
	if (is_load && (bits < dst_bits)) {
		out = lower_emit(l, IR_cvt, int_type(dst_bits, ir_type_is_signed(in->type)), 1, 1);
		if (out)
			out->type2 = (uint8_t)int_type(bits, ir_type_is_signed(in->type));
	} else if (src_bits > dst_bits) {
		out = lower_emit(l, IR_cvt, int_type(dst_bits, false), 1, 1);
		if (out)
			out->type2 = (uint8_t)int_type(src_bits, false);
	} else {
		out = lower_emit(l, IR_mov, bits_type(dst_bits), 1, 1);
	}
	if (out) {
		out->dst[0] = dst;
		out->src[0] = src;
	}
}

/* --- the final form -------------------------------------------------------------------------- */
static struct ir_insn *terminator(const struct lower_block *b)
{
	return &b->insn[b->nr - 1].ir;
}

/* Code after a terminator cannot be reached. */
static void cut_blocks(struct lower *l)
{
	for (uint32_t b = 0; b < l->nr_blocks; b++)
		for (uint32_t i = 0; i < l->block[b].nr; i++)
			if (ir_op_desc[l->block[b].insn[i].ir.op].flags & IR_F_TERM) {
				l->block[b].nr = i + 1;
				break;
			}
}

/* Where control goes that reaches b: behind blocks that do nothing. */
static uint32_t thread(const struct lower *l, uint32_t b)
{
	for (uint32_t steps = 0; steps < 64; steps++) {
		const struct lower_block *blk = &l->block[b];

		if (blk->nr != 1 || blk->insn[0].ir.op != IR_bra || blk->insn[0].ir.target[0] == b)
			break;
		b = blk->insn[0].ir.target[0];
	}
	return b;
}

static void thread_blocks(struct lower *l)
{
	for (uint32_t b = 0; b < l->nr_blocks; b++) {
		struct ir_insn *t;

		if (!l->block[b].nr)
			continue;
		t = terminator(&l->block[b]);
		if (t->op == IR_brx)
			for (uint32_t i = 0; i < t->nr_targets; i++)
				t->targets[i] = thread(l, t->targets[i]);
		else
			for (uint32_t i = 0; i < ir_nr_targets(t); i++)
				t->target[i] = thread(l, t->target[i]);
		if (t->op == IR_cbra && t->target[0] == t->target[1]) {
			t->op = IR_bra;
			t->nr_src = 0;
		}
	}
}

static bool begins_with_sync(const struct lower_block *b)
{
	return ir_op_desc[b->insn[0].ir.op].flags & IR_F_SYNC;
}

static bool ends_with_barrier(const struct lower_block *b)
{
	return b->nr > 1 && ir_op_desc[b->insn[b->nr - 2].ir.op].flags & IR_F_BARRIER;
}

/* What becomes of the numbers of the temporary form. */
struct finish {
	uint32_t *chain;	/* block that is appended to this one; UINT32_MAX: none */
	uint32_t *head_of;	/* block whose chain this one is in */
	uint32_t *place;	/* final number of a head */
	uint32_t *order;
	uint32_t nr_places;
	ir_reg *reg;		/* final register; IR_NO_REG: unused */
};

static bool chain_blocks(struct lower *l, struct finish *f)
{
	uint32_t *preds = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*preds));
	uint32_t *todo = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*todo)), nr_todo = 0;
	bool *reached = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*reached));

	f->chain = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*f->chain));
	f->head_of = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*f->head_of));
	if (l->tmp->failed)
		return false;
	todo[nr_todo++] = 0;
	reached[0] = true;
	preds[0] = 2;	/* the entry is no one's continuation */
	while (nr_todo) {
		const struct ir_insn *t = terminator(&l->block[todo[--nr_todo]]);

		for (uint32_t i = 0; i < ir_nr_targets(t); i++) {
			uint32_t to = ir_target(t, i);

			if (preds[to] < 2)
				preds[to]++;
			if (!reached[to]) {
				reached[to] = true;
				todo[nr_todo++] = to;
			}
		}
	}
	for (uint32_t b = 0; b < l->nr_blocks; b++) {
		f->chain[b] = UINT32_MAX;
		f->head_of[b] = UINT32_MAX;
	}
	for (uint32_t b = 0; b < l->nr_blocks; b++) {
		const struct ir_insn *t = l->block[b].nr ? terminator(&l->block[b]) : NULL;

		if (!reached[b] || t->op != IR_bra || ends_with_barrier(&l->block[b]))
			continue;
		if (preds[t->target[0]] == 1 && !begins_with_sync(&l->block[t->target[0]]) && t->target[0] != b) {
			f->chain[b] = t->target[0];
			f->head_of[t->target[0]] = b;	/* its predecessor, until the order is known */
		}
	}
	/* Heads are reached blocks that nobody continues in; a chain has one. */
	for (uint32_t b = 0; b < l->nr_blocks; b++) {
		if (!reached[b] || f->head_of[b] != UINT32_MAX)
			continue;
		f->head_of[b] = b;
		for (uint32_t c = f->chain[b]; c != UINT32_MAX; c = f->chain[c])
			f->head_of[c] = b;
	}
	return true;
}

static const struct ir_insn *chain_end(const struct lower *l, const struct finish *f, uint32_t head)
{
	uint32_t b = head;

	while (f->chain[b] != UINT32_MAX)
		b = f->chain[b];
	return terminator(&l->block[b]);
}

static bool order_blocks(struct lower *l, struct finish *f)
{
	uint32_t *node = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*node));	/* head -> graph node */
	uint32_t *head = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*head)), nr = 0, nr_edges = 0;
	struct lower_graph g;
	uint32_t *first, *succ;

	if (l->tmp->failed)
		return false;
	for (uint32_t b = 0; b < l->nr_blocks; b++)
		if (f->head_of[b] == b) {
			node[b] = nr;
			head[nr++] = b;
			nr_edges += ir_nr_targets(chain_end(l, f, b));
		}
	first = hg_pool_array(l->tmp, (size_t)nr + 1, sizeof(*first));
	succ = hg_pool_array(l->tmp, nr_edges, sizeof(*succ));
	f->order = hg_pool_array(l->tmp, nr, sizeof(*f->order));
	f->place = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*f->place));
	if (l->tmp->failed)
		return false;
	nr_edges = 0;
	for (uint32_t n = 0; n < nr; n++) {
		const struct ir_insn *t = chain_end(l, f, head[n]);

		first[n] = nr_edges;
		/* The last one first: then a branch not taken stays next to its branch. */
		for (uint32_t i = ir_nr_targets(t); i-- > 0;)
			succ[nr_edges++] = node[f->head_of[ir_target(t, i)]];
	}
	first[nr] = nr_edges;
	g = (struct lower_graph){ .nr = nr, .first = first, .succ = succ };
	if (!lower_order(l->tmp, &g, f->order, &f->nr_places))
		return false;
	for (uint32_t i = 0; i < f->nr_places; i++) {
		f->order[i] = head[f->order[i]];
		f->place[f->order[i]] = i;
	}
	return true;
}

/* The letter of ir_ops.def that stands beside source i. */
static char source_letter(const struct ir_insn *in, unsigned int i)
{
	const char *l = ir_op_desc[in->op].src;

	for (unsigned int k = 0; k < i && *l; k++)
		if (l[1] != '*')
			l += l[1] == '?' ? 2 : 1;
	return *l;
}

struct constant { uint32_t nr_defs, nr_uses; bool is_constant; uint64_t value; };

static void note_defs(struct constant *c, const struct ir_insn *in)
{
	for (unsigned int d = 0; d < in->nr_dst; d++)
		if (in->dst[d] != IR_NO_REG) {
			c[in->dst[d]].nr_defs++;
			c[in->dst[d]].is_constant = in->op == IR_mov && in->guard == IR_NO_REG &&
				in->src[0].kind == IR_OPD_IMM;
			c[in->dst[d]].value = in->op == IR_mov ? in->src[0].imm : 0;
		}
	if (in->guard != IR_NO_REG)
		c[in->guard].nr_uses++;
	for (unsigned int s = 0; s < in->nr_src; s++)
		if (in->src[s].kind == IR_OPD_REG)
			c[in->src[s].reg].nr_uses++;
}

static void put_constants(const struct constant *c, struct ir_insn *in)
{
	if (ir_op_desc[in->op].flags & IR_F_TERM)
		return;
	for (unsigned int s = 0; s < in->nr_src; s++) {
		struct ir_operand *o = &in->src[s];
		char letter = source_letter(in, s);
		uint64_t v;

		if (o->kind != IR_OPD_REG || !c[o->reg].is_constant || c[o->reg].nr_defs != 1 || letter == 'n')
			continue;
		v = c[o->reg].value;
		if (o->negated)
			v = !v;
		if (letter == 'x' && ir_type_bits(in->type) < 64)
			v &= (UINT64_C(1) << ir_type_bits(in->type)) - 1;
		if (letter == 'y' && ir_type_bits(in->type2) < 64)
			v &= (UINT64_C(1) << ir_type_bits(in->type2)) - 1;
		*o = (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG, .imm = v };
	}
}

/* Addresses that had to wait for the layout of the windows. */
static void put_addresses(struct lower *l, const struct finish *f, struct ir_func *out, uint64_t dynamic_shared)
{
	for (uint32_t p = 0; p < f->nr_places; p++)
		for (uint32_t b = f->order[p]; b != UINT32_MAX; b = f->chain[b])
			for (uint32_t i = 0; i < l->block[b].nr; i++) {
				struct ir_insn *in = &l->block[b].insn[i].ir;

				for (unsigned int s = 0; s < in->nr_src; s++) {
					struct ir_operand *o = &in->src[s];

					if (o->kind != IR_OPD_VAR)
						continue;
					if (o->index == LOWER_DYNAMIC_SHARED) {
						out->uses_dynamic_shared = true;
						o->imm += dynamic_shared;
					} else if (is_storage(o)) {
						o->imm += l->storage[o->index & ~LOWER_STORAGE].offset;
					} else if (o->index == LOWER_STACK) {
						o->imm += out->local_bytes;
					} else if (o->index >= LOWER_SLACK) {
						o->imm += l->code[o->index & ~LOWER_SLACK].slack;
					} else {
						continue;
					}
					o->kind = IR_OPD_IMM;
					o->index = 0;
					/* A 32-bit address wraps. */
					if (in->op == IR_mov && ir_type_bits(in->type) == 32)
						o->imm &= UINT32_MAX;
				}
			}
}

/*
 * Registers that are written once, with a constant, become that constant: emitters then see member masks,
 * barrier numbers and shuffle distances.
 */
static bool fold_constants(struct lower *l, const struct finish *f)
{
	for (int round = 0; round < 3; round++) {
		struct constant *c = hg_pool_array(l->tmp, l->fn->nr_regs, sizeof(*c));

		if (!c)
			return false;
		for (int step = 0; step < 2; step++)
			for (uint32_t p = 0; p < f->nr_places; p++)
				for (uint32_t b = f->order[p]; b != UINT32_MAX; b = f->chain[b])
					for (uint32_t i = 0; i < l->block[b].nr; i++) {
						struct lower_insn *in = &l->block[b].insn[i];

						if (in->is_dead)
							continue;
						if (!step)
							note_defs(c, &in->ir);
						else if (in->ir.op == IR_mov && !c[in->ir.dst[0]].nr_uses)
							in->is_dead = true;
						else
							put_constants(c, &in->ir);
					}
	}
	return true;
}

static void use_reg(const struct finish *f, ir_reg r)
{
	if (r != IR_NO_REG)
		f->reg[r] = 0;
}

static void renumber_regs(struct lower *l, struct finish *f, struct ir_func *out)
{
	static const enum ir_type classes[] = { IR_PRED, IR_B16, IR_B32, IR_B64, IR_B128 };

	for (uint32_t r = 0; r < l->fn->nr_regs; r++)
		f->reg[r] = IR_NO_REG;
	for (uint32_t p = 0; p < f->nr_places; p++)
		for (uint32_t b = f->order[p]; b != UINT32_MAX; b = f->chain[b])
			for (uint32_t i = 0; i < l->block[b].nr; i++) {
				const struct ir_insn *in = &l->block[b].insn[i].ir;

				if (l->block[b].insn[i].is_dead)
					continue;
				use_reg(f, in->guard);
				for (unsigned int d = 0; d < in->nr_dst; d++)
					use_reg(f, in->dst[d]);
				for (unsigned int s = 0; s < in->nr_src; s++)
					if (in->src[s].kind == IR_OPD_REG)
						use_reg(f, in->src[s].reg);
			}
	for (size_t c = 0; c < sizeof(classes) / sizeof(classes[0]); c++)
		for (uint32_t r = 0; r < l->fn->nr_regs; r++)
			if (f->reg[r] != IR_NO_REG && l->fn->reg_type[r] == classes[c])
				f->reg[r] = out->nr_regs++;
	out->reg_type = hg_pool_array(l->pool, out->nr_regs, sizeof(*out->reg_type));
	if (!out->reg_type)
		return;
	for (uint32_t r = 0; r < l->fn->nr_regs; r++)
		if (f->reg[r] != IR_NO_REG)
			out->reg_type[f->reg[r]] = l->fn->reg_type[r];
}

/* Copies one instruction into the result, with final numbers. */
static bool finish_insn(struct lower *l, const struct finish *f, struct ir_func *out, const struct lower_insn *from,
			struct ir_insn *to)
{
	char why[200];

	*to = from->ir;
	if (to->guard != IR_NO_REG)
		to->guard = f->reg[to->guard];
	to->dst = hg_pool_array(l->pool, to->nr_dst, sizeof(*to->dst));
	to->src = hg_pool_array(l->pool, to->nr_src, sizeof(*to->src));
	if (to->nr_targets)
		to->targets = hg_pool_array(l->pool, to->nr_targets, sizeof(*to->targets));
	if (l->pool->failed)
		return false;
	for (unsigned int d = 0; d < to->nr_dst; d++)
		to->dst[d] = from->ir.dst[d] == IR_NO_REG ? IR_NO_REG : f->reg[from->ir.dst[d]];
	for (unsigned int s = 0; s < to->nr_src; s++) {
		struct ir_operand *o = &to->src[s];

		*o = from->ir.src[s];
		if (o->kind == IR_OPD_REG) {
			o->reg = f->reg[o->reg];
			continue;
		}
		o->reg = IR_NO_REG;
		if (o->kind == IR_OPD_SREG && (o->index == IR_SREG_ENVREG1 || o->index == IR_SREG_ENVREG2))
			out->uses_grid_sync = true;
	}
	for (unsigned int t = 0; t < ir_nr_targets(to); t++) {
		uint32_t place = f->place[f->head_of[ir_target(&from->ir, t)]];

		if (to->op == IR_brx)
			to->targets[t] = place;
		else
			to->target[t] = place;
	}
	if (!ir_check_insn(l->m, out, to, why, sizeof(why))) {
		static const struct ptx_insn none;

		l->in = from->from ? from->from : &none;
		lower_bad(l, NULL, "%s", why);
		return false;
	}
	return true;
}

/* Registers whose value is used as an address, backwards to the parameters they came from. */
static void find_pointers(struct lower *l, struct ir_func *fn)
{
	bool *address = hg_pool_array(l->tmp, fn->nr_regs, sizeof(*address));
	bool changed = true;

	if (!address)
		return;
	for (int round = 0; changed && round < 100; round++) {
		changed = false;
		for (uint32_t b = fn->nr_blocks; b-- > 0;)
			for (uint32_t i = fn->block[b].nr_insns; i-- > 0;) {
				const struct ir_insn *in = &fn->block[b].insn[i];
				bool is_memory = in->op == IR_ld || in->op == IR_st || in->op == IR_atom;
				uint32_t use = 0;	/* sources that are addresses, too */

				if (is_memory && in->space != IR_SHARED && in->space != IR_LOCAL && in->space != IR_PARAM)
					use = 1;
				else if (in->op == IR_cvta_to || in->op == IR_isspacep)
					use = 1;
				else if (in->nr_dst && in->dst[0] != IR_NO_REG && address[in->dst[0]])
					switch (in->op) {
					case IR_mov: case IR_sub: use = 1; break;
					case IR_add: case IR_selp: case IR_slct: case IR_min: case IR_max:
					case IR_and: case IR_or: use = 3; break;
					case IR_mad: use = 4; break;
					}
				for (unsigned int s = 0; s < in->nr_src && s < 3; s++) {
					const struct ir_operand *o = &in->src[s];

					if (use >> s & 1 && o->kind == IR_OPD_REG && fn->reg_type[o->reg] == IR_B64 &&
					    !address[o->reg])
						changed = address[o->reg] = true;
				}
			}
	}
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			const struct ir_insn *in = &fn->block[b].insn[i];
			uint64_t offset;

			if (in->op != IR_ld || in->space != IR_PARAM || in->src[0].kind != IR_OPD_IMM ||
			    ir_type_bits(in->type) != 64)
				continue;
			offset = in->src[0].imm + in->src[1].imm;
			for (unsigned int d = 0; d < in->nr_dst; d++, offset += 8)
				for (uint32_t p = 0; p < fn->nr_params && in->dst[d] != IR_NO_REG; p++)
					if (fn->param[p].offset == offset && fn->param[p].size == 8 && address[in->dst[d]])
						fn->param[p].is_pointer = true;
		}
}

static bool is_slot_access(const struct lower *l, const struct ir_insn *in)
{
	return (in->op == IR_ld || in->op == IR_st) && is_storage(&in->src[0]) &&
	       !l->storage[in->src[0].index & ~LOWER_STORAGE].in_memory;
}

void lower_finish(struct lower *l, struct ir_func *out)
{
	struct finish f = { 0 };

	thread_blocks(l);
	if (!chain_blocks(l, &f))
		return;
	if (lower_stopped(l) || !order_blocks(l, &f))
		return;
	put_addresses(l, &f, out, out->shared_bytes);
	f.reg = hg_pool_array(l->tmp, l->fn->nr_regs, sizeof(*f.reg));
	if (!f.reg || !fold_constants(l, &f))
		return;
	renumber_regs(l, &f, out);
	out->block = hg_pool_array(l->pool, f.nr_places, sizeof(*out->block));
	if (l->pool->failed)
		return;
	out->nr_blocks = f.nr_places;
	for (uint32_t p = 0; p < f.nr_places; p++) {
		struct ir_block *blk = &out->block[p];
		uint32_t nr = 0;

		for (uint32_t b = f.order[p]; b != UINT32_MAX; b = f.chain[b])
			nr += l->block[b].nr - (f.chain[b] != UINT32_MAX);
		blk->insn = hg_pool_array(l->pool, nr, sizeof(*blk->insn));
		if (!blk->insn)
			return;
		for (uint32_t b = f.order[p]; b != UINT32_MAX; b = f.chain[b])
			for (uint32_t i = 0; i < l->block[b].nr - (f.chain[b] != UINT32_MAX); i++)
				if (!l->block[b].insn[i].is_dead && !finish_insn(l, &f, out, &l->block[b].insn[i], &blk->insn[blk->nr_insns++]))
					return;
	}
	find_pointers(l, out);
}

/* From temporary blocks to the kernel in its final form. */
static void finish_kernel(struct lower *l, struct ir_func *out)
{
	uint64_t shared = l->shared_bytes;

	cut_blocks(l);
	l->in = NULL;
	collect_slots(l);
	if (lower_stopped(l))
		return;
	/* Accesses to parameters of calls become moves, which may be more than there were. */
	for (uint32_t b = 0; b < l->nr_blocks; b++) {
		struct lower_block old = l->block[b];
		bool any = false;

		for (uint32_t i = 0; i < old.nr && !any; i++)
			any = is_slot_access(l, &old.insn[i].ir) || lower_needs_frame(l, &old.insn[i].ir);
		if (!any)
			continue;
		l->block[b] = (struct lower_block){ 0 };
		l->cur = b;
		for (uint32_t i = 0; i < old.nr && !lower_stopped(l); i++) {
			const struct ir_insn *in = &old.insn[i].ir;
			struct lower_block *blk = &l->block[b];

			if (is_slot_access(l, in)) {
				for (unsigned int d = 0; d < data_count(in); d++)
					slot_access(l, &old.insn[i], d);
				continue;
			}
			if (lower_needs_frame(l, in)) {
				lower_frame_access(l, &old.insn[i]);
				continue;
			}
			if (!lower_grow(l, (void **)&blk->insn, blk->nr, &blk->capacity, sizeof(*blk->insn)))
				return;
			blk->insn[blk->nr++] = old.insn[i];
		}
	}
	out->local_bytes = (uint32_t)align_up(l->local_bytes, l->local_align > l->stack_align ? l->local_align : l->stack_align);
	lower_finish_calls(l);
	if (lower_stopped(l))
		return;
	out->uses_stack = l->sp != IR_NO_REG;
	if (l->dynamic_align)
		shared = align_up(shared, l->dynamic_align);
	out->shared_bytes = (uint32_t)shared;
	out->needs_zeroed_shared = l->has_reserved;
	lower_finish(l, out);
}

static void lower_params(struct lower *l, struct ptx_func *fn, struct ir_func *out)
{
	uint64_t at = 0;

	out->nr_params = fn->nr_params;
	out->param = hg_pool_array(l->pool, fn->nr_params, sizeof(*out->param));
	if (!out->param)
		return;
	for (uint32_t i = 0; i < fn->nr_params; i++) {
		struct ptx_var *v = &fn->param[i]->var;

		if (fn->param[i]->kind != PTX_SYM_VAR) {
			lower_refuse(l, "parameters of kernels cannot be registers");
			return;
		}
		v->epoch = l->epoch;
		v->offset = at = align_up(at, v->align ? v->align : 1);
		at += v->size;
		if (at > 65536) {
			lower_refuse(l, "more than 64 KiB of parameters");
			return;
		}
		out->param[i] = (struct hg_param){ .offset = (uint32_t)v->offset, .size = (uint32_t)v->size,
						   .align = v->align, .is_pointer = v->is_pointer };
		if (v->refused)
			lower_refuse(l, "parameter '%s': %s", fn->param[i]->name, v->refused);
	}
	out->param_bytes = (uint32_t)at;
}

static void lower_kernel(struct lower *l, struct ptx_func *fn, struct ir_func *out)
{
	struct ir_func scratch = { 0 };

	l->tmp = hg_pool_create();
	if (!l->tmp) {
		l->st = HG_ERR_NOMEM;
		return;
	}
	l->kernel = fn;
	l->fn = &scratch;
	l->refused = l->first_refused = NULL;
	l->is_hopeless = false;
	l->refusal = NULL;
	l->refused_insn = NULL;
	l->nr_refusals = l->cap_refusals = l->cap_refused_insns = 0;
	l->epoch++;
	l->cap_regs = l->nr_insns = l->nr_blocks = l->cap_blocks = l->nr_storages = l->cap_storages = 0;
	l->block = NULL;
	l->storage = NULL;
	l->shared_bytes = l->local_bytes = 0;
	l->dynamic_align = 0;
	l->has_reserved = false;
	l->local_align = l->stack_align = 16;
	l->nr_sites = l->cap_sites = l->nr_codes = l->cap_codes = l->owner = 0;
	l->code = NULL;
	l->site = NULL;
	l->sp = IR_NO_REG;
	l->cc = IR_NO_REG;
	l->in = NULL;
	l->inst = NULL;
	l->guard = IR_NO_REG;
	l->guard_neg = false;
	out->name = hg_pool_strdup(l->pool, fn->sym->name);
	out->line = fn->sym->line;
	out->max_threads = fn->max_threads;
	memcpy(out->req_threads, fn->req_threads, sizeof(out->req_threads));
	lower_params(l, fn, out);
	if (fn->refused)
		lower_refuse(l, "%s", fn->refused);
	if (!lower_stopped(l) && lower_grow(l, (void **)&l->code, 0, &l->cap_codes, sizeof(*l->code))) {
		l->code[l->nr_codes++] = (struct lower_code){ .fn = fn, .fp = IR_NO_REG };
		l->inst = lower_new_inst(l, fn, NULL);
		l->cur = lower_new_block(l);
	}
	if (l->inst && !lower_stopped(l)) {
		uint32_t exit_block = l->inst->return_block = lower_new_block(l);

		lower_body(l);
		lower_codes(l);
		l->refused = l->first_refused;
		l->cur = exit_block;
		l->in = NULL;
		lower_emit(l, IR_exit, IR_NONE, 0, 0);
		if (!lower_stopped(l))
			finish_kernel(l, out);
	}
	if (!l->st && (l->tmp->failed || l->pool->failed))
		l->st = HG_ERR_NOMEM;
	if (l->refused) {
		out->refused = (char *)l->refused;
		out->refusal = hg_pool_copy(l->pool, l->refusal, l->nr_refusals * sizeof(*l->refusal));
		out->nr_refusals = out->refusal ? l->nr_refusals : 0;
		out->nr_blocks = out->nr_regs = 0;
		out->uses_dynamic_shared = out->uses_grid_sync = out->needs_zeroed_shared = out->uses_stack = false;
		out->shared_bytes = out->local_bytes = 0;
		ptx_log_add(l->log, false, "%s", l->refused);
	}
	l->refused = NULL;
	hg_pool_destroy(l->tmp);
	l->tmp = NULL;
}

/* --- linking --------------------------------------------------------------------------------- */
static int by_name(const void *a, const void *b)
{
	const struct ptx_sym *x = *(struct ptx_sym *const *)a, *y = *(struct ptx_sym *const *)b;
	int c = strcmp(x->name, y->name);

	/* The one that counts first: defined before not, strong before weak, larger before smaller. */
	if (c)
		return c;
	if (x->is_defined != y->is_defined)
		return x->is_defined ? -1 : 1;
	if ((x->is_weak || x->is_common) != (y->is_weak || y->is_common))
		return x->is_weak || x->is_common ? 1 : -1;
	if (x->kind == PTX_SYM_VAR && y->kind == PTX_SYM_VAR && x->var.size != y->var.size)
		return x->var.size > y->var.size ? -1 : 1;
	return x < y ? -1 : x > y;
}

static enum hg_status link_modules(struct ptx_module **module, size_t nr, struct ptx_log *log, struct hg_pool *tmp)
{
	struct ptx_sym **all;
	size_t nr_all = 0, used = 0;

	for (size_t i = 0; i < nr; i++)
		nr_all += module[i]->nr_syms;
	all = hg_pool_array(tmp, nr_all, sizeof(struct ptx_sym *));
	if (!all)
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < nr; i++)
		for (uint32_t s = 0; s < module[i]->nr_syms; s++) {
			struct ptx_sym *sym = module[i]->sym[s];

			/* A dynamic shared array is every block's own. */
			if (sym->kind == PTX_SYM_VAR && sym->var.space == PTX_SHARED)
				continue;
			if (sym->is_visible || sym->is_extern || sym->is_weak || sym->is_common || (sym->kind == PTX_SYM_FUNC &&
			    !sym->is_defined))
				all[used++] = sym;
		}
	qsort(all, used, sizeof(struct ptx_sym *), by_name);
	for (size_t i = 0, j; i < used; i = j) {
		for (j = i + 1; j < used && !strcmp(all[i]->name, all[j]->name); j++) {
			if (all[i]->kind != all[j]->kind && all[j]->is_defined) {
				ptx_log_add(log, true, "'%s' is a variable in one module and a function in another",
					    all[i]->name);
				return HG_ERR_INVALID;
			}
			if (all[j]->is_defined && !all[j]->is_weak && !all[j]->is_common && !all[i]->is_weak && !all[i]->is_common) {
				ptx_log_add(log, true, "'%s' is defined twice, in line %" PRIu32 " and in line %" PRIu32
					    " of another module", all[i]->name, all[i]->line, all[j]->line);
				return HG_ERR_INVALID;
			}
			all[j]->link = all[i];
		}
	}
	return HG_OK;
}

static bool take_address(struct lower *l, struct hg_pool *tmp, struct ptx_sym *sym, uint32_t *capacity)
{
	struct ptx_func *fn;

	sym = lower_resolve(sym);
	fn = sym->kind == PTX_SYM_FUNC ? sym->func : NULL;
	if (!fn || !fn->has_body || fn->is_entry || fn->address)
		return true;
	if (l->nr_targets == *capacity) {
		*capacity = *capacity ? *capacity * 2 : 64;
		l->target = hg_pool_grow(tmp, l->target, l->nr_targets, *capacity, sizeof(struct ptx_func *));
		if (!l->target)
			return false;
	}
	l->target[l->nr_targets++] = fn;
	fn->address = l->nr_targets;
	for (const char *c = fn->sym->name; *c; c++)
		l->targets_hash = (l->targets_hash ^ (unsigned char)*c) * 16777619;
	l->targets_hash = (l->targets_hash ^ fn->nr_insns) * 16777619;
	return true;
}

/* Numbers the functions whose address is taken, by code or by a variable. */
static enum hg_status number_targets(struct lower *l, struct ptx_module **module, size_t nr, struct hg_pool *tmp)
{
	uint32_t capacity = 0;

	for (size_t i = 0; i < nr; i++)
		for (uint32_t s = 0; s < module[i]->nr_syms; s++) {
			const struct ptx_sym *sym = module[i]->sym[s];
			const struct ptx_func *fn = sym->kind == PTX_SYM_FUNC ? sym->func : NULL;

			for (size_t k = 0; sym->kind == PTX_SYM_VAR && k < sym->var.nr_relocs; k++)
				if (!take_address(l, tmp, sym->var.reloc[k].sym, &capacity))
					return HG_ERR_NOMEM;
			for (uint32_t k = 0; fn && k < fn->nr_insns; k++) {
				const struct ptx_insn *in = &fn->insn[k];

				if ((in->op == PTX_W_mov || in->op == PTX_W_cvta || in->op == PTX_W_st) && in->nr_opds == 2 &&
				    in->opd[1].kind == PTX_OPD_SYM && !take_address(l, tmp, in->opd[1].sym, &capacity))
					return HG_ERR_NOMEM;
			}
		}
	return HG_OK;
}

static int name_order(const void *a, const void *b)
{
	return strcmp((*(struct ir_var *const *)a)->name, (*(struct ir_var *const *)b)->name);
}

/* Names are unique in a module, so that its text form can use them. */
static bool unique_names(struct ir_module *m, struct hg_pool *tmp)
{
	struct ir_var **v = hg_pool_array(tmp, m->nr_vars, sizeof(struct ir_var *));

	if (!v)
		return false;
	for (uint32_t i = 0; i < m->nr_vars; i++)
		v[i] = &m->var[i];
	qsort(v, m->nr_vars, sizeof(struct ir_var *), name_order);
	for (uint32_t i = 0, j; i < m->nr_vars; i = j) {
		for (j = i + 1; j < m->nr_vars && !strcmp(v[i]->name, v[j]->name); j++)
			;
		for (uint32_t k = i, n = 1; k < j && j - i > 1; k++)
			if (!v[k]->is_visible)
				v[k]->name = hg_pool_printf(m->pool, "%s.%" PRIu32, v[k]->name, n++);
	}
	return !m->pool->failed;
}

static enum hg_status lower_vars(const struct lower *l, struct ptx_module **module, size_t nr, struct hg_pool *tmp)
{
	struct ir_module *m = l->m;
	uint32_t nr_vars = 0;

	for (int pass = 0; pass < 2; pass++) {
		if (pass) {
			m->var = hg_pool_array(m->pool, nr_vars, sizeof(*m->var));
			if (!m->var)
				return HG_ERR_NOMEM;
		}
		for (size_t i = 0; i < nr; i++)
			for (uint32_t s = 0; s < module[i]->nr_syms; s++) {
				struct ptx_sym *sym = module[i]->sym[s];
				struct ptx_var *v = &sym->var;
				struct ir_var *out;

				if (sym->kind != PTX_SYM_VAR || sym->link || !sym->is_defined ||
				    (v->space != PTX_GLOBAL && v->space != PTX_CONST))
					continue;
				if (!pass) {
					v->index = nr_vars++;
					continue;
				}
				out = &m->var[m->nr_vars++];
				out->name = hg_pool_strdup(m->pool, sym->name);
				out->space = v->space == PTX_CONST ? IR_CONST : IR_GLOBAL;
				out->size = v->size;
				out->align = v->align ? v->align : 1;
				out->is_visible = sym->is_visible;
				if (v->init)
					out->init = hg_pool_copy(m->pool, v->init, v->size);
			}
	}
	if (m->pool->failed || !unique_names(m, tmp))
		return HG_ERR_NOMEM;
	for (size_t i = 0; i < nr; i++)
		for (uint32_t s = 0; s < module[i]->nr_syms; s++) {
			struct ptx_sym *sym = module[i]->sym[s];
			struct ptx_var *v = &sym->var;
			struct hg_var_reloc *r;

			if (sym->kind != PTX_SYM_VAR || sym->link || !sym->is_defined || !v->nr_relocs || v->refused ||
			    (v->space != PTX_GLOBAL && v->space != PTX_CONST))
				continue;
			r = hg_pool_array(m->pool, v->nr_relocs, sizeof(*r));
			if (!r)
				return HG_ERR_NOMEM;
			m->var[v->index].relocs = r;
			for (size_t k = 0; k < v->nr_relocs; k++) {
				struct ptx_sym *to = lower_resolve(v->reloc[k].sym);

				if (to->kind == PTX_SYM_FUNC && to->func && to->func->address) {
					uint64_t address = function_address(l, to->func) + (uint64_t)v->reloc[k].addend;

					memcpy((char *)m->var[v->index].init + v->reloc[k].offset, &address, sizeof(address));
					continue;
				}
				if (to->kind == PTX_SYM_FUNC)
					v->refused = "initialised with the address of a function that is defined nowhere";
				else if (to->kind != PTX_SYM_VAR || !to->is_defined)
					v->refused = "initialised with the address of something that is defined nowhere";
				else if (to->var.space != PTX_GLOBAL && to->var.space != PTX_CONST)
					v->refused = "initialised with an address in shared or local memory";
				if (v->refused)
					break;
				r[m->var[v->index].nr_relocs++] = (struct hg_var_reloc){ .offset = (uint32_t)v->reloc[k].offset, .var = to->var.index,
							      .addend = v->reloc[k].addend };
			}
			if (v->refused)
				m->var[v->index].nr_relocs = 0;
		}
	return HG_OK;
}

enum hg_status ptx_lower(struct ptx_module **module, size_t nr, struct ptx_log *log, struct ir_module **out)
{
	struct hg_pool *pool = hg_pool_create(), *tmp = hg_pool_create();
	struct lower l = { .log = log, .pool = pool, .targets_hash = 2166136261 };
	uint32_t nr_funcs = 0;
	enum hg_status st = HG_ERR_NOMEM;

	if (!pool || !tmp)
		goto err;
	l.m = hg_pool_alloc(pool, sizeof(*l.m));
	if (!l.m)
		goto err;
	l.m->pool = pool;
	st = link_modules(module, nr, log, tmp);
	if (st)
		goto err;
	st = number_targets(&l, module, nr, tmp);
	if (st)
		goto err;
	st = lower_vars(&l, module, nr, tmp);
	if (st)
		goto err;
	if (!lower_plan_calls(&l, module, nr, tmp)) {
		st = HG_ERR_NOMEM;
		goto err;
	}
	for (int pass = 0; pass < 2 && !l.st; pass++) {
		if (pass) {
			l.m->func = hg_pool_array(pool, nr_funcs, sizeof(*l.m->func));
			if (!l.m->func) {
				l.st = HG_ERR_NOMEM;
				break;
			}
		}
		for (size_t i = 0; i < nr && !l.st; i++)
			for (uint32_t s = 0; s < module[i]->nr_syms && !l.st; s++) {
				struct ptx_sym *sym = module[i]->sym[s];

				if (sym->kind != PTX_SYM_FUNC || sym->link || !sym->func || !sym->func->is_entry ||
				    !sym->func->has_body)
					continue;
				if (!pass)
					nr_funcs++;
				else
					lower_kernel(&l, sym->func, &l.m->func[l.m->nr_funcs++]);
			}
	}
	st = l.st;
	if (!st)
		st = ir_verify(l.m);
	if (st)
		goto err;
	hg_pool_destroy(tmp);
	*out = l.m;
	return HG_OK;
err:
	hg_pool_destroy(tmp);
	hg_pool_destroy(pool);
	return st;
}
