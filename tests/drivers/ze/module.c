/* module.c - modules of SPIR-V and their build logs. */
#include <spirv-tools/libspirv.h>
#include <spirv/unified1/spirv.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/status.h"
#include "tests/drivers/simt/simt_spirv.h"
#include "tests/drivers/ze/module.h"

/* ---- build logs ---- */

struct zd_log {
	struct zd_object obj;
	char text[2048];
};

static void log_release(struct fake_obj *obj)
{
	zd_object_release((struct zd_object *)obj);
}

ze_result_t zd_zeModuleBuildLogDestroy(ze_module_build_log_handle_t handle)
{
	return zd_object_end(handle, ZD_LOG);
}

ze_result_t zd_zeModuleBuildLogGetString(ze_module_build_log_handle_t handle, size_t *size, char *text)
{
	struct zd_log *l;
	size_t all;
	ze_result_t r = zd_object_get(handle, ZD_LOG, &l);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!size)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	all = strlen(l->text) + 1;
	if (text && *size)
		snprintf(text, *size, "%s", l->text);
	if (!*size || *size > all)
		*size = all;
	return r;
}

/* ---- what the device takes ---- */

static bool has_capability(uint32_t c)
{
	static const uint16_t known[] = {
		SpvCapabilityKernel, SpvCapabilityAddresses, SpvCapabilityLinkage, SpvCapabilityInt8, SpvCapabilityInt16, SpvCapabilityInt64,
		SpvCapabilityGenericPointer, SpvCapabilityVector16, SpvCapabilityFloat16Buffer, SpvCapabilityGroups,
		SpvCapabilitySubgroupDispatch, SpvCapabilityGroupNonUniform, SpvCapabilityGroupNonUniformVote,
		SpvCapabilityGroupNonUniformBallot, SpvCapabilityGroupNonUniformShuffle, SpvCapabilityGroupNonUniformShuffleRelative,
		SpvCapabilityGroupNonUniformArithmetic, SpvCapabilityDenormPreserve, SpvCapabilityDenormFlushToZero,
		SpvCapabilitySignedZeroInfNanPreserve, SpvCapabilityRoundingModeRTE, SpvCapabilityRoundingModeRTZ,
	};

	if (c == SpvCapabilityFloat16)
		return zd_config.has_fp16;
	if (c == SpvCapabilityFloat64)
		return zd_config.has_fp64;
	if (c == SpvCapabilityInt64Atomics)
		return zd_config.has_int64_atomics;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == c)
			return true;
	return false;
}

static bool has_extension(const char *name)
{
	static const char *const known[] = { "SPV_KHR_float_controls", "SPV_KHR_no_integer_wrap_decoration", "SPV_KHR_linkonce_odr" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(known[i], name))
			return true;
	return false;
}

static bool say(struct zd_log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool say(struct zd_log *log, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(log->text, sizeof(log->text), fmt, ap);
	va_end(ap);
	return false;
}

static bool check_device(const struct spirv_module *s, struct zd_log *log)
{
	if (s->version > (0x100u | zd_config.spirv_minor) << 8)
		return say(log, "SPIR-V %u.%u; the device takes 1.%u", s->version >> 16, s->version >> 8 & 0xff, zd_config.spirv_minor);
	for (size_t i = 0; i < s->nr_capabilities; i++)
		if (!has_capability(s->capability[i]))
			return say(log, "capability %u is not supported by the device", s->capability[i]);
	for (size_t i = 0; i < s->nr_extensions; i++)
		if (!has_extension(s->extension[i]))
			return say(log, "extension '%s' is not supported by the device", s->extension[i]);
	for (size_t i = 0; i < s->nr_kernels; i++) {
		const struct spirv_kernel *k = &s->kernel[i];
		uint64_t bytes = 0;

		if (k->sub_group && (k->sub_group > 32 || !(zd_config.sub_groups & k->sub_group)))
			return say(log, "kernel '%s': sub-groups of %u", k->name, k->sub_group);
		if ((uint64_t)k->local_size[0] * k->local_size[1] * k->local_size[2] > zd_config.max_items)
			return say(log, "kernel '%s': work-groups of (%u,%u,%u)", k->name, k->local_size[0], k->local_size[1], k->local_size[2]);
		for (size_t j = 0; j < k->nr_args; j++)
			bytes += k->arg[j].size;
		if (bytes > ZD_MAX_ARG_BYTES)
			return say(log, "kernel '%s': %llu bytes of arguments, at most %u", k->name, (unsigned long long)bytes, ZD_MAX_ARG_BYTES);
	}
	return true;
}

/*
 * As spirv-val. Non-uniform group operations came with SPIR-V 1.3, which OpenCL's environments end before; and it does not know that
 * OpenCL's extensions allow these capabilities.
 */
static bool is_beyond_opencl(const struct spirv_module *s)
{
	bool is = s->version > 0x10200;

	for (size_t i = 0; i < s->nr_capabilities; i++)
		is |= s->capability[i] == SpvCapabilityInt64Atomics || s->capability[i] == SpvCapabilityFloat16;
	return is;
}

static bool validate(const struct spirv_module *s, struct zd_log *log)
{
	spv_context c = spvContextCreate(is_beyond_opencl(s) ? SPV_ENV_UNIVERSAL_1_3 : SPV_ENV_OPENCL_2_2);
	spv_diagnostic d = NULL;
	bool ok = spvValidateBinary(c, s->words, s->nr_words, &d) == SPV_SUCCESS;

	if (!ok)
		say(log, "spirv-val: %s", d ? d->error : "not valid");
	spvDiagnosticDestroy(d);
	spvContextDestroy(c);
	return ok;
}

/* ---- modules ---- */

static void module_release(struct fake_obj *obj)
{
	struct zd_module *m = (struct zd_module *)obj;

	for (size_t i = 0; m->executor && i < m->code->nr_kernels; i++)
		simt_spirv_put(m->executor[i]);
	free(m->executor);
	spirv_free(m->code);
	zd_object_release(&m->obj);
}

/* Every kernel is made ready to run now, as drivers compile then. */
static ze_result_t build(struct zd_module *m, const ze_module_desc_t *desc, struct zd_log *log)
{
	char why[1024];

	m->code = spirv_read(desc->pInputModule, desc->inputSize, why, sizeof(why));
	if (!m->code) {
		say(log, "%s", why);
		return ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
	}
	if (!check_device(m->code, log) || (zd_config.validate && !validate(m->code, log)))
		return ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
	if (!zd_config.builds) {
		say(log, "this compiler builds nothing (HG_FAKE_ZE_BUILDS)");
		return ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
	}
	m->executor = calloc(m->code->nr_kernels + 1, sizeof(*m->executor));
	if (!m->executor)
		return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	for (size_t i = 0; i < m->code->nr_kernels; i++) {
		const struct spirv_kernel *k = &m->code->kernel[i];
		enum hg_status st = simt_spirv_get(m->code->words, m->code->nr_words * 4, k->name, &m->executor[i], why, sizeof(why));

		if (!st && simt_spirv_nr_args(m->executor[i]) != k->nr_args) {
			snprintf(why, sizeof(why), "the executor sees %zu arguments, not %zu", simt_spirv_nr_args(m->executor[i]), k->nr_args);
			st = HG_ERR_UNSUPPORTED;
		}
		if (st) {
			say(log, "the test driver cannot run kernel '%s': %s", k->name, why[0] ? why : hg_status_text(st));
			return ZE_RESULT_ERROR_MODULE_BUILD_FAILURE;
		}
	}
	return ZE_RESULT_SUCCESS;
}

static ze_result_t check_desc(const ze_module_desc_t *desc)
{
	ze_result_t r = zd_check_struct(desc, ZE_STRUCTURE_TYPE_MODULE_DESC, NULL, 0);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!desc->pInputModule || !desc->inputSize)
		return desc->pInputModule ? ZE_RESULT_ERROR_INVALID_SIZE : ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	if (desc->format != ZE_MODULE_FORMAT_IL_SPIRV)
		return zd_refuse(ZE_RESULT_ERROR_UNSUPPORTED_ENUMERATION, "format %u: the test driver takes SPIR-V alone", desc->format);
	if (desc->pConstants && desc->pConstants->numConstants)
		return zd_refuse(ZE_RESULT_ERROR_UNSUPPORTED_FEATURE, "the test driver has no specialization constants");
	for (const char *p = desc->pBuildFlags; p && *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");

		if (n && strncmp(p, "-ze-", 4))
			return zd_misuse(ZE_RESULT_ERROR_INVALID_ARGUMENT, "build flag '%.*s'", (int)n, p);
		p += n;
	}
	return r;
}

ze_result_t zd_zeModuleCreate(ze_context_handle_t ctx, ze_device_handle_t device, const ze_module_desc_t *desc, ze_module_handle_t *out,
			      ze_module_build_log_handle_t *log_out)
{
	struct zd_module *m;
	struct zd_object *c;
	struct zd_device *d;
	struct zd_log *log;
	ze_result_t r = zd_get_both(ctx, device, &c, &d);

	if (r == ZE_RESULT_SUCCESS)
		r = check_desc(desc);
	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!out)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	log = zd_object_new(sizeof(*log), ZD_LOG, c, log_release);
	m = zd_object_new(sizeof(*m), ZD_MODULE, c, module_release);
	r = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
	if (log && m) {
		m->device = d;
		r = build(m, desc, log);
	}
	if (m && r == ZE_RESULT_SUCCESS)
		*out = (ze_module_handle_t)m;
	else if (m)
		(void)zd_object_end(m, ZD_MODULE);
	if (log && log_out)
		*log_out = (ze_module_build_log_handle_t)log;
	else if (log)
		(void)zd_object_end(log, ZD_LOG);
	return r;
}

ze_result_t zd_zeModuleDestroy(ze_module_handle_t handle)
{
	return zd_object_end(handle, ZD_MODULE);
}

ze_result_t zd_zeModuleGetKernelNames(ze_module_handle_t handle, uint32_t *count, const char **names)
{
	struct zd_module *m;
	ze_result_t r = zd_object_get(handle, ZD_MODULE, &m);

	if (r != ZE_RESULT_SUCCESS)
		return r;
	if (!count)
		return ZE_RESULT_ERROR_INVALID_NULL_POINTER;
	for (size_t i = 0; names && i < *count && i < m->code->nr_kernels; i++)
		names[i] = m->code->kernel[i].name;
	if (!*count || *count > m->code->nr_kernels)
		*count = (uint32_t)m->code->nr_kernels;
	return r;
}

ze_result_t zd_zeModuleGetProperties(ze_module_handle_t handle, ze_module_properties_t *prop)
{
	struct zd_module *m;
	ze_result_t r = zd_object_get(handle, ZD_MODULE, &m);

	if (r == ZE_RESULT_SUCCESS)
		r = zd_check_struct(prop, ZE_STRUCTURE_TYPE_MODULE_PROPERTIES, NULL, 0);
	if (r == ZE_RESULT_SUCCESS)
		prop->flags = 0;
	return r;
}
