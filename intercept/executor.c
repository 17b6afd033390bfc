/* executor.c - which executor a process starts with. */
#define _GNU_SOURCE
#include "intercept/executor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/msg.h"
#include "intercept/driver_find.h"

/* The kernel's side of the driver; a libcuda.so without it (a container image) drives nothing. */
static bool has_kernel_driver(void)
{
	return access("/dev/nvidiactl", F_OK) == 0 || access("/proc/driver/nvidia/version", F_OK) == 0 ||
	       (access("/dev/dxg", F_OK) == 0 && access("/usr/lib/wsl/lib/libcuda.so.1", F_OK) == 0);
}

/* A container sees the kernel's side also where it was not given the library. */
static bool has_nvidia_driver(void)
{
	const char *named = getenv("HGSHIM_DRIVER");

	if (!has_kernel_driver())
		return false;
	/* one that was named and is none is an error, and not a reason to take another target */
	if ((named && *named) || hg_driver_is_there())
		return true;
	pr_warn("this machine has NVIDIA's kernel driver, but no libcuda.so.1 is found: the program does not run on 'cuda'");
	return false;
}

/* AMD's kernel driver, and that this user may use it. Whether ROCm is there as well is seen when it is opened. */
static bool has_amd_driver(void)
{
	return access("/dev/kfd", R_OK | W_OK) == 0;
}

/* A GPU of Intel's that this user may use, Level Zero's loader, and a driver for it: many machines have such a GPU and no use for it. */
static bool has_intel_driver(void)
{
	for (int i = 128; i < 192; i++) {
		char path[64], vendor[16] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/dev/dri/renderD%d", i);
		if (access(path, R_OK | W_OK))
			continue;
		snprintf(path, sizeof(path), "/sys/class/drm/renderD%d/device/vendor", i);
		f = fopen(path, "re");
		if (f && fgets(vendor, sizeof(vendor), f) && !strncmp(vendor, "0x8086", 6)) {
			fclose(f);
			return hg_driver_has_library("libze_loader.so.1") &&
			       (hg_driver_has_library("libze_intel_gpu.so.1") || hg_driver_has_library("libze_intel_gpu_legacy1.so.1"));
		}
		if (f)
			fclose(f);
	}
	return false;
}

const char hg_executor_portable_targets[] = "cpu, rocm, level-zero";

const char *hg_executor_portable_target(const char *name)
{
	static const char *const known[] = { "cpu", "rocm", "level-zero" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(name, known[i]))
			return known[i];
	return NULL;
}

static bool is_auto;

const char *hg_executor_instead(const char *target)
{
	static const char cpu[] = "cpu";

	return is_auto && strcmp(target, cpu) != 0 ? cpu : NULL;
}

enum hg_status hg_executor_choose(const struct hg_executor **out, const char **target)
{
	const char *want = getenv("HGSHIM_TARGET");

	is_auto = !want || !*want || !strcmp(want, "auto");
	if (is_auto)
		want = has_nvidia_driver() ? "cuda" : has_amd_driver() ? "rocm" : has_intel_driver() ? "level-zero" : "cpu";
	if (!strcmp(want, "cuda")) {
		*out = &hg_executor_native;
		*target = "cuda";
		return HG_OK;
	}
	*target = hg_executor_portable_target(want);
	if (*target) {
		*out = &hg_executor_portable;
		return HG_OK;
	}
	pr_err("HGSHIM_TARGET is '%s': not one of auto, cuda, rocm, level-zero, cpu", want);
	return HG_ERR_INVALID;
}
