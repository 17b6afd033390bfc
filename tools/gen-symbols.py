#!/usr/bin/env python3
# gen-symbols.py - makes intercept/symbols.def from the headers and the stub of a CUDA 13.0 toolkit.
#
#   tools/gen-symbols.py CUDA_HOME > intercept/symbols.def     make it
#   tools/gen-symbols.py --check CUDA_HOME                     compare it with header and stub
#
# The names are those of the stub library (lib64/stubs/libcuda.so); prototypes are those of cuda.h and
# cudaProfiler.h with every old version declared; versions are those of the PFN_cuX_vNNNN types in
# cudaTypedefs.h. A symbol's versions and a name's PFN types are paired in order, and their parameter types are
# compared, so that a wrong pairing stops the script.
import collections
import os
import re
import subprocess
import sys

FLAVOUR = {"": "PLAIN", "_ptsz": "PTSZ", "_ptds": "PTDS"}


def die(text):
    sys.exit("gen-symbols: " + text)


def preprocess(home, includes):
    src = "#define __CUDA_API_VERSION_INTERNAL 1\n" + "".join("#include <%s>\n" % i for i in includes)
    cmd = [os.environ.get("CC", "gcc"), "-E", "-P", "-x", "c", "-I" + home + "/include", "-"]
    run = subprocess.run(cmd, input=src, capture_output=True, text=True)
    if run.returncode:
        die("cannot preprocess '%s': %s" % (includes, run.stderr.strip()))
    return re.sub(r"\s+", " ", run.stdout)


def header_version(home):
    path = home + "/include/cuda.h"
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            found = re.search(r"#define CUDA_VERSION (\d+)", f.read())
    except OSError as e:
        die("cannot read '%s': %s" % (path, e.strerror))
    if not found:
        die("'%s' does not say its version" % path)
    return int(found[1])


def stub_names(home):
    for folder in ("lib64/stubs", "lib/stubs", "targets/x86_64-linux/lib/stubs"):
        path = "%s/%s/libcuda.so" % (home, folder)
        if os.path.exists(path):
            out = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
            return sorted(l.split()[2] for l in out.stdout.splitlines() if l.split()[1] in "TW")
    return None


def split_params(text):
    """'int a, void (*f)(int), char b[4]' -> list of strings, commas inside parentheses kept"""
    out, depth, cur = [], 0, ""
    for c in text:
        if c == "," and not depth:
            out.append(cur.strip())
            cur = ""
            continue
        depth += (c in "([") - (c in ")]")
        cur += c
    out.append(cur.strip())
    return [] if out in ([""], ["void"]) else out


def param_name(p):
    m = re.search(r"(\w+)\s*((?:\[\w*\]\s*)*)$", p)
    return m[1] if m else None


def normal_type(p):
    """a parameter's type without its name, with the spelling differences of cuda.h and cudaTypedefs.h removed"""
    m = re.match(r"^(.*?[\s*])(\w+)\s*((?:\[\w*\])*)$", p)
    keyword = ("int", "char", "long", "unsigned", "short")
    t = m[1] + ("*" if m[3] else "") if m and m[2] not in keyword else p
    t = re.sub(r"\bCUdevice_v1\b", "CUdevice", t)
    t = re.sub(r"\b(CU\w+?)_v\d+\b", r"\1", t)
    t = re.sub(r"\b(struct|enum|const)\b", "", t)
    t = re.sub(r"\b(cuuint64_t|unsigned long long( int)?)\b", "u64", t)
    t = re.sub(r"\b(cuuint32_t|unsigned int)\b", "u32", t)
    t = re.sub(r"\bunsigned\b(?! (int|char|long|short))", "u32", t)
    return re.sub(r"\s+", "", t)


def prototypes(home):
    text = preprocess(home, ["cuda.h", "cudaProfiler.h"])
    out = {}
    for m in re.finditer(r"\bCUresult (cu[A-Z]\w*)\((.*?)\);", text):
        if m[1] not in out:
            out[m[1]] = split_params(m[2])
    return out


def typedefs(home):
    text = preprocess(home, ["cudaTypedefs.h", "cudaProfilerTypedefs.h"])
    out = collections.defaultdict(dict)
    pat = r"typedef CUresult ?\(\s*\*\s*PFN_(cu[A-Z]\w*?)_v(\d+)(_ptsz|_ptds)?\s*\)\s*\((.*?)\);"
    for m in re.finditer(pat, text):
        out[m[1], m[3] or ""][int(m[2])] = split_params(m[4])
    return out


def rows(home):
    version = header_version(home)
    if version // 1000 < 13:
        die("the headers in '%s' are of CUDA %d.%d: 13.0 is needed"
            % (home, version // 1000, version % 1000 // 10))
    proto, pfn, names = prototypes(home), typedefs(home), stub_names(home)
    if names is None:
        die("no stub libcuda.so under '%s'" % home)
    family = collections.defaultdict(list)
    for name in names:
        if name not in proto:
            die("'%s' is in the stub and has no prototype" % name)
        m = re.match(r"(cu\w+?)(_v(\d+))?(_ptsz|_ptds)?$", name)
        family[m[1], m[4] or ""].append((int(m[3] or 1), name))
    out = []
    for (base, suffix), members in family.items():
        members.sort()
        versions = sorted(pfn.get((base, suffix), {}))
        if len(versions) != len(members):
            die("'%s': symbols %s, versions %s" % (base, [m[1] for m in members], versions))
        for (_, name), v in zip(members, versions):
            a = [normal_type(p) for p in proto[name]]
            b = [normal_type(p) for p in pfn[base, suffix][v]]
            if len(a) != len(b) or any(x != y for x, y in zip(a, b)):
                die("'%s' and PFN_%s_v%d%s differ: %s and %s" % (name, base, v, suffix, a, b))
            args = [param_name(p) for p in proto[name]]
            if None in args or len(set(args)) != len(args):
                die("'%s': cannot name the arguments of %s" % (name, proto[name]))
            plain = name[:-5] if suffix else name
            if plain not in names:
                die("'%s' is in the stub and '%s' is not" % (name, plain))
            out.append((name, plain, base, v, FLAVOUR[suffix], proto[name], args))
    out.sort(key=lambda r: r[0])
    return out


HEAD = """\
/*
 * symbols.def - every symbol of the CUDA 13.0 driver. No include guard. Made by tools/gen-symbols.py.
 *
 *   HG_SYM(symbol, plain, base, version, flavour, (parameters), (arguments))
 *
 * symbol   the ABI symbol
 * plain    the symbol without its flavour
 * base     its name for cuGetProcAddress
 * version  the CUDA version that introduced it (1000 * major + 10 * minor)
 * flavour  PLAIN, or the variant for per-thread default streams: PTSZ (the call has a stream), PTDS (it has none)
 *
 * Needs __CUDA_API_VERSION_INTERNAL before cuda.h and cudaProfiler.h.
 */
"""


def wrap(text, width):
    out, line = [], ""
    for word in text.split(", "):
        if line and len(line) + 2 + len(word) > width:
            out.append(line + ",")
            line = "\t" + word
        else:
            line = line + ", " + word if line else word
    return "\n".join(out + [line])


def render(table):
    out = HEAD
    for name, plain, base, version, flavour, params, args in table:
        text = "HG_SYM(%s, %s, %s, %d, %s, (%s), (%s))" % (name, plain, base, version, flavour,
                                                          ", ".join(params) or "void", ", ".join(args))
        out += wrap(text, 104) + "\n"
    return out + "#undef HG_SYM\n"


def main():
    argv = sys.argv[1:]
    check = argv[:1] == ["--check"]
    if check:
        argv = argv[1:]
    if len(argv) != 1:
        die("usage: gen-symbols.py [--check] CUDA_HOME")
    text = render(rows(argv[0]))
    if not check:
        sys.stdout.write(text)
        return
    path = os.path.join(os.path.dirname(__file__), "..", "intercept", "symbols.def")
    with open(path, encoding="utf-8") as f:
        if f.read() != text:
            die("'%s' differs from what the headers give" % path)


main()
