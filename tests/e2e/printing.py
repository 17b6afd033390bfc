"""printing.py - what kernels print and assert is the same text on every target."""
import re

from harness import ON, expect, run
from native import program

# Of AMD's one of each width of waves; the other chips differ in nothing that matters here.
DOUBLES = ("rocm:gfx1100", "rocm:gfx90a", "level-zero")


def printed(scratch):
    """Threads print in any order, a thread's own lines in its own."""
    want = run([ON, "cpu", "--", program("prints")])
    expect(want.status == 0 and want.out.count("\n") == 218, f"cpu: {want}")
    for target in DOUBLES:
        result = run([ON, target, "--", program("prints")], limit=120)
        expect(result.status == 0, f"{target}: {result}")
        expect(sorted(result.out.splitlines()) == sorted(want.out.splitlines()), f"{target} printed something else")
        for k in range(0, 96, 2):
            mine = re.findall(rf"^{k}\.(\d):", result.out, re.M)
            expect(mine == [str(i) for i in range(k % 3 + 1)], f"{target}: thread {k} printed its lines in the order {mine}")
    return want.out.splitlines()[-1]


def said(text):
    return sorted(l for l in text.splitlines() if "Assertion" in l)


def asserted(scratch):
    """Every thread of the warp that fails says so; of other warps those that got that far."""
    for target in ("cpu", *DOUBLES):
        result = run([ON, target, "--", program("prints"), "--assert"], limit=120)
        expect(result.status == 0 and result.out == "cudaErrorAssert\n", f"{target}: {result}")
        lines = said(result.err)
        expect(len(lines) == 31 and len(set(lines)) == 31, f"{target}: {len(lines)} threads, not 31")
        for thread in range(33, 64):
            expect(any(f"void asserts(int): block: [1,0,0], thread: [{thread},0,0] Assertion `i < n" in l for l in lines),
                   f"{target}: not of thread {thread}")
        expect(re.search(r"assertion 'i < n .* failed in \S*prints\.cu:\d+, thread \(\d+,0,0\), in kernel '\S*asserts\S*', block \(1,0,0\)",
                         result.err), f"{target}: no message: {result.err[-300:]}")


def tests():
    return [
        ("printing: kernels print the same on cpu and on the doubles of GPUs", printed),
        ("printing: an assertion says the same on cpu and on the doubles of GPUs", asserted),
    ]
