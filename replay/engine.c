/* engine.c - the one entry of libhgshim-engine.so. */
#include "replay/engine.h"

#include "common/msg.h"
#include "translate/module.h"

/*
 * exit() runs the destructors of LLVM's static objects while kernels may still be compiled in the background, and while
 * exit handlers of the application may still load and launch: it crashed. So they are never registered: this
 * name, hidden, is the one that everything linked with this file finds. Nothing here uses atexit.
 */
int __cxa_atexit(void (*fn)(void *), void *arg, void *dso);

__attribute__((visibility("hidden"))) int __cxa_atexit(void (*fn)(void *), void *arg, void *dso)
{
	(void)fn;
	(void)arg;
	(void)dso;
	return 0;
}

static enum hg_status engine_open(const char *name)
{
	const struct hg_target_ops *target = hg_target_by_name(name);

	if (!target) {
		pr_err("unknown target '%s'", name);
		return HG_ERR_INVALID;
	}
	return hg_driver_open(target);
}

static uint64_t engine_map_unit(const char *name, uint64_t addr)
{
	const struct hg_target_ops *target = hg_target_by_name(name);

	return target ? hg_driver_map_unit(target, addr) : HG_ARENA_GRANULE;
}

static void engine_elsewhere(bool (*call)(void (*fn)(void *arg), void *arg))
{
	hg_target_elsewhere = call;
}

static const struct hg_engine engine = {
	.abi = HG_ENGINE_ABI,
	.open = engine_open,
	.close = hg_driver_close,
	.proc = hg_driver_proc,
	.place = hg_driver_place,
	.module_vars = hg_driver_module_vars,
	.quiesce = hg_driver_quiesce,
	.regions = hg_driver_regions,
	.read = hg_driver_read,
	.refused = hg_driver_refused,
	.image_flatten = hg_image_flatten,
	.kernel_info = hg_driver_kernel_info,
	.params_pack = hg_driver_params_pack,
	.primary_ctx = hg_driver_primary_ctx,
	.write = hg_driver_write,
	.act_as = hg_driver_act_as,
	.msg_sink = hg_msg_sink_set,
	.image_index = hg_image_index,
	.image_index_free = hg_image_index_free,
	.image_index_kernel = hg_image_index_kernel,
	.restore_warm = hg_restore_warm,
	.restore_open = hg_restore_open,
	.restore_leave = hg_restore_leave,
	.restore_run = hg_restore_run,
	.restore_close = hg_restore_close,
	.map_unit = engine_map_unit,
	.event_age = hg_driver_event_age,
	.ctx_stack = hg_driver_ctx_stack,
	.array_place = hg_driver_array_place,
	.size = hg_driver_size,
	.elsewhere = engine_elsewhere,
};

__attribute__((visibility("default"))) const struct hg_engine *hgshim_engine(void)
{
	return &engine;
}
