/* engine.h - the one entry of libhgshim-engine.so, opened lazily in the application. */
#ifndef HG_REPLAY_ENGINE_H
#define HG_REPLAY_ENGINE_H

#include "common/msg.h"
#include "replay/driver.h"
#include "replay/restore.h"
#include "translate/index.h"

#define HG_ENGINE_ABI 3

/* The functions of driver.h and module.h that intercept calls, as pointers: the library is hidden otherwise. */
struct hg_engine {
	uint32_t abi;		/* HG_ENGINE_ABI */
	enum hg_status (*open)(const char *target);	/* hg_driver_open by target name */
	void (*close)(void);
	void *(*proc)(const char *symbol);
	void (*place)(const struct hg_place *place, size_t nr_places);
	size_t (*module_vars)(const void *module_or_library, struct hg_place *out, size_t max);
	enum hg_status (*quiesce)(uint32_t timeout_ms);
	enum hg_status (*regions)(enum hg_status (*each)(const struct hg_region *r, void *arg), void *arg);
	enum hg_status (*read)(void *dst, hg_dptr src, size_t size);
	enum hg_status (*refused)(enum hg_status (*each)(const char *kernel, const char *why, void *arg), void *arg);
	enum hg_status (*image_flatten)(const void *image, size_t size, void **out, size_t *out_size);
	/* Parameters of a kernel, to know a launch's parameter block: CUfunction or CUkernel. */
	enum hg_status (*kernel_info)(const void *function, const struct hg_kernel_info **out);
	enum hg_status (*params_pack)(const struct hg_kernel_info *k, void **params, void **extra,
				      void *block, size_t size);
	void *(*primary_ctx)(int device);		/* CUcontext, without retaining it */
	enum hg_status (*write)(hg_dptr dst, const void *src, size_t size);
	void (*act_as)(uint32_t thread);
	/* The engine has its own messages: where those of the calling thread go (common/msg.h). NULL: stderr again. */
	void (*msg_sink)(hg_msg_sink_fn sink, void *arg);
	/* translate/index.h */
	enum hg_status (*image_index)(const void *image, size_t size, struct hg_image_index **out);
	void (*image_index_free)(struct hg_image_index *index);
	const struct hg_index_kernel *(*image_index_kernel)(const struct hg_image_index *index, const char *name);
	/* replay/restore.h */
	void (*restore_warm)(const struct hg_restore_options *opt, bool (*step)(void *arg), void *arg);
	enum hg_status (*restore_open)(const struct hg_restore_options *opt, struct hg_restore **out);
	void (*restore_leave)(struct hg_restore *r);
	enum hg_status (*restore_run)(struct hg_restore *r, const struct hg_held *held, size_t nr_held);
	void (*restore_close)(struct hg_restore *r);
	/* Addresses that memory at this one comes with on a target, a power of two: what lies there as well is in the way. */
	uint64_t (*map_unit)(const char *target, uint64_t addr);
	enum hg_status (*event_age)(const void *event, uint64_t age_ns);
	enum hg_status (*ctx_stack)(const uint64_t *ctx, size_t depth);
	bool (*array_place)(const void *array, struct hg_array_place *out);
	uint64_t (*size)(hg_dptr addr);
	void (*elsewhere)(bool (*call)(void (*fn)(void *arg), void *arg));	/* sets hg_target_elsewhere */
};

/* dlsym name "hgshim_engine". Never fails; the result lives as long as the library. */
const struct hg_engine *hgshim_engine(void);

#endif
