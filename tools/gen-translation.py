#!/usr/bin/env python3
"""gen-translation.py - docs/translation.md from the tables of vendors' calls: which calls of HIP and Level Zero stand for which of CUDA.

    tools/gen-translation.py replay/rocm_api.def replay/ze_api.def > docs/translation.md
"""
import re
import sys

HEAD = """# CUDA on HIP and Level Zero

What the targets `rocm` and `level-zero` call, and for what. Made from [replay/rocm_api.def](../replay/rocm_api.def) and [replay/ze_api.def](../replay/ze_api.def)
by `make docs/translation.md`; `make lint` looks whether it is current. The names of CUDA's calls are those without `_v2`. How the calls are used is in
[targets.md](targets.md) and [level-zero-target.md](level-zero-target.md).

| CUDA | HIP | Level Zero |
|---|---|---|
"""
LIBRARY = """
## {name}

"Operation" is the member of `struct hg_target_ops` ([replay/target.h](../replay/target.h)) that makes the call{since}.

| call | operation | since | stands for | |
|---|---|---|---|---|
"""
NAME = r"\bcu[A-Z][A-Za-z0-9]*…?(?:Async)?"
ROW = {
    "ROCM": r'^ROCM_(?:CALL|TEXT)\(\s*(\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+),\s*\(.*?\),\s*"([^"]*)"\)$',
    "ZE": r'^ZE_CALL\(\s*(\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+),\s*"([^"]*)"\)$',
}


def rows_of(path, kind):
    text = re.sub(r"/\*.*?\*/", "", open(path, encoding="utf-8").read(), flags=re.S)
    rows = re.findall(ROW[kind], text, re.S | re.M)
    if len(rows) != len(re.findall(rf"^{kind}_[A-Z]+\(", text, re.M)):
        sys.exit(f"{path}: not every row is understood")
    return rows


def main():
    libraries = [("HIP", "", rows_of(sys.argv[1], "ROCM")),
                 ("Level Zero", "; \"since\" is a version of the specification", rows_of(sys.argv[2], "ZE"))]
    calls = {}
    for i, (_, _, rows) in enumerate(libraries):
        for _, _, _, symbol, cuda in rows:
            for name in re.findall(NAME, cuda):
                of = calls.setdefault(name, ([], []))[i]
                if symbol not in of:
                    of.append(symbol)
    out = HEAD
    for name, (hip, ze) in calls.items():
        out += f"| `{name}` | {', '.join(f'`{s}`' for s in hip)} | {', '.join(f'`{s}`' for s in ze)} |\n"
    for name, since, rows in libraries:
        out += LIBRARY.format(name=name, since=since)
        for operation, version, need, symbol, cuda in rows:
            cuda = re.sub(NAME, lambda m: f"`{m.group(0)}`", cuda)
            out += f"| `{symbol}` | `{operation}` | {version} | {cuda} | {'where there is one' if need == 'OPTIONAL' else ''} |\n"
    sys.stdout.write(out)


if __name__ == "__main__":
    main()
