"""Where an embedded server keeps its data, sockets and logs; nothing outside is ever changed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from engine.store.embedded.server import EmbeddedServerError

SOCKET_FOLDER_BYTES = 85
"""The longest folder a socket fits in: a socket's path has 103 bytes (macOS) to 107 (Linux), its name up to 17."""

LOG_BYTES = 8 * 2**20
"""A log longer than this is set aside when its server starts."""


def made(folder: Path) -> Path:
    """`folder`, made with mode 0700 if it was not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def private(folder: Path) -> Path:
    """`folder` in a place anyone may write to, made or found to be ours alone. Raises EmbeddedServerError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EmbeddedServerError(f"{folder} is not a folder of this user alone (mode 0700); remove it or set TMPDIR")
    return folder


def can_hold_sockets(folder: Path) -> bool:
    """Whether a socket in `folder` has a path short enough, and plain enough to stand in a URL as it is."""
    plain = re.fullmatch(r"[A-Za-z0-9._/-]+", str(folder)) is not None
    return plain and len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES


def socket_folder(data_dir: Path) -> Path:
    """`data_dir`/run, or a folder of the system's temporary one, always the same for the same data folder."""
    if can_hold_sockets(data_dir / "run"):
        return made(data_dir / "run")
    mark = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return private(Path(tempfile.gettempdir()) / f"fentan-{os.geteuid()}-{mark}")


def log_file(data_dir: Path, name: str) -> Path:
    """The log of the server `name`."""
    return made(data_dir / "log") / f"{name}.log"


def set_aside_long_log(log: Path) -> None:
    """Rename a long log to `*.log.old`, so that logs have a limit."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.old"))


def last_lines(log: Path, *, since: int = 0, count: int = 15) -> str:
    """The last `count` lines of `log`, from byte `since` on."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - 64 * 2**10))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
