#!/bin/sh
# deps.sh - installs what the build needs and is missing; quick when nothing is.
#
#   tools/deps.sh BUILD CUDA                install; CUDA is what the next one prints
#   tools/deps.sh --python BUILD CUDA       make the Python environment BUILD/python from PyPI
#   tools/deps.sh --cuda BUILD [CUDA_HOME]  print the CUDA folder to build with
#   tools/deps.sh --list                    print the packages
#   tools/deps.sh --pocl BUILD              try to install what `make bench-kernels` compares with

set -eu

packages="
make gcc g++ libc6-dev python3 ca-certificates
clang-19 lld-19 liblld-19-dev llvm-19-dev libclang-rt-19-dev clang-format
liblmdb-dev liblmdb0 libunwind-dev libunwind8 libcriterion-dev
libzstd-dev liblz4-dev libxxhash-dev libjansson-dev libffi-dev zlib1g-dev
libamdhip64-dev libze-dev spirv-headers spirv-tools llvm-spirv-15
codespell procps util-linux
"
wheels="nvidia-cuda-runtime nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-cccl nvidia-cuda-profiler-api"

say()
{
	printf '  %-7s %s\n' DEPS "$*"
}

die()
{
	echo "deps: $*" >&2
	exit 1
}

cuda_version()
{
	sed -n 's/^#define CUDA_VERSION *//p' "$1/include/cuda.h" 2>/dev/null || true
}

# A folder with headers of CUDA 13 or newer, and nvcc.
is_usable()
{
	v=$(cuda_version "$1")
	[ -n "$v" ] && [ "$v" -ge 13000 ] && [ -x "$1/bin/nvcc" ] && [ -f "$1/include/cudaProfiler.h" ]
}

# The one the user names, if there is one, the usual place, or what install_cuda makes.
cuda_home()
{
	if [ -n "$(cuda_version "${2:-/dev/null}")" ]; then
		echo "$2"
	elif is_usable /usr/local/cuda; then
		echo /usr/local/cuda
	else
		echo "$1/cuda"
	fi
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "cannot install packages: neither root nor sudo; needed: $*"
	fi
}

installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null | cut -c1-2)" = ii ]
}

install_packages()
{
	command -v dpkg-query >/dev/null || {
		say "not a Debian system: please install yourself:" $packages
		return
	}
	missing=
	# One question for all; a second one by one only if something is missing.
	if [ "$(dpkg-query -W -f='${db:Status-Abbrev}\n' $packages 2>/dev/null | grep -c '^ii')" -lt \
	     "$(echo $packages | wc -w)" ]; then
		for p in $packages; do
			installed "$p" || missing="$missing $p"
		done
	fi
	[ -n "$missing" ] || return 0
	say "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt="apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends"
	# The package lists of a fresh machine are empty or old: fetch them only when needed.
	as_root env DEBIAN_FRONTEND=noninteractive $apt install $missing >"$log" 2>&1 ||
		{ as_root apt-get -q update >>"$log" 2>&1 &&
		  as_root env DEBIAN_FRONTEND=noninteractive $apt install $missing >>"$log" 2>&1; } ||
		{ tail -20 "$log" >&2; die "cannot install$missing (all of it in '$log')"; }
}

# The PyPI wheels hold what a toolkit installation holds; nvcc wants it in one folder.
install_cuda()
{
	to=$build/cuda
	is_usable "$to" && return 0
	say "no CUDA 13 toolkit: fetching nvcc and headers from PyPI into '$to'"
	if ! python3 -m pip --version >/dev/null 2>&1; then
		packages="python3-pip"
		install_packages
	fi
	rm -rf "$to" "$to.tmp"
	mkdir -p "$to.tmp"
	for w in $wheels; do
		python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
			-d "$to.tmp" "$w==13.0.*" >>"$log" 2>&1 ||
			{ tail -20 "$log" >&2; die "cannot download '$w' from PyPI"; }
	done
	for f in "$to.tmp"/*.whl; do
		python3 -m zipfile -e "$f" "$to.tmp/x"
	done
	chmod +x "$to.tmp"/x/nvidia/cu13/bin/* "$to.tmp"/x/nvidia/cu13/nvvm/bin/*
	# zipfile keeps no mode bits and wheels hold no links
	ln -s lib "$to.tmp/x/nvidia/cu13/lib64"
	for f in "$to.tmp"/x/nvidia/cu13/lib/*.so.*; do
		link=${f%%.so.*}.so
		[ -e "$link" ] || ln -s "$(basename "$f")" "$link"
	done
	mv "$to.tmp/x/nvidia/cu13" "$to"
	rm -rf "$to.tmp"
	is_usable "$to" || die "the wheels in '$to' do not make a CUDA toolkit"
}

# What tests/python/requirements.txt names, and NVRTC where there is no toolkit with one.
install_python()
{
	to=$build/python
	mkdir -p "$build"
	cp "$(dirname "$0")/../tests/python/requirements.txt" "$build/python.want"
	[ -e "$1/lib64/libnvrtc.so" ] || echo "nvidia-cuda-nvrtc==13.0.88" >>"$build/python.want"
	cmp -s "$build/python.want" "$to/requirements.txt" && "$to/bin/python" -c '' 2>/dev/null && return
	say "making the Python environment '$to' from PyPI"
	if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
		packages="python3-venv"
		install_packages
	fi
	rm -rf "$to"
	python3 -m venv "$to" >>"$log" 2>&1 || { tail -20 "$log" >&2; die "cannot make a Python environment in '$to'"; }
	"$to/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
		-r "$build/python.want" >>"$log" 2>&1 ||
		{ tail -20 "$log" >&2; die "cannot install the packages of 'tests/python/requirements.txt' from PyPI"; }
	# only now: an environment that is not complete is made again
	mv "$build/python.want" "$to/requirements.txt"
}

case ${1:-} in
--list)
	echo $packages
	exit
	;;
--python)
	build=$2
	log=$build/deps.log
	install_python "$3"
	exit
	;;
--cuda)
	cuda_home "$2" "${3:-}"
	exit
	;;
--pocl)
	mkdir -p "$2"
	log=$2/deps.log
	packages="pocl-opencl-icd ocl-icd-opencl-dev"
	# the bench says what is missing
	(install_packages) || true
	exit
	;;
'')
	die "usage: tools/deps.sh BUILD CUDA"
	;;
esac

build=$1
home=$2
mkdir -p "$build"
log=$build/deps.log
install_packages
if [ "$home" = "$build/cuda" ]; then
	install_cuda
elif ! is_usable "$home"; then
	v=$(cuda_version "$home")
	[ "$v" -ge 13000 ] || die "the CUDA headers in '$home' are of version $v: 13000 or newer is needed"
	die "no nvcc in '$home/bin'"
fi
