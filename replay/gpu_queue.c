/* gpu_queue.c - failures, prints and names of kernels, for queues on every kind of GPU. */
#define _GNU_SOURCE
#include "replay/gpu_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/gpu_state.h"

void gpu_target_init(struct gpu_target *t, bool (*is_idle)(struct hg_queue *q))
{
	pthread_mutex_init(&t->lock, NULL);
	t->is_idle = is_idle;
}

void gpu_target_fini(struct gpu_target *t)
{
	struct gpu_note *note;

	for (note = t->notes; note; note = t->notes) {
		t->notes = note->next;
		free(note);
	}
	pthread_mutex_destroy(&t->lock);
}

bool gpu_target_fault(struct gpu_target *t, struct hg_fault *out)
{
	struct gpu_note *note;

	if (!atomic_load_explicit(&t->has_notes, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&t->lock);
	note = t->notes;
	if (note) {
		t->notes = note->next;
		*out = note->fault;
	}
	atomic_store(&t->has_notes, t->notes != NULL);
	pthread_mutex_unlock(&t->lock);
	free(note);
	return note != NULL;
}

/* With target->lock. */
static void add_fault(struct gpu_queue *g, const struct hg_fault *fault)
{
	struct gpu_target *t = g->target;
	struct gpu_note *note = g->note, **end;

	g->note = NULL;
	if (note) {
		note->next = NULL;
		note->fault = *fault;
		note->fault.queue = g->queue;
		for (end = &t->notes; *end; end = &(*end)->next)
			;
		*end = note;
		atomic_store(&t->has_notes, true);
	}
	atomic_store(&g->failed, true);
}

void gpu_queue_remember(struct gpu_queue *g, uint64_t grid_id, const char *kernel)
{
	unsigned int i = grid_id % GPU_NAMES;

	pthread_mutex_lock(&g->name_lock);
	g->newest = grid_id;
	g->name[i].grid_id = grid_id;
	strncpy(g->name[i].kernel, kernel, GPU_NAME - 1);
	pthread_mutex_unlock(&g->name_lock);
}

static void name_of(struct gpu_queue *g, uint64_t grid_id, char out[GPU_NAME])
{
	pthread_mutex_lock(&g->name_lock);
	strcpy(out, g->name[grid_id % GPU_NAMES].grid_id == grid_id ? g->name[grid_id % GPU_NAMES].kernel : "?");
	pthread_mutex_unlock(&g->name_lock);
}

static bool may_have_failed(const struct gpu_queue *g)
{
	return !atomic_load_explicit(&g->failed, memory_order_relaxed) && __atomic_load_n(&g->state->fault, __ATOMIC_RELAXED);
}

/* With target->lock. */
static void look_locked(struct gpu_queue *g)
{
	struct hg_gpu_launch l = { 0 };
	struct hg_fault fault = { 0 };
	char kernel[GPU_NAME];

	if (!may_have_failed(g))
		return;
	/* the lane that fails says what first, and then where: while its kernel runs there may be more to come */
	if (!__atomic_load_n(&g->state->is_told, __ATOMIC_ACQUIRE) && !g->target->is_idle(g->queue))
		return;
	name_of(g, g->state->grid_id, kernel);
	l.kernel = kernel;
	if (hg_gpu_state_fault(g->state, &l, &fault))
		add_fault(g, &fault);
}

void gpu_queue_look(struct gpu_queue *g)
{
	if (!may_have_failed(g))
		return;
	pthread_mutex_lock(&g->target->lock);
	look_locked(g);
	pthread_mutex_unlock(&g->target->lock);
}

/* With target->lock. */
static void said_locked(struct gpu_queue *g, const char *what)
{
	struct hg_fault fault = { .cuda_error = 719 /* CUDA_ERROR_LAUNCH_FAILED */ };
	int n;

	pthread_mutex_lock(&g->name_lock);
	n = snprintf(fault.what, sizeof(fault.what), "%s", what);
	if (g->newest && n > 0 && (size_t)n < sizeof(fault.what))
		snprintf(fault.what + n, sizeof(fault.what) - (size_t)n, "; the last kernel of its stream was '%s'",
			 g->name[g->newest % GPU_NAMES].kernel);
	pthread_mutex_unlock(&g->name_lock);
	look_locked(g);
	if (!atomic_load(&g->failed))
		add_fault(g, &fault);
}

enum hg_status gpu_queue_said(struct gpu_queue *g, enum hg_status st, const char *what)
{
	if (st != HG_ERR_FAULT)
		return st;
	pthread_mutex_lock(&g->target->lock);
	said_locked(g, what);
	pthread_mutex_unlock(&g->target->lock);
	return st;
}

void gpu_target_said(struct gpu_target *t, const char *what)
{
	pthread_mutex_lock(&t->lock);
	for (struct gpu_queue *g = t->queues; g; g = g->next)
		said_locked(g, what);
	pthread_mutex_unlock(&t->lock);
}

void gpu_queue_cancel(struct gpu_queue *g)
{
	/* a kernel that failed before is still to be told of */
	if (hg_gpu_state_cancel(g->state))
		atomic_store(&g->failed, true);
	else
		gpu_queue_look(g);
}

void gpu_queue_print(struct gpu_queue *g, uint64_t launches)
{
	size_t bytes;

	pthread_mutex_lock(&g->launch_lock);
	bytes = g->launches == launches ? hg_gpu_state_printed(g->state, g->state_bytes) : 0;
	if (bytes)
		hg_gpu_state_print(g->state, g->state + 1, bytes);
	pthread_mutex_unlock(&g->launch_lock);
}

uint64_t gpu_queue_launches(struct gpu_queue *g)
{
	uint64_t launches;

	pthread_mutex_lock(&g->launch_lock);
	launches = g->launches;
	pthread_mutex_unlock(&g->launch_lock);
	return launches;
}

void gpu_target_look(struct gpu_target *t)
{
	pthread_mutex_lock(&t->lock);
	for (struct gpu_queue *g = t->queues; g; g = g->next) {
		uint64_t launches = gpu_queue_launches(g);

		look_locked(g);
		if (!hg_gpu_state_is_quiet(g->state) && t->is_idle(g->queue))
			gpu_queue_print(g, launches);
	}
	pthread_mutex_unlock(&t->lock);
}

enum hg_status gpu_queue_init(struct gpu_queue *g, struct gpu_target *t, struct hg_queue *q, struct hg_gpu_state *state,
			      size_t state_bytes)
{
	g->note = calloc(1, sizeof(*g->note));
	if (!g->note)
		return HG_ERR_NOMEM;
	g->target = t;
	g->queue = q;
	g->state = state;
	g->state_bytes = state_bytes;
	hg_gpu_state_init(state, (uintptr_t)state, state_bytes);
	pthread_mutex_init(&g->launch_lock, NULL);
	pthread_mutex_init(&g->name_lock, NULL);
	return HG_OK;
}

void gpu_queue_list(struct gpu_queue *g)
{
	struct gpu_target *t = g->target;

	pthread_mutex_lock(&t->lock);
	g->next = t->queues;
	g->prev = &t->queues;
	if (g->next)
		g->next->prev = &g->next;
	t->queues = g;
	pthread_mutex_unlock(&t->lock);
}

void gpu_queue_unlist(struct gpu_queue *g)
{
	pthread_mutex_lock(&g->target->lock);
	*g->prev = g->next;
	if (g->next)
		g->next->prev = g->prev;
	pthread_mutex_unlock(&g->target->lock);
}

void gpu_queue_fini(struct gpu_queue *g)
{
	pthread_mutex_destroy(&g->name_lock);
	pthread_mutex_destroy(&g->launch_lock);
	free(g->note);
}
