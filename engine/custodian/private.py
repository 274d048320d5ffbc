"""Files that hold numbers of accounts are their owner's alone."""

from __future__ import annotations

import os
from io import BufferedWriter
from pathlib import Path


def new_file(path: Path) -> BufferedWriter:
    """A file to write bytes to, empty, which nobody else may read."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
