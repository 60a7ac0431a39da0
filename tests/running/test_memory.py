import resource
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from metafa.running import memory
if {keep}:
    memory.keep_freed()
def step():
    for _ in range(8):
        a = [torch.ones(2**18 + 2**10 * i) for i in range(12)]  # a megabyte each
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> int:
    shown = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep=keep)], capture_output=True, text=True, check=True, timeout=120
    )
    return int(shown.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    pages = 8 * 12 * 2**20 // resource.getpagesize()  # of one step
    assert page_faults(keep=True) < pages / 10
