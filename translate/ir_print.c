/* ir_print.c - hgIR as text; docs/hgir.md describes it, ir_parse.c reads it. */
#include "translate/ir.h"
#include "translate/ir_names.h"

#include <inttypes.h>
#include <string.h>

static void print_string(const char *s, FILE *f)
{
	putc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\' || c < 32 || c > 126)
			fprintf(f, "\\x%02x", c);
		else
			putc(c, f);
	}
	putc('"', f);
}

static char class_letter(enum ir_type t)
{
	switch (t) {
	case IR_PRED: return 'p';
	case IR_B16: return 'h';
	case IR_B32: return 'r';
	case IR_B64: return 'd';
	case IR_B128: return 'q';
	default: return '?';
	}
}

static void print_reg(const struct ir_func *fn, ir_reg r, FILE *f)
{
	if (r == IR_NO_REG)
		putc('_', f);
	else
		fprintf(f, "%%%c%" PRIu32, r < fn->nr_regs ? class_letter(fn->reg_type[r]) : '?', r);
}

static void print_operand(const struct ir_module *m, const struct ir_func *fn, const struct ir_operand *o, char letter,
			  FILE *f)
{
	switch (o->kind) {
	case IR_OPD_REG:
		if (o->negated)
			putc('!', f);
		print_reg(fn, o->reg, f);
		return;
	case IR_OPD_IMM:
		if (letter == 'i')
			fprintf(f, "%" PRId64, (int64_t)o->imm);
		else
			fprintf(f, "0x%" PRIx64, o->imm);
		return;
	case IR_OPD_VAR:
		if (m && o->index < m->nr_vars)
			fprintf(f, "&%s+0x%" PRIx64, m->var[o->index].name, o->imm);
		else
			fprintf(f, "&%" PRIu32 "+0x%" PRIx64, o->index, o->imm);
		return;
	case IR_OPD_SREG:
		fprintf(f, "$%s", o->index < IR_SREG_COUNT ? ir_sreg_name[o->index] : "?");
		return;
	}
}

static void print_word(const char *s, FILE *f)
{
	if (*s)
		fprintf(f, ".%s", s);
}

static void print_insn(const struct ir_module *m, const struct ir_func *fn, const struct ir_insn *in, FILE *f)
{
	const struct ir_op_desc *d = &ir_op_desc[in->op];
	const char *const *sub = ir_sub_names(in->op);
	const char *letter = d->src;

	if (in->guard != IR_NO_REG) {
		fprintf(f, "@%s", in->guard_neg ? "!" : "");
		print_reg(fn, in->guard, f);
		putc(' ', f);
	}
	for (unsigned int i = 0; i < in->nr_dst; i++) {
		print_reg(fn, in->dst[i], f);
		fputs(i + 1 < in->nr_dst ? ", " : " = ", f);
	}
	fputs(d->name, f);
	if (in->op == IR_lop3)
		fprintf(f, ".0x%02x", in->sub);
	else if (sub)
		print_word(sub[in->sub], f);
	print_word(ir_cmp_name[in->cmp], f);
	print_word(ir_bool_name[in->boolop], f);
	print_word(ir_rnd_name[in->rnd], f);
	print_word(ir_sem_name[in->sem], f);
	print_word(ir_scope_name[in->scope], f);
	if (in->space != IR_GENERIC)
		print_word(ir_space_name[in->space], f);
	for (unsigned int i = 0; ir_flag_name[i]; i++)
		if (in->flags & (1u << i))
			print_word(ir_flag_name[i], f);
	if (in->type != IR_NONE)
		print_word(ir_type_name(in->type), f);
	if (in->type2 != IR_NONE)
		print_word(ir_type_name(in->type2), f);
	for (unsigned int i = 0; i < in->nr_src; i++) {
		fputs(i ? ", " : " ", f);
		print_operand(m, fn, &in->src[i], *letter, f);
		if (letter[0] && letter[1] != '*')
			letter++;
		if (*letter == '?')
			letter++;
	}
	for (unsigned int i = 0; i < ir_nr_targets(in); i++)
		fprintf(f, "%sb%" PRIu32, i || in->nr_src ? ", " : " ", ir_target(in, i));
}

void ir_print_func(const struct ir_module *m, const struct ir_func *fn, FILE *f)
{
	fputs("func ", f);
	print_string(fn->name, f);
	fputs(" {\n", f);
	if (fn->line)
		fprintf(f, "\tline %" PRIu32 "\n", fn->line);
	for (uint32_t i = 0; i < fn->nr_params; i++)
		fprintf(f, "\tparam %" PRIu32 " %" PRIu32 " %" PRIu32 "%s\n", fn->param[i].offset, fn->param[i].size,
			fn->param[i].align, fn->param[i].is_pointer ? " pointer" : "");
	if (fn->param_bytes)
		fprintf(f, "\tparam_bytes %" PRIu32 "\n", fn->param_bytes);
	if (fn->shared_bytes)
		fprintf(f, "\tshared_bytes %" PRIu32 "\n", fn->shared_bytes);
	if (fn->local_bytes)
		fprintf(f, "\tlocal_bytes %" PRIu32 "\n", fn->local_bytes);
	if (fn->max_threads)
		fprintf(f, "\tmax_threads %" PRIu32 "\n", fn->max_threads);
	if (fn->req_threads[0])
		fprintf(f, "\treq_threads %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", fn->req_threads[0],
			fn->req_threads[1], fn->req_threads[2]);
	if (fn->uses_dynamic_shared)
		fputs("\tuses dynamic_shared\n", f);
	if (fn->uses_grid_sync)
		fputs("\tuses grid_sync\n", f);
	if (fn->needs_zeroed_shared)
		fputs("\tuses zeroed_shared\n", f);
	if (fn->uses_stack)
		fputs("\tuses stack\n", f);
	if (fn->refused) {
		fputs("\trefused ", f);
		print_string(fn->refused, f);
		putc('\n', f);
	}
	if (fn->nr_regs) {
		fputs("\tregs", f);
		for (uint32_t i = 0, run; i < fn->nr_regs; i += run) {
			for (run = 1; i + run < fn->nr_regs && fn->reg_type[i + run] == fn->reg_type[i]; run++)
				;
			fprintf(f, " %c%" PRIu32, class_letter(fn->reg_type[i]), run);
		}
		putc('\n', f);
	}
	for (uint32_t b = 0; b < fn->nr_blocks; b++) {
		fprintf(f, "b%" PRIu32 ":\n", b);
		for (uint32_t i = 0; i < fn->block[b].nr_insns; i++) {
			putc('\t', f);
			print_insn(m, fn, &fn->block[b].insn[i], f);
			if (fn->block[b].insn[i].line)
				fprintf(f, " ;%" PRIu32, fn->block[b].insn[i].line);
			putc('\n', f);
		}
	}
	fputs("}\n", f);
}

static void print_var(const struct ir_var *v, FILE *f)
{
	fputs("var ", f);
	print_string(v->name, f);
	fprintf(f, " %s size %" PRIu64 " align %" PRIu32 "%s", v->space == IR_CONST ? "const" : "global", v->size,
		v->align, v->is_visible ? " visible" : "");
	if (v->init) {
		size_t n = v->size;

		/* Trailing zeros are not written. */
		while (n && !((const unsigned char *)v->init)[n - 1])
			n--;
		fputs(" init ", f);
		for (size_t i = 0; i < n; i++)
			fprintf(f, "%02x", ((const unsigned char *)v->init)[i]);
		if (!n)
			fputs("00", f);
	}
	for (size_t i = 0; i < v->nr_relocs; i++)
		fprintf(f, " reloc %" PRIu32 " %" PRIu32 " %" PRId64, v->relocs[i].offset, v->relocs[i].var,
			v->relocs[i].addend);
	putc('\n', f);
}

void ir_print(const struct ir_module *m, FILE *f)
{
	fputs("hgir 1\n", f);
	for (uint32_t i = 0; i < m->nr_vars; i++)
		print_var(&m->var[i], f);
	for (uint32_t i = 0; i < m->nr_funcs; i++)
		ir_print_func(m, &m->func[i], f);
}
