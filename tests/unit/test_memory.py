from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
from resource import RUSAGE_SELF, getrusage
import numpy as np
from engine.memory import keep_freed
{first}
before = getrusage(RUSAGE_SELF).ru_minflt
for _ in range(20):
    arrays = [np.ones(1 << 15) for _ in range(20)]  # 256 KiB each
    del arrays
print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's mallopt is of Linux")
def test_arrays_lie_where_freed_ones_lay() -> None:
    def faults(first: str) -> int:
        script = FAULTS.format(first=first)
        return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)

    assert faults("keep_freed()") * 4 < faults("")
