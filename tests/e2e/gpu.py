"""gpu.py - what `make check-gpu` runs."""


def tests():
    return []
