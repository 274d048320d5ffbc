"""`fentan up` however it ends: its API, its workers and its servers end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

PATIENCE_SECONDS = 60.0


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines by pid of what works in `folder` or names it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            at = (process / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in line or at.is_relative_to(folder):
            found[int(process.name)] = line
    return found


def until_children(folder: Path, count: int | None) -> None:
    """Wait until so many children of `up` run in `folder`, or (None) until nothing does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        lines = processes_of(folder).values()
        children = [line for line in lines if "--tethered" in line]
        if (not lines) if count is None else len(children) == count:
            return
        time.sleep(0.05)
    pytest.fail(f"after {PATIENCE_SECONDS:.0f} seconds there run: {list(processes_of(folder).values())}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(tmp_path: Path, number: signal.Signals) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENTAN_")}
    command = [sys.executable, "-m", "engine.cli.main", "up", "--workers", "2", "--port", "0"]
    up = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_children(tmp_path, 3)
        up.send_signal(number)
        status = up.wait(PATIENCE_SECONDS)
    finally:
        up.kill()
    until_children(tmp_path, None)
    assert status == (-number if number is signal.SIGKILL else 0)
