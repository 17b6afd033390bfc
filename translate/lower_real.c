/* lower_real.c - functions that are called and not inlined: which ones, their code, the stack. */
#include "translate/lower.h"

#include <inttypes.h>
#include <string.h>

/*
 * Such a function's code stands in the kernel once. A call puts the arguments where the callee finds them, the number of the place to
 * go on at into `link`, and branches; the return is a brx. Lanes of a warp may be in different activations: they are at
 * different blocks, as after any branch, and meet again where blocks are equal.
 *
 * A function that may call itself, by whatever way, is framed. Its registers belong to the activation at hand, so a call that
 * may end up in the same function saves those that are needed after it on a stack in local memory (sp grows upwards), and puts them back:
 *
 *	| what the kernel has | saved by a | frame of b | saved by b | frame of a | …
 *	                      base                                  fp           sp
 *
 * What needs an address (local variables, structures passed by value) lies in the frame. Arguments and results that fit
 * in registers go through registers that belong to no activation.
 */
#define INLINE_SMALL 200	/* instructions: always inlined */
#define INLINE_ALL 10000	/* …of all copies of a function together */
#define INLINE_DEPTH (LOWER_MAX_DEPTH - 4)

/* --- which ones ------------------------------------------------------------------------------ */
struct plan {
	struct lower *l;
	struct plan_func {
		struct ptx_func *fn;
		uint32_t index, low;	/* of Tarjan's algorithm; index 0: not visited */
		bool is_open, calls_itself;
		uint32_t first_call, nr_calls;
		uint32_t next_call;	/* to look at */
		uint64_t insns;		/* with what is inlined in it */
		uint32_t nr_sites, depth;
	} *func;
	uint32_t nr_funcs;
	uint32_t *call, nr_calls, cap_calls;	/* functions called, of each function in turn */
};

static bool add_call(struct plan *p, const struct ptx_func *fn)
{
	if (!lower_grow(p->l, (void **)&p->call, p->nr_calls, &p->cap_calls, sizeof(*p->call)))
		return false;
	p->call[p->nr_calls++] = fn->part;
	p->func[fn->part].nr_sites++;
	return true;
}

static bool find_calls(struct plan *p, struct plan_func *f)
{
	const struct ptx_func *fn = f->fn;

	f->first_call = p->nr_calls;
	for (uint32_t i = 0; i < fn->nr_insns; i++) {
		struct lower_callee c;

		if (fn->insn[i].op == PTX_W_alloca)
			f->fn->has_alloca = true;
		if (fn->insn[i].op != PTX_W_call || !lower_call_operands(&fn->insn[i], &c))
			continue;
		if (c.callee->kind == PTX_OPD_SYM) {
			const struct ptx_sym *sym = lower_resolve(c.callee->sym);

			if (sym->kind == PTX_SYM_FUNC && sym->func && sym->func->has_body && !add_call(p, sym->func))
				return false;
		} else if (c.callee->kind == PTX_OPD_REG) {
			for (uint32_t t = 0; t < p->l->nr_targets; t++)
				if (lower_suits(fn, p->l->target[t], &c) && !add_call(p, p->l->target[t]))
					return false;
		}
	}
	f->nr_calls = p->nr_calls - f->first_call;
	return true;
}

/* All it calls is known: whether to inline it. */
static void decide(struct plan *p, struct plan_func *f, bool in_circle)
{
	f->insns = f->fn->nr_insns;
	for (uint32_t i = 0; i < f->nr_calls; i++) {
		const struct plan_func *callee = &p->func[p->call[f->first_call + i]];

		if (callee->fn->is_real || callee->is_open)
			continue;
		f->insns += callee->insns;
		if (callee->depth >= f->depth)
			f->depth = callee->depth + 1;
	}
	f->fn->is_framed = in_circle;
	f->fn->is_real = !f->fn->is_entry && (in_circle || f->depth >= INLINE_DEPTH ||
			 (f->nr_sites > 1 && f->insns > INLINE_SMALL && f->insns > INLINE_ALL / f->nr_sites));
	if (f->fn->is_real)
		f->depth = 0;
}

/* Tarjan's algorithm: circles of calls; callees before callers. */
static bool walk(struct plan *p, struct hg_pool *tmp)
{
	uint32_t *path = hg_pool_array(tmp, p->nr_funcs, sizeof(*path));
	uint32_t *open = hg_pool_array(tmp, p->nr_funcs, sizeof(*open));
	uint32_t counter = 0, nr_path, nr_open = 0;

	if (!path || !open)
		return false;
	for (uint32_t root = 0; root < p->nr_funcs; root++) {
		if (p->func[root].index)
			continue;
		nr_path = 0;
		path[nr_path++] = root;
		while (nr_path) {
			uint32_t at = path[nr_path - 1], first;
			struct plan_func *f = &p->func[at];

			if (!f->index) {
				f->index = f->low = ++counter;
				f->is_open = true;
				open[nr_open++] = at;
			}
			if (f->next_call < f->nr_calls) {
				uint32_t to = p->call[f->first_call + f->next_call++];
				struct plan_func *g = &p->func[to];

				f->calls_itself |= to == at;
				if (!g->index)
					path[nr_path++] = to;
				else if (g->is_open && g->index < f->low)
					f->low = g->index;
				continue;
			}
			nr_path--;
			if (nr_path && f->low < p->func[path[nr_path - 1]].low)
				p->func[path[nr_path - 1]].low = f->low;
			if (f->low != f->index)
				continue;
			first = nr_open;
			while (open[--first] != at)
				;
			for (uint32_t i = first; i < nr_open; i++)
				decide(p, &p->func[open[i]], nr_open - first > 1 || f->calls_itself);
			for (uint32_t i = first; i < nr_open; i++) {
				p->func[open[i]].is_open = false;
				p->func[open[i]].fn->part = at;
			}
			nr_open = first;
		}
	}
	return true;
}

bool lower_plan_calls(struct lower *l, struct ptx_module **module, size_t nr, struct hg_pool *tmp)
{
	struct plan p = { .l = l };
	bool ok = false;

	for (int pass = 0; pass < 2; pass++) {
		if (pass)
			p.func = hg_pool_array(tmp, p.nr_funcs, sizeof(*p.func));
		if (pass && !p.func)
			return false;
		p.nr_funcs = 0;
		for (size_t i = 0; i < nr; i++)
			for (uint32_t s = 0; s < module[i]->nr_syms; s++) {
				struct ptx_sym *sym = module[i]->sym[s];

				if (sym->kind != PTX_SYM_FUNC || sym->link || !sym->func || !sym->func->has_body)
					continue;
				if (pass) {
					p.func[p.nr_funcs].fn = sym->func;
					sym->func->part = p.nr_funcs;
				}
				p.nr_funcs++;
			}
	}
	/* lower_grow takes from the pool of the kernel at hand; there is none yet */
	l->tmp = tmp;
	for (uint32_t f = 0; f < p.nr_funcs; f++)
		if (!find_calls(&p, &p.func[f]))
			goto out;
	ok = walk(&p, tmp);
out:
	l->tmp = NULL;
	return ok;
}

/* --- their bodies ---------------------------------------------------------------------------- */
static uint32_t new_storage(struct lower *l, const struct ptx_var *v, uint32_t owner)
{
	if (!lower_grow(l, (void **)&l->storage, l->nr_storages, &l->cap_storages, sizeof(*l->storage)))
		return 0;
	l->storage[l->nr_storages] = (struct lower_storage){ .size = v->size, .align = v->align, .like = l->nr_storages, .owner = owner };
	return l->nr_storages++;
}

static uint32_t layout_number(const struct lower *l, uint32_t s)
{
	while (l->storage[s].like != s)
		s = l->storage[s].like;
	return s;
}

static void same_layout(struct lower *l, uint32_t a, uint32_t b)
{
	l->storage[layout_number(l, a)].like = layout_number(l, b);
}

static struct lower_formal *formals(struct lower *l, struct ptx_sym **sym, uint32_t nr)
{
	struct lower_formal *f = hg_pool_array(l->tmp, nr, sizeof(*f));

	for (uint32_t i = 0; f && i < nr; i++) {
		f[i] = (struct lower_formal){ IR_NO_REG, UINT32_MAX };
		if (sym[i]->kind == PTX_SYM_REG)
			f[i].reg = lower_reg(l, sym[i]->class);
		else
			f[i].storage = new_storage(l, &sym[i]->var, 0);
	}
	return f;
}

/* The number of a function's code in this kernel; 0: stopped. */
static uint32_t code_of(struct lower *l, struct ptx_func *fn)
{
	struct lower_code *c;

	for (uint32_t i = 1; i < l->nr_codes; i++)
		if (l->code[i].fn == fn)
			return i;
	if (l->nr_codes >= LOWER_SLACK - LOWER_FRAME || !lower_grow(l, (void **)&l->code, l->nr_codes, &l->cap_codes, sizeof(*l->code)))
		return 0;
	c = &l->code[l->nr_codes];
	*c = (struct lower_code){ .fn = fn, .is_framed = fn->is_framed, .fp = IR_NO_REG, .entry = lower_new_block(l) };
	c->link = lower_reg(l, IR_B32);
	c->arg = formals(l, fn->param, fn->nr_params);
	c->ret = formals(l, fn->ret, fn->nr_rets);
	if (fn->is_framed)
		lower_sp(l);
	return l->tmp->failed ? 0 : l->nr_codes++;
}

static bool actuals(struct lower *l, struct ptx_sym **sym, uint32_t nr, const struct ptx_opd *opd, const struct lower_formal *formal,
		    bool is_result, struct lower_actual **out)
{
	*out = hg_pool_array(l->tmp, nr, sizeof(**out));
	if (!*out)
		return false;
	for (uint32_t i = 0; i < nr; i++) {
		if (!lower_actual(l, sym[i], &opd->elem[i], is_result, &(*out)[i]))
			return false;
		if (formal[i].storage != UINT32_MAX)
			same_layout(l, (*out)[i].storage, formal[i].storage);
	}
	return true;
}

void lower_real_call(struct lower *l, struct ptx_func *fn, const struct ptx_opd *args, const struct ptx_opd *rets)
{
	uint32_t callee = code_of(l, fn), number = l->nr_sites;
	struct lower_site s = { .caller = l->owner, .callee = callee, .from = l->in };
	struct lower_code *c;

	if (!callee)
		return;
	if (!actuals(l, fn->param, fn->nr_params, args, l->code[callee].arg, false, &s.arg) ||
	    !actuals(l, fn->ret, fn->nr_rets, rets, l->code[callee].ret, true, &s.ret))
		return;
	s.before = lower_new_block(l);
	s.after = lower_new_block(l);
	s.next = lower_new_block(l);
	c = &l->code[callee];
	if (!lower_grow(l, (void **)&l->site, l->nr_sites, &l->cap_sites, sizeof(*l->site)) ||
	    !lower_grow(l, (void **)&c->site, c->nr_sites, &c->cap_sites, sizeof(*c->site)))
		return;
	l->site[l->nr_sites++] = s;
	c->site[c->nr_sites++] = number;
	lower_bra(l, s.before);
	l->cur = s.next;
}

/* Each activation has parameters of its own if there may be several, else they are where the callers put them. */
static bool own_formals(struct lower *l, uint32_t code, struct ptx_sym **sym, uint32_t nr, const struct lower_formal *f)
{
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t s = f[i].storage;

		if (s == UINT32_MAX)
			continue;
		if (l->code[code].is_framed) {
			s = new_storage(l, &sym[i]->var, code);
			if (l->tmp->failed)
				return false;
			same_layout(l, s, f[i].storage);
		}
		l->inst->storage[sym[i]->var.index] = s;
	}
	return true;
}

void lower_codes(struct lower *l)
{
	for (uint32_t i = 1; i < l->nr_codes; i++) {
		struct ptx_func *fn = l->code[i].fn;
		struct lower_code *c = &l->code[i];

		/* as lower_body does: what else is to be told of this kernel */
		if (l->st || l->tmp->failed || l->pool->failed || l->is_hopeless)
			return;
		l->refused = NULL;
		l->owner = i;
		l->in = NULL;
		l->guard = IR_NO_REG;
		l->guard_neg = false;
		c->reg_begin = l->fn->nr_regs;
		c->ret_to = lower_reg(l, IR_B32);
		if (c->is_framed)
			c->fp = lower_reg(l, IR_B32);
		c->inst = l->inst = lower_new_inst(l, fn, NULL);
		if (!l->inst || !own_formals(l, i, fn->param, fn->nr_params, c->arg) || !own_formals(l, i, fn->ret, fn->nr_rets, c->ret))
			return;
		l->inst->return_block = lower_new_block(l);
		/* the entry is written last, and goes on here */
		l->cur = lower_new_block(l);
		l->inst->depth = 0;
		if (l->tmp->failed)
			return;
		c->body = l->cur;
		if (fn->has_alloca && !c->is_framed)
			l->inst->old_sp = lower_op(l, IR_mov, IR_U32, IR_NO_REG, 1,
						   &(struct ir_operand){ .kind = IR_OPD_REG, .reg = lower_sp(l) });
		if (fn->refused)
			lower_refuse(l, "function '%s': %s", fn->sym->name, fn->refused);
		else
			lower_body(l);
		l->code[i].reg_end = l->fn->nr_regs;
	}
	l->owner = 0;
}

/* --- the stack ------------------------------------------------------------------------------- */
static struct ir_operand in_reg(ir_reg r)
{
	return (struct ir_operand){ .kind = IR_OPD_REG, .reg = r };
}

static struct ir_operand number(uint64_t v)
{
	return (struct ir_operand){ .kind = IR_OPD_IMM, .reg = IR_NO_REG, .imm = v };
}

static ir_reg add32(struct lower *l, ir_reg dst, struct ir_operand a, struct ir_operand b)
{
	struct ir_operand src[2] = { a, b };

	return lower_op(l, IR_add, IR_U32, dst, 2, src);
}

static void move(struct lower *l, ir_reg dst, struct ir_operand v)
{
	lower_op(l, IR_mov, l->fn->reg_type[dst], dst, 1, &v);
}

ir_reg lower_sp(struct lower *l)
{
	if (l->sp == IR_NO_REG)
		l->sp = lower_reg(l, IR_B32);
	return l->sp;
}

static ir_reg more_than(struct lower *l, enum ir_type type, struct ir_operand a, struct ir_operand b)
{
	struct ir_insn *in = lower_emit(l, IR_setp, type, 1, 2);
	ir_reg p = lower_reg(l, IR_PRED);

	if (in) {
		in->cmp = IR_GT;
		in->dst[0] = p;
		in->src[0] = a;
		in->src[1] = b;
	}
	return p;
}

static void trap_if(struct lower *l, ir_reg p)
{
	struct ir_insn *in = lower_emit(l, IR_trap, IR_NONE, 0, 0);

	if (in) {
		in->sub = IR_TRAP_STACK;
		in->guard = p;
	}
}

static ir_reg stack_end(struct lower *l)
{
	struct ir_operand size = { .kind = IR_OPD_SREG, .reg = IR_NO_REG, .index = IR_SREG_LOCAL_SIZE };

	return lower_op(l, IR_mov, IR_U32, IR_NO_REG, 1, &size);
}

ir_reg lower_alloca(struct lower *l, struct ir_operand bytes, enum ir_type type, uint32_t align)
{
	struct ir_operand slack = { .kind = IR_OPD_VAR, .reg = IR_NO_REG, .index = LOWER_SLACK | l->owner };
	ir_reg sp = lower_sp(l), at, wide, end, room;

	if (align > l->local_align)
		l->local_align = align;
	at = add32(l, IR_NO_REG, in_reg(sp), number(align - 1));
	at = lower_op(l, IR_and, IR_B32, at, 2, (struct ir_operand[]){ in_reg(at), number(UINT32_MAX & ~(uint64_t)(align - 1)) });
	/* 64 bits, so that nothing wraps, however much is asked for */
	wide = type == IR_U64 ? lower_op(l, IR_mov, IR_U64, IR_NO_REG, 1, &bytes) : lower_cvt(l, IR_U64, IR_U32, IR_NO_REG, bytes);
	end = stack_end(l);
	trap_if(l, more_than(l, IR_U64, in_reg(wide), in_reg(lower_cvt(l, IR_U64, IR_U32, IR_NO_REG, in_reg(end)))));
	room = lower_cvt(l, IR_U32, IR_U64, IR_NO_REG, in_reg(wide));
	/* and what follows keeps the alignment of frames */
	room = add32(l, room, in_reg(room), number(63));
	room = lower_op(l, IR_and, IR_B32, room, 2, (struct ir_operand[]){ in_reg(room), number(UINT32_C(0xffffffc0)) });
	add32(l, sp, in_reg(at), in_reg(room));
	add32(l, room, in_reg(sp), slack);
	trap_if(l, more_than(l, IR_U32, in_reg(room), in_reg(end)));
	return at;
}

static bool is_frame_storage(const struct lower *l, const struct ir_operand *o)
{
	return o->index & LOWER_STORAGE && l->storage[o->index & ~LOWER_STORAGE].in_memory && l->storage[o->index & ~LOWER_STORAGE].owner;
}

/* The code in whose frame it is; 0: in none. */
static uint32_t frame_of(const struct lower *l, const struct ir_operand *o, uint64_t *offset)
{
	if (o->kind != IR_OPD_VAR)
		return 0;
	if (is_frame_storage(l, o)) {
		const struct lower_storage *st = &l->storage[o->index & ~LOWER_STORAGE];

		*offset = st->offset + o->imm;
		return st->owner;
	}
	*offset = o->imm;
	return o->index >= LOWER_FRAME && o->index < LOWER_SLACK ? o->index & ~LOWER_FRAME : 0;
}

bool lower_needs_frame(const struct lower *l, const struct ir_insn *in)
{
	uint64_t offset;

	return in->nr_src && frame_of(l, &in->src[0], &offset);
}

void lower_frame_access(struct lower *l, struct lower_insn *from)
{
	struct ir_insn *in = &from->ir, *out;
	uint64_t offset = 0;
	uint32_t code = frame_of(l, &in->src[0], &offset);

	l->in = from->from;
	l->guard = in->guard;
	l->guard_neg = in->guard_neg;
	if (in->op != IR_mov) {
		out = lower_emit(l, (enum ir_op)in->op, (enum ir_type)in->type, in->nr_dst, in->nr_src);
		if (!out)
			return;
		*out = *in;
		out->src[0] = in_reg(l->code[code].fp);
		out->src[1].imm += offset;
	} else if (ir_type_bits(in->type) == 64) {
		ir_reg wide = lower_cvt(l, IR_U64, IR_U32, IR_NO_REG, in_reg(l->code[code].fp));

		lower_op(l, IR_add, IR_U64, in->dst[0], 2, (struct ir_operand[]){ in_reg(wide), number(offset) });
	} else {
		add32(l, in->dst[0], in_reg(l->code[code].fp), number(offset & UINT32_MAX));
	}
	l->guard = IR_NO_REG;
	l->guard_neg = false;
}

/* --- calls and returns, when all the rest is written ------------------------------------------ */
struct live {
	uint32_t words;
	uint64_t *in, *def;	/* of each block */
	uint32_t *owner;	/* of each register */
};

static bool has_bit(const uint64_t *set, uint32_t i)
{
	return set[i / 64] >> (i % 64) & 1;
}

static void add_bit(uint64_t *set, uint32_t i)
{
	set[i / 64] |= UINT64_C(1) << (i % 64);
}

static void note_use(struct live *lv, uint32_t b, ir_reg r)
{
	if (r != IR_NO_REG && !has_bit(lv->def + (size_t)b * lv->words, r))
		add_bit(lv->in + (size_t)b * lv->words, r);
}

static void note_slots(struct lower *l, struct live *lv, uint32_t b, uint32_t storage, bool is_def)
{
	const struct lower_storage *st = &l->storage[storage];

	if (st->in_memory) {
		if (st->owner)
			note_use(lv, b, l->code[st->owner].fp);
		return;
	}
	for (uint32_t k = 0; k < st->nr_slots; k++) {
		if (is_def)
			add_bit(lv->def + (size_t)b * lv->words, st->reg[k]);
		else
			note_use(lv, b, st->reg[k]);
	}
}

/* What is live where, if a call is taken as an instruction: from its `before` to its `after`. */
static bool find_live(struct lower *l, struct live *lv)
{
	uint32_t *goes_to = hg_pool_array(l->tmp, l->nr_blocks, sizeof(*goes_to));	/* from `before` and `after`: block + 1 */
	uint64_t *tmp;
	bool again = true;

	lv->words = l->fn->nr_regs / 64 + 1;
	if ((uint64_t)lv->words * l->nr_blocks > UINT64_C(1) << 26) {
		lower_refuse(l, "too large for a kernel with recursion");
		return false;
	}
	lv->in = hg_pool_array(l->tmp, (size_t)lv->words * l->nr_blocks, sizeof(*lv->in));
	lv->def = hg_pool_array(l->tmp, (size_t)lv->words * l->nr_blocks, sizeof(*lv->def));
	lv->owner = hg_pool_array(l->tmp, l->fn->nr_regs, sizeof(*lv->owner));
	tmp = hg_pool_array(l->tmp, lv->words, sizeof(*tmp));
	if (l->tmp->failed)
		return false;
	for (uint32_t c = 1; c < l->nr_codes; c++)
		for (ir_reg r = l->code[c].reg_begin; l->code[c].is_framed && r < l->code[c].reg_end; r++)
			lv->owner[r] = c;
	for (uint32_t s = 0; s < l->nr_storages; s++)
		for (uint32_t k = 0; !l->storage[s].in_memory && k < l->storage[s].nr_slots; k++)
			lv->owner[l->storage[s].reg[k]] = l->storage[s].owner;
	if (l->sp != IR_NO_REG)
		lv->owner[l->sp] = 0;
	for (uint32_t i = 0; i < l->nr_sites; i++) {
		const struct lower_site *s = &l->site[i];
		const struct ptx_func *fn = l->code[s->callee].fn;

		goes_to[s->before] = s->after + 1;
		goes_to[s->after] = s->next + 1;
		for (uint32_t a = 0; a < fn->nr_params; a++) {
			if (s->arg[a].storage != UINT32_MAX)
				note_slots(l, lv, s->before, s->arg[a].storage, false);
			else if (s->arg[a].value.kind == IR_OPD_REG)
				note_use(lv, s->before, s->arg[a].value.reg);
		}
		for (uint32_t r = 0; r < fn->nr_rets; r++) {
			if (s->ret[r].storage != UINT32_MAX)
				note_slots(l, lv, s->after, s->ret[r].storage, true);
			else
				add_bit(lv->def + (size_t)s->after * lv->words, s->ret[r].value.reg);
		}
	}
	for (uint32_t c = 1; c < l->nr_codes; c++) {
		const struct lower_code *code = &l->code[c];
		uint32_t b = code->inst->return_block;

		note_use(lv, b, code->ret_to);
		note_use(lv, b, code->fp);
		for (uint32_t r = 0; r < code->fn->nr_rets; r++) {
			if (code->ret[r].storage != UINT32_MAX)
				note_slots(l, lv, b, code->inst->storage[code->fn->ret[r]->var.index], false);
			else
				note_use(lv, b, code->inst->reg_base + code->fn->ret[r]->reg);
		}
	}
	for (uint32_t b = 0; b < l->nr_blocks; b++)
		for (uint32_t i = 0; i < l->block[b].nr; i++) {
			const struct ir_insn *in = &l->block[b].insn[i].ir;

			for (unsigned int s = 0; s < in->nr_src; s++)
				if (in->src[s].kind == IR_OPD_REG)
					note_use(lv, b, in->src[s].reg);
			note_use(lv, b, in->guard);
			for (unsigned int d = 0; d < in->nr_dst; d++) {
				if (in->dst[d] == IR_NO_REG)
					continue;
				if (in->guard == IR_NO_REG)
					add_bit(lv->def + (size_t)b * lv->words, in->dst[d]);
				else
					note_use(lv, b, in->dst[d]);
			}
		}
	while (again) {
		again = false;
		for (uint32_t b = l->nr_blocks; b-- > 0;) {
			const struct ir_insn *t = l->block[b].nr ? &l->block[b].insn[l->block[b].nr - 1].ir : NULL;
			uint64_t *in = lv->in + (size_t)b * lv->words, *def = lv->def + (size_t)b * lv->words;
			uint32_t nr = goes_to[b] ? 1 : t ? ir_nr_targets(t) : 0;

			memset(tmp, 0, lv->words * sizeof(*tmp));
			for (uint32_t i = 0; i < nr; i++) {
				const uint64_t *from = lv->in + (size_t)(goes_to[b] ? goes_to[b] - 1 : ir_target(t, i)) * lv->words;

				for (uint32_t w = 0; w < lv->words; w++)
					tmp[w] |= from[w];
			}
			for (uint32_t w = 0; w < lv->words; w++) {
				uint64_t grown = in[w] | (tmp[w] & ~def[w]);

				again |= grown != in[w];
				in[w] = grown;
			}
		}
	}
	return true;
}

static struct ir_insn *local_access(struct lower *l, enum ir_op op, enum ir_type type, struct ir_operand base, int64_t offset,
				    struct ir_operand data)
{
	struct ir_insn *in = lower_emit(l, op, type, op == IR_ld, op == IR_ld ? 2 : 3);

	if (!in)
		return NULL;
	in->space = IR_LOCAL;
	in->src[0] = base;
	in->src[1] = number((uint64_t)offset);
	if (op == IR_ld)
		in->dst[0] = data.reg;
	else
		in->src[2] = data;
	return in;
}

/* Register r to the stack, or back. */
static void save_or_restore(struct lower *l, ir_reg r, int64_t offset, bool save)
{
	enum ir_type type = l->fn->reg_type[r];
	ir_reg t;

	if (type != IR_PRED) {
		local_access(l, save ? IR_st : IR_ld, type, in_reg(l->sp), offset, in_reg(r));
		return;
	}
	t = lower_reg(l, IR_B32);
	if (save) {
		lower_op(l, IR_selp, IR_B32, t, 3, (struct ir_operand[]){ number(1), number(0), in_reg(r) });
		local_access(l, IR_st, IR_B32, in_reg(l->sp), offset, in_reg(t));
	} else {
		struct ir_insn *in;

		local_access(l, IR_ld, IR_B32, in_reg(l->sp), offset, in_reg(t));
		in = lower_emit(l, IR_setp, IR_B32, 1, 2);
		if (in) {
			in->cmp = IR_NE;
			in->dst[0] = r;
			in->src[0] = in_reg(t);
			in->src[1] = number(0);
		}
	}
}

/* Where a storage in memory is; frame: the register that holds the beginning of its owner's frame, where that is not fp. */
static struct ir_operand storage_base(const struct lower *l, const struct lower_storage *st, ir_reg frame, int64_t *offset)
{
	*offset = st->offset;
	if (!st->owner)
		return number(0);
	return in_reg(frame != IR_NO_REG ? frame : l->code[st->owner].fp);
}

static void copy_storage(struct lower *l, uint32_t to, ir_reg to_frame, uint32_t from, ir_reg from_frame)
{
	const struct lower_storage *d = &l->storage[to], *s = &l->storage[from];
	struct ir_operand d_base, s_base;
	int64_t d_at, s_at;

	if (to == from)
		return;
	if (!d->in_memory) {
		for (uint32_t k = 0; k < d->nr_slots; k++)
			move(l, d->reg[k], in_reg(s->reg[k]));
		return;
	}
	d_base = storage_base(l, d, to_frame, &d_at);
	s_base = storage_base(l, s, from_frame, &s_at);
	for (uint64_t i = 0, size = l->storage[layout_number(l, to)].size; i < size; i += 8) {
		ir_reg t = lower_reg(l, IR_B64);

		local_access(l, IR_ld, IR_B64, s_base, s_at + (int64_t)i, in_reg(t));
		local_access(l, IR_st, IR_B64, d_base, d_at + (int64_t)i, in_reg(t));
	}
}

static uint32_t round_up(uint64_t bytes, uint32_t align)
{
	return (uint32_t)((bytes + align - 1) & ~(uint64_t)(align - 1));
}

/* A callee's parameter in memory: its own, in the frame that begins where the stack ends now. */
static uint32_t memory_of(const struct lower *l, const struct lower_code *c, const struct ptx_sym *formal, uint32_t shared)
{
	return c->is_framed && l->storage[shared].in_memory ? c->inst->storage[formal->var.index] : shared;
}

static void write_site(struct lower *l, struct live *lv, uint32_t i)
{
	const struct lower_site *s = &l->site[i];
	struct lower_code *caller = &l->code[s->caller], *callee = &l->code[s->callee];
	const struct ptx_func *fn = callee->fn;
	bool saves = caller->is_framed && callee->is_framed && caller->fn->part == callee->fn->part;
	ir_reg *saved = NULL;
	uint32_t nr_saved = 0, nr = 0, size = 0, place = 0;
	uint64_t *live;
	ir_reg frame = callee->is_framed ? l->sp : IR_NO_REG;

	l->in = s->from;
	if (saves) {
		/* the largest first: each is then aligned */
		static const enum ir_type class[] = { IR_B128, IR_B64, IR_B32, IR_PRED, IR_B16 };

		live = lv->in + (size_t)s->after * lv->words;
		add_bit(live, caller->fp);
		for (ir_reg r = 0; r < lv->words * 64; r++)
			nr += has_bit(live, r) && lv->owner[r] == s->caller;
		saved = hg_pool_array(l->tmp, nr, sizeof(*saved));
		if (!saved)
			return;
		for (size_t c = 0; c < sizeof(class) / sizeof(class[0]); c++)
			for (ir_reg r = 0; r < lv->words * 64; r++)
				if (has_bit(live, r) && lv->owner[r] == s->caller && l->fn->reg_type[r] == class[c]) {
					saved[nr_saved++] = r;
					size += class[c] == IR_PRED ? 4 : ir_type_bits(class[c]) / 8;
				}
		size = round_up(size, l->stack_align);
		if (size > caller->slack)
			caller->slack = size;
	}
	l->cur = s->before;
	for (uint32_t k = 0, at = 0; k < nr_saved; k++) {
		save_or_restore(l, saved[k], at, true);
		at += l->fn->reg_type[saved[k]] == IR_PRED ? 4 : ir_type_bits(l->fn->reg_type[saved[k]]) / 8;
	}
	if (size)
		add32(l, l->sp, in_reg(l->sp), number(size));
	for (uint32_t a = 0; a < fn->nr_params; a++) {
		if (s->arg[a].storage == UINT32_MAX)
			move(l, callee->arg[a].reg, s->arg[a].value);
		else
			copy_storage(l, memory_of(l, callee, fn->param[a], callee->arg[a].storage), frame, s->arg[a].storage, IR_NO_REG);
	}
	while (callee->site[place] != i)
		place++;
	move(l, callee->link, number(place));
	lower_bra(l, callee->entry);

	l->cur = s->after;
	for (uint32_t k = 0, at = 0; k < nr_saved; k++) {
		save_or_restore(l, saved[k], (int64_t)at - size, false);
		at += l->fn->reg_type[saved[k]] == IR_PRED ? 4 : ir_type_bits(l->fn->reg_type[saved[k]]) / 8;
	}
	for (uint32_t r = 0; r < fn->nr_rets; r++) {
		if (s->ret[r].storage == UINT32_MAX)
			move(l, s->ret[r].value.reg, in_reg(callee->ret[r].reg));
		else
			copy_storage(l, s->ret[r].storage, IR_NO_REG, memory_of(l, callee, fn->ret[r], callee->ret[r].storage), frame);
	}
	if (size)
		add32(l, l->sp, in_reg(l->sp), number(UINT32_MAX & -(uint64_t)size));
	lower_bra(l, s->next);
}

static void write_return(struct lower *l, struct lower_code *c)
{
	struct ir_insn *in;

	l->in = NULL;
	l->cur = c->inst->return_block;
	for (uint32_t r = 0; r < c->fn->nr_rets; r++) {
		const struct ptx_sym *sym = c->fn->ret[r];

		if (c->ret[r].storage == UINT32_MAX)
			move(l, c->ret[r].reg, in_reg(c->inst->reg_base + sym->reg));
		else if (!l->storage[c->ret[r].storage].in_memory)
			copy_storage(l, c->ret[r].storage, IR_NO_REG, c->inst->storage[sym->var.index], IR_NO_REG);
	}
	if (c->is_framed)
		move(l, l->sp, in_reg(c->fp));
	else if (c->inst->old_sp != IR_NO_REG)
		move(l, l->sp, in_reg(c->inst->old_sp));
	if (c->nr_sites == 1) {
		lower_bra(l, l->site[c->site[0]].after);
		return;
	}
	in = lower_emit(l, IR_brx, IR_NONE, 0, 1);
	if (!in)
		return;
	in->src[0] = in_reg(c->ret_to);
	in->nr_targets = c->nr_sites;
	in->targets = hg_pool_array(l->tmp, c->nr_sites, sizeof(*in->targets));
	for (uint32_t i = 0; in->targets && i < c->nr_sites; i++)
		in->targets[i] = l->site[c->site[i]].after;
}

static void write_entry(struct lower *l, struct lower_code *c)
{
	l->in = NULL;
	l->cur = c->entry;
	if (c->is_framed) {
		uint32_t size = round_up(c->frame_bytes, l->stack_align);
		ir_reg end;

		move(l, c->fp, in_reg(l->sp));
		add32(l, l->sp, in_reg(c->fp), number(size));
		end = add32(l, IR_NO_REG, in_reg(c->fp), number((uint64_t)size + c->slack));
		l->in = c->fn->nr_insns ? &c->fn->insn[0] : NULL;
		trap_if(l, more_than(l, IR_U32, in_reg(end), in_reg(stack_end(l))));
		l->in = NULL;
	}
	move(l, c->ret_to, in_reg(c->link));
	for (uint32_t a = 0; a < c->fn->nr_params; a++) {
		const struct ptx_sym *sym = c->fn->param[a];

		if (c->arg[a].storage == UINT32_MAX)
			move(l, c->inst->reg_base + sym->reg, in_reg(c->arg[a].reg));
		else if (!l->storage[c->arg[a].storage].in_memory)
			copy_storage(l, c->inst->storage[sym->var.index], IR_NO_REG, c->arg[a].storage, IR_NO_REG);
	}
	lower_bra(l, c->body);
}

/* The first instruction of the kernel: the stack is empty. */
static void write_start(struct lower *l)
{
	struct lower_block *b = &l->block[0];
	struct lower_insn last;

	l->in = NULL;
	l->cur = 0;
	move(l, l->sp, (struct ir_operand){ .kind = IR_OPD_VAR, .reg = IR_NO_REG, .index = LOWER_STACK });
	if (lower_stopped(l))
		return;
	last = b->insn[b->nr - 1];
	memmove(b->insn + 1, b->insn, (b->nr - 1) * sizeof(*b->insn));
	b->insn[0] = last;
}

void lower_finish_calls(struct lower *l)
{
	struct live lv = { 0 };
	bool any_frame = false;

	l->guard = IR_NO_REG;
	l->guard_neg = false;
	for (uint32_t c = 1; c < l->nr_codes; c++)
		any_frame |= l->code[c].is_framed;
	if (any_frame && !find_live(l, &lv))
		return;
	for (uint32_t i = 0; i < l->nr_sites && !lower_stopped(l); i++)
		write_site(l, &lv, i);
	for (uint32_t c = 1; c < l->nr_codes && !lower_stopped(l); c++) {
		write_return(l, &l->code[c]);
		write_entry(l, &l->code[c]);
	}
	if (l->sp != IR_NO_REG && !lower_stopped(l))
		write_start(l);
	l->in = NULL;
}
