/* expand.c - operations of hgIR that GPUs have no instruction for become others: the frame in which the families do so. */
#include "translate/expand.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "translate/expand_build.h"
#include "translate/support.h"

/* A body stands in the kernel once when all its copies would have more instructions than this; where each f64 operation is one, than that. */
#define MAX_COPIED 4096
#define MAX_COPIED_SOFT 1024

#define COMMON_RULES expand_lane_rules, expand_matrix_rules, expand_atom_rules, expand_state_rules
static const struct expand_rule *const rules[] = { expand_f64_rules, COMMON_RULES, NULL };
/* Without f64 a second round is about it: what the first one writes may have some. */
static const struct expand_rule *const first_rules[] = { expand_atom_f64_rules, COMMON_RULES, NULL };
static const struct expand_rule *const second_rules[] = { expand_no_f64_rules, NULL };

/* What a kernel does with a body. */
struct use {
	struct expand_body body;
	uint32_t nr, nr_insns;		/* calls, and the size of one copy */
	/* the code that stands once */
	bool is_shared;
	uint32_t entry;
	ir_reg link, *in, *out;
	uint32_t *site, nr_sites, cap_sites;	/* blocks to come back to */
};

struct expand {
	struct lower l;
	const struct expand_rule *rule[IR_OP_COUNT][4];	/* those of an operation, NULL behind them */
	const struct ir_func *from;
	uint32_t max_copied;
	uint32_t local_base, local_bytes;	/* of support code, behind the kernel's own */
	bool is_counting;		/* the first of two rounds: bodies are counted and measured, the code is dropped */
	struct hg_pool *keep;		/* what lives for both */
	struct use *use;
	uint32_t nr_uses, cap_uses;
	struct ptx_insn here;		/* for messages and lines */
};

struct lower *expand_lower(struct expand *x)
{
	return &x->l;
}

/* --- copies ------------------------------------------------------------------------------------ */
static void *copy_of(struct hg_pool *pool, const void *data, size_t nr, size_t size)
{
	return nr ? hg_pool_copy(pool, data, nr * size) : NULL;
}

static char *copy_text(struct hg_pool *pool, const char *s)
{
	return s ? hg_pool_strdup(pool, s) : NULL;
}

static void copy_vars(struct ir_module *m, const struct ir_module *from)
{
	m->var = hg_pool_array(m->pool, from->nr_vars, sizeof(*m->var));
	for (uint32_t i = 0; i < from->nr_vars && !m->pool->failed; i++) {
		struct ir_var *v = &m->var[m->nr_vars++];

		*v = from->var[i];
		v->name = copy_text(m->pool, v->name);
		v->init = v->init ? hg_pool_copy(m->pool, v->init, v->size) : NULL;
		v->relocs = copy_of(m->pool, v->relocs, v->nr_relocs, sizeof(*v->relocs));
	}
}

/* --- the support library, once for the process ------------------------------------------------ */
struct expand_code {
	const struct ir_func *fn;
	struct expand_body body;
	bool *is_pointer;		/* registers that hold the address of the outputs */
	uint32_t offset[EXPAND_MAX_IO];	/* of each output */
};

static struct {
	pthread_once_t once;
	enum hg_status st;
	struct ir_module *m;
	struct expand_code *code;	/* of each function */
} support = { .once = PTHREAD_ONCE_INIT };

static bool is_result(const struct expand_code *c, const struct ir_operand *o)
{
	return o->kind == IR_OPD_REG && c->is_pointer[o->reg];
}

/* Parameter that a load reads; -1: it reads none. */
static int param_of(const struct ir_func *fn, const struct ir_insn *in)
{
	if (in->op != IR_ld || in->space != IR_PARAM || in->src[0].kind != IR_OPD_IMM || in->nr_dst != 1)
		return -1;
	for (uint32_t p = 0; p < fn->nr_params; p++)
		if (fn->param[p].offset == in->src[0].imm + in->src[1].imm && fn->param[p].size * 8 == ir_type_bits(in->type))
			return (int)p;
	return -1;
}

/* Registers with the last parameter in them, through moves. */
static void find_pointers(struct expand_code *c)
{
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t b = 0; b < c->fn->nr_blocks; b++)
			for (uint32_t i = 0; i < c->fn->block[b].nr_insns; i++) {
				const struct ir_insn *in = &c->fn->block[b].insn[i];

				if (!(in->op == IR_mov && is_result(c, &in->src[0])) && param_of(c->fn, in) + 1 != (int)c->fn->nr_params)
					continue;
				again |= !c->is_pointer[in->dst[0]];
				c->is_pointer[in->dst[0]] = true;
			}
	}
}

static void note_output(struct expand_code *c, uint32_t offset, enum ir_type class)
{
	struct expand_body *b = &c->body;
	uint32_t at = 0;

	while (at < b->nr_out && c->offset[at] < offset)
		at++;
	if ((at < b->nr_out && c->offset[at] == offset) || b->nr_out == EXPAND_MAX_IO)
		return;
	memmove(c->offset + at + 1, c->offset + at, (b->nr_out - at) * sizeof(*c->offset));
	memmove(b->out + at + 1, b->out + at, b->nr_out - at);
	c->offset[at] = offset;
	b->out[at] = (uint8_t)class;
	b->nr_out++;
}

static unsigned int output_at(const struct expand_code *c, uint32_t offset)
{
	unsigned int k = 0;

	while (k + 1 < c->body.nr_out && c->offset[k] != offset)
		k++;
	return k;
}

/* What is wrong with a use of the pointer to the outputs, or of a parameter; NULL: nothing. */
static const char *look_at(struct expand_code *c, const struct ir_insn *in)
{
	uint32_t bytes = ir_type_bits(in->type) / 8;

	if (in->op == IR_ld && in->space == IR_PARAM)
		return param_of(c->fn, in) < 0 ? "a parameter is read in parts" : NULL;
	if (in->op == IR_mov && in->nr_src && is_result(c, &in->src[0]))
		return NULL;
	for (unsigned int s = in->op == IR_st; s < in->nr_src; s++)
		if (is_result(c, &in->src[s]))
			return "the outputs' address is more than stored to";
	if (in->op != IR_st || !is_result(c, &in->src[0]))
		return NULL;
	for (unsigned int d = 0; d + 2 < in->nr_src; d++) {
		const struct ir_operand *o = &in->src[2 + d];
		enum ir_type class = ir_type_class(in->type);
		uint32_t offset = (uint32_t)in->src[1].imm + d * bytes;

		if (in->guard != IR_NO_REG || bytes < 2 || (o->kind == IR_OPD_REG && c->fn->reg_type[o->reg] != class))
			return "an output that is no register";
		note_output(c, offset, class);
		if (c->body.out[output_at(c, offset)] != class)
			return "an output of two widths";
	}
	return NULL;
}

static void write_code(struct expand *x, const struct expand_body *b, const ir_reg *in, const ir_reg *out);

static enum hg_status take_code(struct hg_pool *pool, const struct ir_func *fn, struct expand_code *c)
{
	const char *why = fn->refused;

	c->fn = fn;
	c->body = (struct expand_body){ .code = c, .write = write_code, .nr_in = fn->nr_params ? fn->nr_params - 1 : 0 };
	c->is_pointer = hg_pool_array(pool, fn->nr_regs, sizeof(bool));
	if (!c->is_pointer)
		return HG_ERR_NOMEM;
	if (!why && (!fn->nr_params || fn->nr_params > EXPAND_MAX_IO || fn->shared_bytes || fn->uses_dynamic_shared || fn->uses_stack))
		why = "no pointer to outputs, or memory that it may not have";
	for (uint32_t p = 0; p < c->body.nr_in && !why; p++)
		c->body.in[p] = (uint8_t)(fn->param[p].size == 8 ? IR_B64 : fn->param[p].size == 4 ? IR_B32 : IR_B16);
	if (!why)
		find_pointers(c);
	for (uint32_t b = 0; b < fn->nr_blocks && !why; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns && !why; i++)
			why = look_at(c, &fn->block[b].insn[i]);
	if (why) {
		pr_err("support function '%s': %s", fn->name, why);
		return HG_ERR_CORRUPT;
	}
	return HG_OK;
}

static void load_support(void)
{
	struct hg_pool *tmp = hg_pool_create();
	struct ptx_log log = { 0 };
	struct ptx_module **module;
	size_t nr = 0;
	enum hg_status st = HG_ERR_NOMEM;

	while (hg_support_expansions[nr])
		nr++;
	module = tmp ? hg_pool_array(tmp, nr, sizeof(struct ptx_module *)) : NULL;
	if (!module)
		goto out;
	st = HG_OK;
	for (size_t i = 0; i < nr && !st; i++)
		st = ptx_parse(tmp, hg_support_expansions[i], strlen(hg_support_expansions[i]), &log, &module[i]);
	if (!st)
		st = ptx_lower(module, nr, &log, &support.m);
	if (!st && support.m->nr_vars) {
		pr_err("support code has the variable '%s', which no target makes room for", support.m->var[0].name);
		st = HG_ERR_CORRUPT;
	}
	if (st)
		goto out;
	support.code = hg_pool_array(support.m->pool, support.m->nr_funcs, sizeof(*support.code));
	if (!support.code)
		st = HG_ERR_NOMEM;
	for (uint32_t i = 0; i < support.m->nr_funcs && !st; i++)
		st = take_code(support.m->pool, &support.m->func[i], &support.code[i]);
out:
	support.st = st;
	hg_pool_destroy(tmp);
}

const struct expand_body *expand_support(const char *name)
{
	pthread_once(&support.once, load_support);
	if (support.st)
		return NULL;
	for (uint32_t i = 0; i < support.m->nr_funcs; i++)
		if (!strcmp(support.m->func[i].name, name))
			return &support.code[i].body;
	pr_err("the support library has no function '%s'", name);
	return NULL;
}

/* --- building --------------------------------------------------------------------------------- */
ir_reg expand_op(struct expand *x, enum ir_op op, enum ir_type type, ir_reg dst, unsigned int nr, const struct ir_operand *src)
{
	return lower_op(&x->l, op, type, dst, nr, src);
}

void expand_mov(struct expand *x, ir_reg dst, struct ir_operand v)
{
	if (dst < x->l.fn->nr_regs)
		lower_op(&x->l, IR_mov, x->l.fn->reg_type[dst], dst, 1, &v);
}

ir_reg expand_compare(struct expand *x, enum ir_cmp cmp, enum ir_type type, struct ir_operand a, struct ir_operand b)
{
	struct ir_insn *in = lower_emit(&x->l, IR_setp, type, 1, 2);

	if (!in)
		return 0;
	in->cmp = (uint8_t)cmp;
	in->dst[0] = lower_reg(&x->l, IR_PRED);
	in->src[0] = a;
	in->src[1] = b;
	return in->dst[0];
}

ir_reg expand_cvt(struct expand *x, enum ir_type to, enum ir_type from, struct ir_operand v)
{
	struct ir_insn *in = lower_emit(&x->l, IR_cvt, to, 1, 1);

	if (!in)
		return 0;
	in->type2 = (uint8_t)from;
	in->dst[0] = lower_reg(&x->l, to);
	in->src[0] = v;
	return in->dst[0];
}

/* A copy of an instruction, its registers and blocks moved up. */
static struct ir_insn *put_copy(struct expand *x, const struct ir_insn *in, ir_reg regs, uint32_t blocks)
{
	struct lower *l = &x->l;
	struct ir_insn *to = lower_emit(l, in->op, in->type, in->nr_dst, in->nr_src), empty;
	ir_reg *dst;
	struct ir_operand *src;

	if (!to)
		return NULL;
	empty = *to;
	dst = to->dst;
	src = to->src;
	*to = *in;
	to->dst = dst;
	to->src = src;
	to->line = empty.line;
	if (in->guard != IR_NO_REG)
		to->guard += regs;
	for (unsigned int d = 0; d < in->nr_dst; d++)
		dst[d] = in->dst[d] == IR_NO_REG ? IR_NO_REG : in->dst[d] + regs;
	for (unsigned int s = 0; s < in->nr_src; s++) {
		src[s] = in->src[s];
		if (src[s].kind == IR_OPD_REG)
			src[s].reg += regs;
	}
	for (unsigned int t = 0; t < 2; t++)
		to->target[t] += blocks;
	if (in->nr_targets)
		to->targets = hg_pool_copy(l->tmp, in->targets, in->nr_targets * sizeof(*to->targets));
	for (uint32_t t = 0; to->targets && t < in->nr_targets; t++)
		to->targets[t] += blocks;
	return to;
}

/* An instruction of the support library. */
static void write_insn(struct expand *x, const struct expand_code *c, const struct ir_insn *in, ir_reg regs, uint32_t blocks, const ir_reg *arg,
		       const ir_reg *out)
{
	struct lower *l = &x->l;
	int param = param_of(c->fn, in);
	struct ir_insn *to;

	if (in->nr_dst && in->dst[0] != IR_NO_REG && c->is_pointer[in->dst[0]])
		return;
	if (param >= 0) {
		expand_mov(x, in->dst[0] + regs, expand_reg(arg[param]));
		return;
	}
	if (in->op == IR_st && is_result(c, &in->src[0])) {
		for (unsigned int d = 0; d + 2 < in->nr_src; d++) {
			struct ir_operand v = in->src[2 + d];

			if (v.kind == IR_OPD_REG)
				v.reg += regs;
			expand_mov(x, out[output_at(c, (uint32_t)in->src[1].imm + d * ir_type_bits(in->type) / 8)], v);
		}
		return;
	}
	to = put_copy(x, in, regs, blocks);
	if (!to)
		return;
	if (!c->fn->local_bytes || to->space != IR_LOCAL)
		return;
	/* Local memory of the support library begins behind the kernel's own. */
	if (to->op == IR_ld || to->op == IR_st) {
		to->src[1].imm += x->local_base;
	} else if (to->op == IR_cvta) {
		struct ir_operand local = to->src[0];

		if (local.kind == IR_OPD_IMM) {
			to->src[0].imm += x->local_base;
		} else {	/* the addition goes before */
			ir_reg r = to->dst[0];

			to->op = IR_add;
			to->space = IR_GENERIC;
			to->nr_src = 2;
			to->src = hg_pool_array(l->tmp, 2, sizeof(*to->src));
			if (!to->src)
				return;
			to->src[0] = local;
			to->src[1] = expand_imm(x->local_base);
			to = lower_emit(l, IR_cvta, in->type, 1, 1);
			if (!to)
				return;
			to->space = IR_LOCAL;
			to->dst[0] = r;
			to->src[0] = expand_reg(r);
		}
	} else if (to->op == IR_cvta_to) {
		ir_reg r = to->dst[0];

		lower_op(l, IR_sub, in->type, r, 2, (struct ir_operand[]){ expand_reg(r), expand_imm(x->local_base) });
	}
}

static void write_code(struct expand *x, const struct expand_body *b, const ir_reg *in, const ir_reg *out)
{
	const struct expand_code *c = b->code;
	const struct ir_func *fn = c->fn;
	struct lower *l = &x->l;
	ir_reg regs = l->fn->nr_regs;
	uint32_t blocks = l->nr_blocks, after;

	for (uint32_t r = 0; r < fn->nr_regs; r++)
		lower_reg(l, fn->reg_type[r]);
	for (uint32_t i = 0; i < fn->nr_blocks; i++)
		lower_new_block(l);
	after = lower_new_block(l);
	if (fn->local_bytes > x->local_bytes)
		x->local_bytes = fn->local_bytes;
	lower_bra(l, blocks);
	for (uint32_t i = 0; i < fn->nr_blocks && !lower_stopped(l); i++) {
		l->cur = blocks + i;
		for (uint32_t k = 0; k < fn->block[i].nr_insns && !lower_stopped(l); k++) {
			if (fn->block[i].insn[k].op == IR_exit)
				lower_bra(l, after);
			else
				write_insn(x, c, &fn->block[i].insn[k], regs, blocks, in, out);
		}
	}
	l->cur = after;
}

/* --- bodies ------------------------------------------------------------------------------------ */
static struct use *find_use(struct expand *x, const struct expand_body *b)
{
	struct use *u;

	for (uint32_t i = 0; i < x->nr_uses; i++) {
		u = &x->use[i];
		if (u->body.write == b->write && u->body.code == b->code && !memcmp(u->body.arg, b->arg, sizeof(b->arg)))
			return u;
	}
	if (x->nr_uses == x->cap_uses) {
		uint32_t more = x->cap_uses ? 2 * x->cap_uses : 8;

		u = hg_pool_grow(x->keep, x->use, x->nr_uses, more, sizeof(*u));
		if (!u) {
			x->l.tmp->failed = 1;
			return NULL;
		}
		x->use = u;
		x->cap_uses = more;
	}
	u = &x->use[x->nr_uses++];
	*u = (struct use){ .body = *b };
	return u;
}

static ir_reg *new_regs(struct expand *x, unsigned int nr, const uint8_t *class)
{
	ir_reg *r = hg_pool_array(x->l.tmp, nr, sizeof(*r));

	for (unsigned int i = 0; r && i < nr; i++)
		r[i] = lower_reg(&x->l, class[i]);
	return r;
}

static void move_out(struct expand *x, const struct expand_body *b, const ir_reg *from, const ir_reg *out)
{
	for (unsigned int i = 0; i < b->nr_out; i++)
		if (out[i] != IR_NO_REG)
			expand_mov(x, out[i], expand_reg(from[i]));
}

void expand_call(struct expand *x, const struct expand_body *b, const struct ir_operand *in, const ir_reg *out)
{
	struct lower *l = &x->l;
	uint32_t nr_insns = l->nr_insns;
	ir_reg *from, *to;
	struct use *u;

	if (!b && !l->st)
		l->st = support.st ? support.st : HG_ERR_NOTFOUND;
	if (lower_stopped(l))
		return;
	u = find_use(x, b);
	if (!u)
		return;
	u->nr += x->is_counting;
	if (x->is_counting && u->nr > 1)
		return;
	if (!x->is_counting && u->nr > 1 && (uint64_t)u->nr * u->nr_insns > x->max_copied) {
		uint32_t after = lower_new_block(l);

		if (!u->is_shared) {
			u->is_shared = true;
			u->entry = lower_new_block(l);
			u->link = lower_reg(l, IR_B32);
			u->in = new_regs(x, b->nr_in, b->in);
			u->out = new_regs(x, b->nr_out, b->out);
		}
		if (lower_stopped(l) || !lower_grow(l, (void **)&u->site, u->nr_sites, &u->cap_sites, sizeof(*u->site)))
			return;
		for (unsigned int i = 0; i < b->nr_in; i++)
			expand_mov(x, u->in[i], in[i]);
		expand_mov(x, u->link, expand_imm(u->nr_sites));
		u->site[u->nr_sites++] = after;
		lower_bra(l, u->entry);
		l->cur = after;
		move_out(x, b, u->out, out);
		return;
	}
	from = new_regs(x, b->nr_in, b->in);
	to = new_regs(x, b->nr_out, b->out);
	if (lower_stopped(l))
		return;
	for (unsigned int i = 0; i < b->nr_in; i++)
		expand_mov(x, from[i], in[i]);
	b->write(x, b, from, to);
	move_out(x, b, to, out);
	if (x->is_counting)
		u->nr_insns = l->nr_insns - nr_insns;
}

/* The code of those that stand once. It may call others. */
static void write_shared(struct expand *x)
{
	struct lower *l = &x->l;

	for (uint32_t i = 0; i < x->nr_uses && !lower_stopped(l); i++) {
		struct expand_body b = x->use[i].body;
		struct ir_insn *back;
		struct use *u;

		if (!x->use[i].is_shared)
			continue;
		l->cur = x->use[i].entry;
		b.write(x, &b, x->use[i].in, x->use[i].out);
		u = &x->use[i];
		back = lower_emit(l, IR_brx, IR_NONE, 0, 1);
		if (!back)
			return;
		back->src[0] = expand_reg(u->link);
		back->nr_targets = u->nr_sites;
		back->targets = hg_pool_copy(l->tmp, u->site, u->nr_sites * sizeof(*u->site));
	}
}

/* --- kernels ----------------------------------------------------------------------------------- */
static const struct expand_rule *rule_of(const struct expand *x, const struct ir_insn *in)
{
	for (const struct expand_rule *const *r = x->rule[in->op]; *r; r++)
		if (!(*r)->wants || (*r)->wants(in))
			return *r;
	return NULL;
}

static bool needs_any(const struct expand *x, const struct ir_func *fn)
{
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++)
			if (rule_of(x, &fn->block[b].insn[i]))
				return true;
	return false;
}

static void write_one(struct expand *x, const struct ir_insn *in)
{
	struct lower *l = &x->l;
	const struct expand_rule *r = rule_of(x, in);
	uint32_t yes, after;

	x->here.line = in->line;
	if (!r) {
		put_copy(x, in, 0, 0);
		return;
	}
	x->here.text = ir_op_desc[in->op].name;
	x->here.size = (uint32_t)strlen(x->here.text);
	if (in->guard == IR_NO_REG) {
		r->write(x, in);
		return;
	}
	yes = lower_new_block(l);
	after = lower_new_block(l);
	lower_cbra(l, in->guard, in->guard_neg, yes, after);
	l->cur = yes;
	r->write(x, in);
	lower_bra(l, after);
	l->cur = after;
}

/* One round over a kernel. */
static void write_kernel(struct expand *x, struct ir_func *scratch)
{
	const struct ir_func *fn = x->from;
	struct lower *l = &x->l;

	*scratch = (struct ir_func){ 0 };
	l->fn = scratch;
	l->cap_regs = l->nr_insns = l->nr_blocks = l->cap_blocks = 0;
	l->block = NULL;
	l->guard = IR_NO_REG;
	l->guard_neg = false;
	l->in = &x->here;
	for (uint32_t r = 0; r < fn->nr_regs; r++)
		lower_reg(l, fn->reg_type[r]);
	for (uint32_t b = 0; b < fn->nr_blocks; b++)
		lower_new_block(l);
	for (uint32_t b = 0; b < fn->nr_blocks && !lower_stopped(l); b++) {
		l->cur = b;
		for (uint32_t i = 0; i < fn->block[b].nr_insns && !lower_stopped(l); i++)
			write_one(x, &fn->block[b].insn[i]);
	}
	write_shared(x);
}

/* Local memory has become more: behind that of the support library the stack begins, where there is one. The lowering's first instruction says where. */
static void grow_local(struct expand *x, struct ir_func *out)
{
	struct ir_insn *first = &x->l.block[0].insn[0].ir;
	/* what the kernel asked for divides its size */
	uint32_t align = x->from->local_bytes & -x->from->local_bytes;

	align = align < 64 ? 64 : align > 4096 ? 4096 : align;
	out->local_bytes = (x->local_base + x->local_bytes + align - 1) & ~(align - 1);
	if (!x->from->uses_stack)
		return;
	if (first->op == IR_mov && first->src[0].kind == IR_OPD_IMM && first->src[0].imm == x->from->local_bytes)
		first->src[0].imm = out->local_bytes;
	else
		lower_refuse(&x->l, "needs local memory in the place of the stack");
}

static void expand_kernel(struct expand *x, const struct ir_func *fn, struct ir_func *out)
{
	struct ptx_sym sym = { .name = fn->name, .line = fn->line };
	struct ptx_func kernel = { .sym = &sym };
	struct ir_func scratch;
	struct lower *l = &x->l;

	x->from = fn;
	x->use = NULL;
	x->nr_uses = x->cap_uses = 0;
	x->local_base = (fn->local_bytes + 15) & ~15u;
	x->local_bytes = 0;
	l->kernel = &kernel;
	l->refused = l->first_refused = NULL;
	l->is_hopeless = false;
	l->refusal = NULL;
	l->refused_insn = NULL;
	l->nr_refusals = l->cap_refusals = l->cap_refused_insns = 0;
	x->keep = hg_pool_create();
	for (int round = 0; round < 2 && x->keep && !l->st && !l->refused; round++) {
		l->tmp = hg_pool_create();
		if (!l->tmp)
			break;
		x->is_counting = !round;
		write_kernel(x, &scratch);
		if (round && x->local_bytes && !lower_stopped(l))
			grow_local(x, out);
		if (round && !lower_stopped(l))
			lower_finish(l, out);
		if (l->tmp->failed || l->pool->failed)
			l->st = HG_ERR_NOMEM;
		if (round || l->st || l->refused) {
			/* what was refused lies there */
			if (l->refused) {
				out->refused = (char *)l->refused;
				out->refusal = hg_pool_copy(l->pool, l->refusal, l->nr_refusals * sizeof(*l->refusal));
				out->nr_refusals = out->refusal ? l->nr_refusals : 0;
				out->nr_blocks = out->nr_regs = 0;
			}
		}
		hg_pool_destroy(l->tmp);
		l->tmp = NULL;
	}
	if (!l->st && !out->nr_blocks && !out->refused)
		l->st = HG_ERR_NOMEM;
	hg_pool_destroy(x->keep);
	x->keep = NULL;
	l->refused = NULL;
}

/* --- whole modules ------------------------------------------------------------------------------ */
/* Everything but the code. */
static void copy_head(struct hg_pool *pool, const struct ir_func *fn, struct ir_func *out)
{
	struct ir_refusal *refusal = copy_of(pool, fn->refusal, fn->nr_refusals, sizeof(*refusal));

	*out = *fn;
	out->name = copy_text(pool, fn->name);
	out->refused = copy_text(pool, fn->refused);
	out->param = copy_of(pool, fn->param, fn->nr_params, sizeof(*fn->param));
	out->nr_refusals = refusal ? fn->nr_refusals : 0;
	for (uint32_t i = 0; i < out->nr_refusals; i++) {
		refusal[i].function = copy_text(pool, refusal[i].function);
		refusal[i].insn = copy_text(pool, refusal[i].insn);
		refusal[i].why = copy_text(pool, refusal[i].why);
	}
	out->refusal = refusal;
	out->nr_regs = out->nr_blocks = 0;
	out->reg_type = NULL;
	out->block = NULL;
}

static void copy_code(struct hg_pool *pool, const struct ir_func *fn, struct ir_func *out)
{
	out->nr_regs = fn->nr_regs;
	out->nr_blocks = fn->nr_blocks;
	out->reg_type = copy_of(pool, fn->reg_type, fn->nr_regs, sizeof(*fn->reg_type));
	out->block = copy_of(pool, fn->block, fn->nr_blocks, sizeof(*fn->block));
	for (uint32_t b = 0; out->block && b < fn->nr_blocks; b++) {
		struct ir_block *blk = &out->block[b];

		blk->insn = copy_of(pool, blk->insn, blk->nr_insns, sizeof(*blk->insn));
		for (uint32_t i = 0; blk->insn && i < blk->nr_insns; i++) {
			struct ir_insn *in = &blk->insn[i];

			in->dst = copy_of(pool, in->dst, in->nr_dst, sizeof(*in->dst));
			in->src = copy_of(pool, in->src, in->nr_src, sizeof(*in->src));
			in->targets = copy_of(pool, in->targets, in->nr_targets, sizeof(*in->targets));
		}
	}
}

static void collect_rules(struct expand *x, const struct expand_rule *const *family)
{
	for (; *family; family++)
		for (const struct expand_rule *r = *family; r->write; r++) {
			unsigned int k = 0;

			while (x->rule[r->op][k])
				k++;
			x->rule[r->op][k] = r;
		}
}

static enum hg_status expand(const struct ir_module *from, const struct expand_rule *const *family, struct ir_module **out)
{
	struct hg_pool *pool = hg_pool_create();
	struct ptx_log log = { 0 };
	struct expand x = { .l = { .log = &log, .pool = pool }, .max_copied = family == second_rules ? MAX_COPIED_SOFT : MAX_COPIED };
	struct ir_module *m = pool ? hg_pool_alloc(pool, sizeof(*m)) : NULL;
	enum hg_status st = HG_ERR_NOMEM;

	if (!m)
		goto err;
	m->pool = pool;
	x.l.m = m;
	collect_rules(&x, family);
	m->func = hg_pool_array(pool, from->nr_funcs, sizeof(*m->func));
	copy_vars(m, from);
	if (pool->failed)
		goto nomem;
	for (uint32_t i = 0; i < from->nr_funcs && !x.l.st && !pool->failed; i++) {
		struct ir_func *fn = &m->func[m->nr_funcs++];

		copy_head(pool, &from->func[i], fn);
		if (!needs_any(&x, &from->func[i]))
			copy_code(pool, &from->func[i], fn);
		else
			expand_kernel(&x, &from->func[i], fn);
	}
	if (pool->failed)
		goto nomem;
	st = x.l.st;
	if (!st)
		st = ir_verify(m);
	if (st)
		goto err;
	*out = m;
	return HG_OK;
nomem:
	st = HG_ERR_NOMEM;
err:
	hg_pool_destroy(pool);
	return st;
}

enum hg_status hg_expand(const struct ir_module *from, struct ir_module **out)
{
	return expand(from, rules, out);
}

enum hg_status hg_expand_no_f64(const struct ir_module *from, struct ir_module **out)
{
	struct ir_module *between;
	enum hg_status st = expand(from, first_rules, &between);

	if (st)
		return st;
	st = expand(between, second_rules, out);
	ir_module_free(between);
	return st;
}
