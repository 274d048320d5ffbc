"""How much memory a server may count on."""

from __future__ import annotations

import os
from pathlib import Path


def memory_mib() -> int:
    """The machine's memory or the least limit of the control groups we are in, whichever is less, in MiB."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    top = Path("/sys/fs/cgroup")
    folders = {top, top / "memory"}
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            own = top / line.split(":", 2)[2].lstrip("/")
            folders |= {own, *(each for each in own.parents if each.is_relative_to(top))}
    except OSError:
        pass
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return min(limits) // 2**20
