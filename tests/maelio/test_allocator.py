"""Memory that was freed is at hand again."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, threading
from maelio.allocator import keep_freed_memory

def use():
    for _ in range(50):
        [bytearray(2**20) for _ in range(8)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
print(plain, faults() if keep_freed_memory() else "")
"""


def test_blocks_that_come_and_go_cost_no_page_faults() -> None:
    run = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    plain, *kept = map(int, run.stdout.split())
    if not kept:
        pytest.skip("the C library has no such setting")
    assert kept[0] < plain / 10
