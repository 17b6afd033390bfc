/* gpu_module.c - what modules for every kind of GPU have. */
#define _GNU_SOURCE
#include "translate/gpu_module.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <llvm/Config/llvm-config.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/msg.h"
#include "translate/cache.h"
#include "translate/expand.h"

#define USUAL_STACK 2048		/* as launches have it when the program asks for none (replay/driver_launch.c) */
#define USUAL_BLOCK 256

struct gpu_kernel {
	pthread_mutex_t lock;		/* of all here: held while code is made */
	bool is_planned;
	struct gpu_plan plan;
	struct gpu_made *made;
};

struct gpu_module {
	const struct ir_module *ir;
	const struct gpu_maker *maker;
	const struct gpu_device *device;
	const void *target;
	bool has_key;
	unsigned char key[GPU_KEY];
	pid_t pid;
	pthread_mutex_t lock;		/* expanded */
	struct ir_module *expanded;
	enum hg_status expand_st;
	bool is_expanded;
	struct gpu_kernel kernel[];
};

/* ---- modules ---- */

enum hg_status gpu_module_open(const struct ir_module *ir, const unsigned char *key, const struct gpu_maker *maker, const struct gpu_device *device,
			       const void *target, struct gpu_module **out)
{
	struct gpu_module *m = calloc(1, sizeof(*m) + ir->nr_funcs * sizeof(m->kernel[0]));

	if (!m)
		return HG_ERR_NOMEM;
	m->ir = ir;
	m->maker = maker;
	m->device = device;
	m->target = target;
	m->pid = getpid();
	if (key) {
		m->has_key = true;
		memcpy(m->key, key, sizeof(m->key));
	}
	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < ir->nr_funcs; i++)
		pthread_mutex_init(&m->kernel[i].lock, NULL);
	*out = m;
	return HG_OK;
}

static void free_made(struct gpu_made *made)
{
	while (made) {
		struct gpu_made *next = made->next;

		free(made->data);
		free(made->why);
		free(made);
		made = next;
	}
}

void gpu_module_close(struct gpu_module *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->ir->nr_funcs; i++) {
		free_made(m->kernel[i].made);
		pthread_mutex_destroy(&m->kernel[i].lock);
	}
	pthread_mutex_destroy(&m->lock);
	ir_module_free(m->expanded);
	free(m);
}

static enum hg_status need_expanded(struct gpu_module *m)
{
	enum hg_status st;

	pthread_mutex_lock(&m->lock);
	if (!m->is_expanded) {
		m->expand_st = m->device->no_f64 ? hg_expand_no_f64(m->ir, &m->expanded) : hg_expand(m->ir, &m->expanded);
		m->is_expanded = true;
	}
	st = m->expand_st;
	pthread_mutex_unlock(&m->lock);
	return st;
}

static enum hg_status find_kernel(struct gpu_module *m, size_t index, const struct ir_func **fn, struct gpu_kernel **kernel)
{
	enum hg_status st;

	if (index >= m->ir->nr_funcs)
		return HG_ERR_NOTFOUND;
	if (m->pid != getpid()) {
		pr_err("cannot compile kernel '%s' in a forked child", m->ir->func[index].name);
		return HG_ERR_UNAVAILABLE;
	}
	if (m->ir->func[index].refused) {
		pr_err("%s", m->ir->func[index].refused);
		return HG_ERR_UNSUPPORTED;
	}
	st = need_expanded(m);
	if (st)
		return st;
	if (m->expanded->func[index].refused) {
		pr_err("%s", m->expanded->func[index].refused);
		return HG_ERR_UNSUPPORTED;
	}
	*fn = &m->expanded->func[index];
	*kernel = &m->kernel[index];
	return HG_OK;
}

static enum hg_status need_plan(struct gpu_kernel *k, const struct ir_func *fn)
{
	enum hg_status st = k->is_planned ? HG_OK : gpu_plan_make(fn, &k->plan);

	if (st)
		return st;
	if (!k->is_planned && k->plan.why)
		pr_debug("kernel '%s', line %u: %s", fn->name, k->plan.line, k->plan.why);
	k->is_planned = true;
	return HG_OK;
}

/* ---- which variant ---- */

bool gpu_wants_scheduled(void)
{
	const char *text = getenv("HGSHIM_GPU_FORM");
	static _Atomic bool said;

	if (!text || !*text || !strcmp(text, "direct"))
		return false;
	if (!strcmp(text, "scheduled"))
		return true;
	if (!atomic_exchange(&said, true))
		pr_warn("HGSHIM_GPU_FORM='%s' is neither 'direct' nor 'scheduled'", text);
	return false;
}

/* Bytes of stack that code is made for, where a launch wants `bytes`, 0: as many as usual. */
static uint32_t stack_class(uint32_t bytes)
{
	uint32_t want = bytes ? bytes : USUAL_STACK, p = 1;

	while (p < want && p < UINT32_C(1) << 31)
		p <<= 1;
	return p;
}

bool gpu_is_in_rows(const uint32_t block[3], uint32_t threads)
{
	return block[0] % threads == 0 || (block[1] == 1 && block[2] == 1);
}

static uint32_t most_threads(const struct gpu_module *m, const struct ir_func *fn)
{
	return fn->max_threads && fn->max_threads < m->device->max_work_items ? fn->max_threads : m->device->max_work_items;
}

/* The block that the code is for, when a launch did not say. */
static void take_block(const struct ir_func *fn, const struct hg_gpu_need *need, uint32_t block[3])
{
	const uint32_t usual[3] = { fn->max_threads && fn->max_threads < USUAL_BLOCK ? fn->max_threads : USUAL_BLOCK, 1, 1 };

	memcpy(block, need->block[0] ? need->block : fn->req_threads[0] ? fn->req_threads : usual, sizeof(need->block));
}

static enum hg_status check_block(const struct gpu_module *m, const struct ir_func *fn, const uint32_t block[3])
{
	uint64_t threads = (uint64_t)block[0] * block[1] * block[2];

	if (threads && threads <= most_threads(m, fn))
		return HG_OK;
	pr_err("kernel '%s' is wanted for blocks of %" PRIu64 " threads, and takes %u at most on %s", fn->name, threads, most_threads(m, fn),
	       m->device->name);
	return HG_ERR_UNSUPPORTED;
}

/* k's lock is held. */
static enum hg_status choose(const struct gpu_module *m, struct gpu_kernel *k, const struct ir_func *fn, const struct hg_gpu_need *need,
			     struct gpu_variant *out)
{
	uint32_t block[3];
	enum hg_status st;

	take_block(fn, need, block);
	st = check_block(m, fn, block);
	if (!st)
		st = need_plan(k, fn);
	if (st)
		return st;
	*out = (struct gpu_variant){
		.layout = HG_GPU_WAVE32,
		.is_scheduled = gpu_wants_scheduled() || !(k->plan.direct || (k->plan.rows && gpu_is_in_rows(block, 32))),
		.max_threads = most_threads(m, fn),
		.stack_bytes = fn->uses_stack ? stack_class(need->stack_bytes) : 0,
	};
	if (m->maker->choose)
		m->maker->choose(m->target, &k->plan, block, out);
	out->whole = !out->is_scheduled && k->plan.whole;
	return HG_OK;
}

enum hg_status gpu_variant_get(struct gpu_module *m, size_t index, const struct hg_gpu_need *need, const struct ir_func **fn,
			       struct gpu_variant *out)
{
	struct gpu_kernel *k;
	enum hg_status st = find_kernel(m, index, fn, &k);

	if (st)
		return st;
	pthread_mutex_lock(&k->lock);
	st = choose(m, k, *fn, need, out);
	pthread_mutex_unlock(&k->lock);
	return st;
}

/* ---- making one ---- */

static void cache_key(const struct gpu_module *m, const struct ir_func *fn, const struct gpu_variant *v, unsigned char key[16])
{
	const uint32_t what[] = { HG_GPU_ABI, LLVM_VERSION_MAJOR, LLVM_VERSION_MINOR, LLVM_VERSION_PATCH, (uint32_t)v->layout,
				  v->is_scheduled, v->max_threads, v->stack_bytes };
	XXH3_state_t *s = XXH3_createState();
	XXH128_canonical_t c;

	XXH3_128bits_reset(s);
	XXH3_128bits_update(s, m->maker->kind, strlen(m->maker->kind) + 1);
	XXH3_128bits_update(s, m->key, sizeof(m->key));
	XXH3_128bits_update(s, fn->name, strlen(fn->name) + 1);
	XXH3_128bits_update(s, what, sizeof(what));
	XXH3_128bits_update(s, m->device->id, strlen(m->device->id) + 1);
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(s));
	memcpy(key, c.digest, 16);
	XXH3_freeState(s);
}

static bool take(const struct gpu_module *m, const struct ir_func *fn, struct gpu_made *made, char *why, size_t why_size)
{
	if (m->maker->take(m->target, fn, made, why, why_size))
		return true;
	free(made->data);
	made->data = NULL;
	return false;
}

/* Makes what made->variant says. What went wrong is in the result as well. */
static void make(const struct gpu_module *m, const struct ir_func *fn, struct gpu_made *made)
{
	unsigned char key[16];
	char why[600] = "";

	if (m->has_key) {
		cache_key(m, fn, &made->variant, key);
		if (hg_cache_get(key, &made->data, &made->size) && take(m, fn, made, why, sizeof(why)))
			return;
	}
	made->st = m->maker->make(m->target, fn, &made->variant, &made->data, &made->size, why, sizeof(why));
	if (!made->st && !take(m, fn, made, why, sizeof(why)))
		made->st = HG_ERR_UNSUPPORTED;
	if (made->st)
		made->why = strdup(why);
	else if (m->has_key)
		hg_cache_put(key, made->data, made->size);
}

static bool is_same(const struct gpu_variant *a, const struct gpu_variant *b)
{
	return a->layout == b->layout && a->is_scheduled == b->is_scheduled && a->max_threads == b->max_threads &&
	       a->stack_bytes == b->stack_bytes;
}

/* k's lock is held. */
static struct gpu_made *need_made(const struct gpu_module *m, struct gpu_kernel *k, const struct ir_func *fn, const struct gpu_variant *v)
{
	struct gpu_made *made = k->made;

	while (made && !is_same(&made->variant, v))
		made = made->next;
	if (made)
		return made;
	made = calloc(1, m->maker->made_size);
	if (!made)
		return NULL;
	made->variant = *v;
	make(m, fn, made);
	made->next = k->made;
	k->made = made;
	return made;
}

enum hg_status gpu_code_get(struct gpu_module *m, size_t index, const struct hg_gpu_need *need, const struct gpu_made **out)
{
	const struct ir_func *fn;
	struct gpu_made *made;
	struct gpu_variant v;
	struct gpu_kernel *k;
	enum hg_status st = find_kernel(m, index, &fn, &k);

	if (st)
		return st;
	pthread_mutex_lock(&k->lock);
	st = choose(m, k, fn, need, &v);
	if (st)
		goto out;
	made = need_made(m, k, fn, &v);
	st = made ? made->st : HG_ERR_NOMEM;
	if (!st)
		*out = made;
	else if (made)
		pr_err("%s", made->why ? made->why : hg_status_text(st));
out:
	pthread_mutex_unlock(&k->lock);
	return st;
}
