/* agreement.c - the table of agreement: rows are kernels, columns are targets. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/msg.h"
#include "replay/replay.h"
#include "tools/agreement.h"

struct column {
	struct hg_side *side;
	struct hg_agreement with;		/* the first one */
	struct hg_side_detail *detail;		/* of each kernel's first launch that differs */
	struct hg_side_detail parted;		/* of where it parts from the first one, if no launch made that */
};

struct agreement {
	struct hg_sides *sides;
	struct hg_side *first;			/* that was replayed */
	struct column *column;			/* all but the first */
	size_t nr;
};

static bool was_replayed(const struct hg_side *s)
{
	return s->target && s->status != HG_ERR_UNAVAILABLE;
}

/* what is to be shown, asked for and fetched */

static enum hg_status ask(struct agreement *a, struct column *c, uint64_t *to)
{
	const struct hg_agreement *with = &c->with;
	enum hg_status st = HG_OK;

	for (size_t k = 0; k <= a->sides->nr_kernels && !st; k++) {
		bool is_parted = k == a->sides->nr_kernels;
		uint64_t seq = is_parted ? with->is_made ? 0 : with->seq : with->kernel[k].seq;
		uint64_t addr = is_parted ? with->addr : with->kernel[k].addr, size = is_parted ? with->size : with->kernel[k].size;

		if (!seq)
			continue;
		st = hg_side_ask(c->side, seq, addr, size);
		if (!st)
			st = hg_side_ask(a->first, seq, addr, size);
		if (seq > *to)
			*to = seq;
	}
	return st;
}

static void fetch(struct agreement *a, enum hg_status (*again)(size_t index, uint64_t to, void *arg), void *arg)
{
	uint64_t to = 0;

	for (size_t i = 0; i < a->nr; i++)
		if (ask(a, &a->column[i], &to))
			return;
	if (!to || again((size_t)(a->first - a->sides->side), to, arg))
		return;
	for (size_t i = 0; i < a->nr; i++) {
		struct column *c = &a->column[i];

		if (!c->side->nr_probes || again((size_t)(c->side - a->sides->side), c->side->probe[c->side->nr_probes - 1].seq, arg))
			continue;
		for (size_t k = 0; k < a->sides->nr_kernels; k++)
			if (c->with.kernel[k].seq)
				hg_side_detail(a->first, c->side, c->with.kernel[k].seq, c->with.kernel[k].addr, &c->detail[k]);
		if (c->with.seq && !c->with.is_made)
			hg_side_detail(a->first, c->side, c->with.seq, c->with.addr, &c->parted);
	}
}

enum hg_status agreement_new(struct hg_sides *sides, enum hg_status (*again)(size_t index, uint64_t to, void *arg), void *arg,
			     struct agreement **out)
{
	struct agreement *a = calloc(1, sizeof(*a));
	enum hg_status st = HG_ERR_NOMEM;

	if (!a)
		return st;
	a->sides = sides;
	a->column = calloc(sides->nr_sides, sizeof(*a->column));
	if (!a->column)
		goto err;
	for (size_t i = 0; i < sides->nr_sides && !a->first; i++)
		if (was_replayed(&sides->side[i]))
			a->first = &sides->side[i];
	if (!a->first) {
		st = HG_ERR_UNAVAILABLE;
		goto err;
	}
	for (size_t i = 0; i < sides->nr_sides; i++) {
		struct column *c = &a->column[a->nr];

		if (&sides->side[i] == a->first)
			continue;
		a->nr++;
		c->side = &sides->side[i];
		c->detail = calloc(sides->nr_kernels + 1, sizeof(*c->detail));
		if (!c->detail)
			goto err;
		st = hg_side_compare(a->first, c->side, &c->with);
		if (st)
			goto err;
	}
	fetch(a, again, arg);
	*out = a;
	return HG_OK;

err:
	agreement_free(a);
	return st;
}

void agreement_free(struct agreement *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->nr; i++) {
		free(a->column[i].detail);
		hg_agreement_free(&a->column[i].with);
	}
	free(a->column);
	free(a);
}

bool agreement_differs(const struct agreement *a, uint32_t ulp)
{
	for (size_t i = 0; i < a->nr; i++) {
		const struct column *c = &a->column[i];

		if (c->with.seq && !c->with.is_made)
			return true;
		for (size_t k = 0; k < a->sides->nr_kernels; k++)
			if (c->with.kernel[k].differ && !(c->detail[k].is_seen && c->detail[k].max_ulp <= ulp))
				return true;
	}
	return false;
}

/* the table */

static const struct hg_side_refused *refused(const struct hg_side *s, size_t kernel)
{
	for (size_t i = 0; i < s->nr_refused; i++)
		if (s->refused[i].kernel == kernel)
			return &s->refused[i];
	return NULL;
}

static uint64_t not_reached(const struct hg_agreement_kernel *k)
{
	return k->launches - k->agree - k->differ - k->other_input;
}

static void cell(const struct column *c, size_t kernel, char *out, size_t size)
{
	const struct hg_agreement_kernel *k = &c->with.kernel[kernel];
	const struct { uint64_t nr; const char *what; } part[] = {
		{ k->agree, "agree" }, { k->differ, "DIFFER" }, { k->other_input, "from other input" },
		{ not_reached(k), refused(c->side, kernel) ? "REFUSED" : "not reached" },
	};
	size_t at = 0;

	if (!was_replayed(c->side))
		snprintf(out, size, "not available");
	else if (k->agree == k->launches)
		snprintf(out, size, k->changed ? "all agree" : "no change seen");
	else
		for (size_t i = 0; i < sizeof(part) / sizeof(part[0]) && at < size; i++)
			if (part[i].nr)
				at += (size_t)snprintf(out + at, size - at, "%s%" PRIu64 " %s", at ? ", " : "", part[i].nr, part[i].what);
}

static void print_detail(const struct hg_side_detail *d, uint64_t addr, uint64_t size, const char *other)
{
	printf("the buffer at 0x%" PRIx64 " (%" PRIu64 " bytes)", addr, size);
	if (!d->is_seen) {
		printf(", whose bytes were not the same or not there when this was done again\n");
		return;
	}
	printf(": %" PRIu64 " byte%s, the first at offset %" PRIu64 ": word 0x%08" PRIx32 ", on %s 0x%08" PRIx32, d->nr_bytes,
	       d->nr_bytes == 1 ? " differs" : "s differ", d->first, d->value, other, d->other);
	if (d->max_ulp < UINT32_MAX)
		printf("; as floats at most %" PRIu64 " ulp apart", d->max_ulp);
	putchar('\n');
}

static void print_column(const struct agreement *a, const struct column *c)
{
	const struct hg_agreement *with = &c->with;

	for (size_t k = 0; k < a->sides->nr_kernels; k++) {
		const struct hg_side_refused *no = refused(c->side, k);

		if (no && with->kernel[k].launches)
			printf("  %s: REFUSED: %s\n", c->side->target, no->why);
	}
	if (c->side->stopped)
		printf("  %s: stopped: %s\n", c->side->target, c->side->stopped);
	if (with->seq && !with->is_made) {
		printf("  %s: before kernel '%s', record %" PRIu64 ", memory is not what it is on %s, and no launch that was looked at made that "
		       "(", c->side->target, a->sides->kernel[with->by], with->seq, a->first->target);
		if (with->last_equal)
			printf("all was equal after record %" PRIu64, with->last_equal);
		else
			printf("it is the first one");
		printf("); after it, ");
		print_detail(&c->parted, with->addr, with->size, a->first->target);
	}
	for (size_t k = 0; k < a->sides->nr_kernels; k++) {
		if (!with->kernel[k].seq)
			continue;
		printf("  %s: kernel '%s', record %" PRIu64 "%s: ", c->side->target, a->sides->kernel[k], with->kernel[k].seq,
		       with->kernel[k].seq == with->seq ? ", THE FIRST DIFFERENCE" : "");
		print_detail(&c->detail[k], with->kernel[k].addr, with->kernel[k].size, a->first->target);
	}
}

static bool any_launch(const struct agreement *a)
{
	for (size_t k = 0; a->nr && k < a->sides->nr_kernels; k++)
		if (a->column[0].with.kernel[k].launches)
			return true;
	return false;
}

void agreement_say(const struct agreement *a, void (*call_site)(uint32_t stack, void *arg), void *arg)
{
	for (size_t i = 0; i < a->nr; i++) {
		const struct hg_agreement *with = &a->column[i].with;

		if (!with->seq)
			continue;
		pr_err("%s is not like %s %s kernel '%s', record %" PRIu64, a->column[i].side->target, a->first->target,
		       with->is_made ? "after" : "before", a->sides->kernel[with->by], with->seq);
		if (with->stack)
			call_site(with->stack, arg);
	}
}

void agreement_print(const struct agreement *a)
{
	enum { CELL = 96 };
	int *width = calloc(a->nr + 1, sizeof(*width));
	char text[CELL];

	if (!width)
		return;
	printf("\nside by side with %s: ", a->first->target);
	if (a->sides->each > 1)
		printf("memory that a launch can reach, before and after one launch in %" PRIu64 "\n", a->sides->each);
	else
		printf("memory that a launch can reach, before and after each one\n");
	for (size_t i = 0; i < a->nr; i++) {
		width[i] = (int)strlen(a->column[i].side->target);
		for (size_t k = 0; k < a->sides->nr_kernels; k++) {
			cell(&a->column[i], k, text, sizeof(text));
			if (a->column[i].with.kernel[k].launches && (int)strlen(text) > width[i])
				width[i] = (int)strlen(text);
		}
	}
	if (!any_launch(a)) {
		printf("  no launch was looked at\n");
		goto out;
	}
	printf("  %8s", "launches");
	for (size_t i = 0; i < a->nr; i++)
		printf("  %-*s", width[i], a->column[i].side->target);
	printf("  kernel\n");
	for (size_t k = 0; k < a->sides->nr_kernels; k++) {
		if (!a->column[0].with.kernel[k].launches)
			continue;
		printf("  %8" PRIu64, a->column[0].with.kernel[k].launches);
		for (size_t i = 0; i < a->nr; i++) {
			cell(&a->column[i], k, text, sizeof(text));
			printf("  %-*s", width[i], text);
		}
		printf("  %s\n", a->sides->kernel[k]);
	}
out:
	if (a->first->stopped)	/* what comes after it is not compared */
		printf("  %s: stopped: %s\n", a->first->target, a->first->stopped);
	for (size_t i = 0; i < a->nr; i++)
		print_column(a, &a->column[i]);
	free(width);
}

/* the same as JSON */

static json_t *detail_json(const struct hg_side_detail *d, uint64_t seq, uint64_t addr, uint64_t size)
{
	char text[3][24];
	json_t *row;

	snprintf(text[0], sizeof(text[0]), "0x%" PRIx64, addr);
	row = json_pack("{s:I, s:s, s:I}", "seq", (json_int_t)seq, "address", text[0], "size", (json_int_t)size);
	if (!row || !d->is_seen)
		return row;
	snprintf(text[1], sizeof(text[1]), "0x%08" PRIx32, d->value);
	snprintf(text[2], sizeof(text[2]), "0x%08" PRIx32, d->other);
	json_object_set_new(row, "bytes", json_integer((json_int_t)d->nr_bytes));
	json_object_set_new(row, "first", json_integer((json_int_t)d->first));
	json_object_set_new(row, "ulp", json_integer((json_int_t)d->max_ulp));
	json_object_set_new(row, "word", json_string(text[1]));
	json_object_set_new(row, "word_there", json_string(text[2]));
	return row;
}

static json_t *kernel_json(const struct agreement *a, const struct column *c, size_t k)
{
	const struct hg_agreement_kernel *row = &c->with.kernel[k];
	const struct hg_side_refused *no = refused(c->side, k);
	json_t *out = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "kernel", a->sides->kernel[k], "launches", (json_int_t)row->launches,
				"agree", (json_int_t)row->agree, "differ", (json_int_t)row->differ, "other_input",
				(json_int_t)row->other_input, "not_reached", (json_int_t)not_reached(row), "changed",
				(json_int_t)row->changed);

	if (out && no)
		json_object_set_new(out, "refused", json_string(no->why));
	if (out && row->seq)
		json_object_set_new(out, "first", detail_json(&c->detail[k], row->seq, row->addr, row->size));
	return out;
}

static json_t *column_json(const struct agreement *a, const struct column *c)
{
	json_t *kernels = json_array(), *out;

	for (size_t k = 0; k < a->sides->nr_kernels; k++)
		if (c->with.kernel[k].launches)
			json_array_append_new(kernels, kernel_json(a, c, k));
	out = json_pack("{s:s, s:s, s:b, s:o}", "target", c->side->target, "status", hg_status_text(c->side->status), "available",
			was_replayed(c->side), "kernels", kernels);
	if (out && c->side->stopped)
		json_object_set_new(out, "stopped", json_string(c->side->stopped));
	if (out && c->with.seq) {
		json_t *first = detail_json(c->with.is_made ? &c->detail[c->with.by] : &c->parted, c->with.seq, c->with.addr, c->with.size);

		json_object_set_new(first, "kernel", json_string(a->sides->kernel[c->with.by]));
		json_object_set_new(first, "made_by_it", json_boolean(c->with.is_made));
		if (!c->with.is_made)
			json_object_set_new(first, "last_equal", json_integer((json_int_t)c->with.last_equal));
		json_object_set_new(out, "first_difference", first);
	}
	return out;
}

json_t *agreement_json(const struct agreement *a)
{
	json_t *targets = json_array();

	for (size_t i = 0; i < a->nr; i++)
		json_array_append_new(targets, column_json(a, &a->column[i]));
	return json_pack("{s:s, s:I, s:o}", "with", a->first->target, "each", (json_int_t)a->sides->each, "targets",
			 targets);
}
