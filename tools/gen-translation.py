#!/usr/bin/env python3
"""gen-translation.py - docs/translation.md from replay/rocm_api.def: which calls of HIP stand for which of CUDA.

    tools/gen-translation.py replay/rocm_api.def > docs/translation.md
"""
import re
import sys

HEAD = """# CUDA on HIP

What target `rocm` calls, and for what. Made from [replay/rocm_api.def](../replay/rocm_api.def) by `make docs/translation.md`; `make lint` looks
whether it is current. The names of CUDA's calls are those without `_v2`; "operation" is the member of `struct hg_target_ops`
([replay/target.h](../replay/target.h)) that makes the call. How they are used is in [targets.md](targets.md).

| CUDA | operation | HIP | since | |
|---|---|---|---|---|
"""


def main():
    text = re.sub(r"/\*.*?\*/", "", open(sys.argv[1], encoding="utf-8").read(), flags=re.S)
    rows = re.findall(r'^ROCM_(?:CALL|TEXT)\(\s*(\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+),\s*\(.*?\),\s*"([^"]*)"\)$', text, re.S | re.M)
    if len(rows) != len(re.findall(r"^ROCM_(?:CALL|TEXT)\(", text, re.M)):
        sys.exit(f"{sys.argv[1]}: not every row is understood")
    out = HEAD
    for operation, since, need, symbol, cuda in rows:
        cuda = re.sub(r"\bcu[A-Z][A-Za-z0-9]*…?(?:Async)?", lambda m: f"`{m.group(0)}`", cuda)
        out += f"| {cuda} | `{operation}` | `{symbol}` | {since} | {'where there is one' if need == 'OPTIONAL' else ''} |\n"
    sys.stdout.write(out)


if __name__ == "__main__":
    main()
