"""How this process holds on to memory that it has freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 32 << 20


def keep_freed() -> None:
    """Keep what one shard's arrays lay in for those of the next.

    glibc hands arrays back to the kernel one by one, and gets them again a page at a time, each cleared: a fifth of
    the work on a statement. It learns to keep them only once it has seen larger ones. All threads share what is kept.
    Without glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_ARENA_MAX, 1)
